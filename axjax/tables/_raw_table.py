# SPDX-License-Identifier: Apache-2.0
"""RawTable: what a file says, before anything is assumed about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np

from axjax.factorization import Factors

Order = Literal["pattern", "value"]
"""How rows and columns are sorted, which differs where codes are signed: by their bit patterns
(0, 1, ..., -2, -1) or by their values (-128, -127, ..., 127)."""


@dataclasses.dataclass(frozen=True)
class RawTable:
    """Products as they stand in a file, and what the file or its format states.

    Attributes:
        products: integers, two-dimensional; row = activation, column = weight.
        bits: widths (activation, weight), None where only the shape tells.
        signed: signedness (activation, weight), None where the file does not tell.
        order: of rows and columns.
        factors: those that the file holds, not yet checked against the products.
        published: figures that the file holds.
    """

    products: np.ndarray
    bits: tuple[int, int] | None = None
    signed: tuple[bool, bool] | None = None
    order: Order = "pattern"
    factors: Factors | None = None
    published: Mapping[str, float] = dataclasses.field(default_factory=dict)


def by_pattern(products: np.ndarray, signed: tuple[bool, bool], order: Order) -> np.ndarray:
    """Products with rows and columns in the order of bit patterns."""
    if order == "value":
        for axis, is_signed in enumerate(signed):
            if is_signed:
                products = np.roll(products, products.shape[axis] // 2, axis)
    return products


def by_value(products: np.ndarray, signed: tuple[bool, bool]) -> np.ndarray:
    """The inverse of `by_pattern` for `order="value"`: half a turn, either way."""
    return by_pattern(products, signed, "value")
