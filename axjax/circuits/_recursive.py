# SPDX-License-Identifier: Apache-2.0
"""Multipliers that are composed of 2 x 2 blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from axjax._multiplier import Multiplier, Pair
from axjax.circuits._operands import checked_columns, code_types
from axjax.circuits._sign_magnitude import from_unsigned

_EXACT = np.multiply.outer(np.arange(4), np.arange(4))
_KULKARNI = np.where(_EXACT == 9, 7, _EXACT)


def kulkarni(bits: Pair = 8, *, signed: bool = False) -> Multiplier:
    """Composes 2 x 2 blocks that are wrong in one entry of 16: 3 times 3 is 7.

    The block saves its fourth output bit. The product is never too great, and too small by at
    most 2/9 (22.2 %). See `recursive`.

    Args:
        bits: widths, 2 to 8, for both operands or (activation, weight).
        signed: by sign and magnitude, see `sign_magnitude`.

    Source: P. Kulkarni, P. Gupta, M. Ercegovac, Trading Accuracy for Power with an
    Underdesigned Multiplier Architecture, VLSI Design 2011.
    """
    activation, weight = code_types(bits, signed)
    return from_unsigned(
        lambda x, w: _composed(x, w, activation.bits, weight.bits, _KULKARNI, 16),
        "kulkarni",
        activation,
        weight,
    )


def recursive(
    bits: Pair = 8,
    *,
    block: Sequence[Sequence[int]],
    columns: int,
    variant: str,
    signed: bool = False,
) -> Multiplier:
    """Composes 2 x 2 blocks, approximate ones where they matter least.

    A wider multiplier splits its operands in halves, takes four products of halves and adds
    them exactly, down to 2 x 2 blocks. Since the adders are exact, that is the sum over all
    pairs of base-4 digits, in which form it is computed here, and it also serves operands of
    different widths. An odd width gets a zero bit above.

    Args:
        bits: widths, 2 to 8, for both operands or (activation, weight).
        block: the approximate block's table, 4 x 4 products; row = activation.
        columns: blocks whose product has a weight below `2**columns` are approximate, all
            others exact; 0 for none, the sum of the widths for all of them.
        variant: the last part of the multiplier's name, `mul8u_<variant>`.
        signed: by sign and magnitude, see `sign_magnitude`.
    Raises:
        ValueError: if `block` is no table of 4 x 4 integers from 0 to 15, or `columns` is out
            of range.

    Source: S. Rehman, W. El-Harouni, M. Shafique, A. Kumar, J. Henkel, Architectural-Space
    Exploration of Approximate Multipliers, ICCAD 2016.

    >>> from axjax import circuits
    >>> table = [[0, 0, 0, 0], [0, 1, 2, 3], [0, 2, 4, 6], [0, 3, 6, 7]]
    >>> circuits.recursive(8, block=table, columns=8, variant="low_kulkarni")
    Multiplier('mul8u_low_kulkarni', uint8 x uint8)
    """
    activation, weight = code_types(bits, signed)
    table = _block("recursive", block)
    columns = checked_columns(
        "recursive",
        "how many low columns have approximate blocks",
        columns,
        activation.bits + weight.bits,
    )
    return from_unsigned(
        lambda x, w: _composed(x, w, activation.bits, weight.bits, table, columns),
        variant,
        activation,
        weight,
    )


def _block(function: str, block: Any) -> np.ndarray:
    table = np.asarray(block)
    whole = np.issubdtype(table.dtype, np.integer)
    if table.shape != (4, 4) or not whole or table.min() < 0 or table.max() > 15:
        raise ValueError(
            f"{function}: a block has 4 x 4 products from 0 to 15, got block={block!r}. "
            "Its rows are the activation's digits."
        )
    return table.astype(np.int64)


def _composed(
    x: np.ndarray, w: np.ndarray, x_bits: int, w_bits: int, block: np.ndarray, columns: int
) -> np.ndarray:
    total = np.zeros(np.broadcast_shapes(x.shape, w.shape), np.int64)
    for i in range(0, x_bits, 2):
        for j in range(0, w_bits, 2):
            table = block if i + j < columns else _EXACT
            total += table[x >> i & 3, w >> j & 3] << (i + j)
    return total
