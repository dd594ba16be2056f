# SPDX-License-Identifier: Apache-2.0
"""An array multiplier of lower-part-OR adders."""

from __future__ import annotations

import numpy as np

from axjax._multiplier import Multiplier, Pair
from axjax.circuits._operands import checked_columns, code_types
from axjax.circuits._sign_magnitude import from_unsigned


def lower_or(bits: Pair = 8, *, columns: int, signed: bool = False) -> Multiplier:
    """Adds the rows of the partial-product array with lower-part-OR adders, LOA.

    Row j is the activation, gated by bit j of the weight and shifted by j; rows are added one
    after another. Each adder takes the OR of its operands in the low `columns` columns of the
    product, without carries, adds exactly above, and takes into the exact part the AND of the
    operands' bits in the highest of the low columns.

    Args:
        bits: widths, 2 to 8, for both operands or (activation, weight).
        columns: of the lower part, 0 to the sum of the widths less 1.
        signed: by sign and magnitude, see `sign_magnitude`.
    Raises:
        ValueError: if `columns` is out of range.

    Source: H. R. Mahdiani, A. Ahmadi, S. M. Fakhraie, C. Lucas, Bio-Inspired Imprecise
    Computational Blocks for Efficient VLSI Implementation of Soft-Computing Applications, IEEE
    Transactions on Circuits and Systems I 57(4), 2010 (the adder).
    """
    activation, weight = code_types(bits, signed)
    columns = checked_columns(
        "lower_or",
        "how many columns are OR-ed in place of added",
        columns,
        activation.bits + weight.bits - 1,
    )

    def product(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        total = np.zeros(np.broadcast_shapes(x.shape, w.shape), np.int64)
        for row in range(weight.bits):
            total = _added(total, (x << row) * (w >> row & 1), columns)
        return total

    return from_unsigned(product, f"loa{columns}", activation, weight)


def _added(a: np.ndarray, b: np.ndarray, columns: int) -> np.ndarray:
    carry = (a & b) >> (columns - 1) & 1 if columns else 0
    upper = (a >> columns) + (b >> columns) + carry
    return upper << columns | (a | b) & ((1 << columns) - 1)
