# SPDX-License-Identifier: Apache-2.0
"""A radix-4 Booth multiplier that leaves out low columns."""

from __future__ import annotations

import numpy as np

from axjax._multiplier import Multiplier, Pair
from axjax.circuits._operands import canonical_name, checked_columns, code_types


def booth(bits: Pair = 8, *, columns: int, signed: bool = True) -> Multiplier:
    """Recodes the weight in radix 4 and drops low columns of the array.

    The weight becomes digits of -2, -1, 0, 1 and 2, one for every two bits. A digit's row is
    the activation or its double, inverted for a negative digit, which also adds a one in the
    row's lowest column. Rows are sign-extended to the product's width. Everything below column
    `columns` is left out, ones of negative digits too; what remains is added modulo two to the
    product's width. Unsigned operands get zero bits above.

    Args:
        bits: widths, 2 to 8, for both operands or (activation, weight).
        columns: how many columns to drop, 0 to the sum of the widths less 1.
        signed: two's complement operands.
    Raises:
        ValueError: if `columns` is out of range.

    Source: O. L. MacSorley, High-Speed Arithmetic in Binary Computers, Proceedings of the IRE
    49(1), 1961 (the recoding); K.-J. Cho, K.-C. Lee, J.-G. Chung, K. K. Parhi, Design of
    Low-Error Fixed-Width Modified Booth Multiplier, IEEE Transactions on VLSI Systems 12(5),
    2004 (direct truncation, there the starting point).
    """
    activation, weight = code_types(bits, signed)
    width = activation.bits + weight.bits
    columns = checked_columns(
        "booth", "how many columns of the array to drop", columns, width - 1
    )

    def product(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        total = np.zeros(np.broadcast_shapes(x.shape, w.shape), np.int64)
        # An unsigned weight needs a digit for the zero above its highest bit.
        for low in range(0, weight.bits + (not signed), 2):
            triple = (w << 1) >> low & 7  # shifts of negative numbers extend the sign
            digit = (triple & 1) + (triple >> 1 & 1) - 2 * (triple >> 2)
            negative = (digit < 0).astype(np.int64)
            row = (np.abs(digit) * x ^ -negative) << low
            total += (row & -(1 << columns)) + (negative << low if low >= columns else 0)
        total &= (1 << width) - 1
        sign = int(signed) << (width - 1)
        return (total ^ sign) - sign

    return Multiplier.from_function(
        product,
        (activation.bits, weight.bits),
        signed=signed,
        name=canonical_name(f"booth{columns}", activation, weight),
    )
