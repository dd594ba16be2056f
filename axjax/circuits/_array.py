# SPDX-License-Identifier: Apache-2.0
"""Array multipliers that leave out a part of the partial-product array.

Row j of the array is the activation, gated by bit j of the weight and shifted by j; column c
holds all bits of weight 2**c. What is left in the array is added exactly.
"""

from __future__ import annotations

import numpy as np

from axjax._code_type import CodeType
from axjax._multiplier import Multiplier, Pair
from axjax.circuits._operands import canonical_name, checked, checked_columns, code_types
from axjax.circuits._sign_magnitude import from_unsigned


def truncated(bits: Pair = 8, *, columns: int, signed: bool = False) -> Multiplier:
    """Drops the `columns` least significant columns of the partial-product array.

    No constant is added to make up for them, so the unsigned multiplier never exceeds the
    exact product. Signed operands use the Baugh-Wooley array in its modified form: the bits
    with one sign bit are complemented and constants correct for it, modulo 2 to the width of
    the product. Below column `min(widths) - 1` that array holds plain ANDs only, and the error
    is that of the unsigned multiplier on the same bit patterns. Dropping more columns drops
    complemented bits and constants too, as the hardware would; the table stays bit-true, but
    the error is no longer small next to the product of small operands.

    Args:
        bits: widths, 2 to 8, for both operands or (activation, weight).
        columns: how many columns to drop, 0 to the sum of the widths less 1.
        signed: two's complement operands.
    Raises:
        ValueError: if `columns` is out of range.

    Source: M. J. Schulte, E. E. Swartzlander, Truncated Multiplication with Correction
    Constant, VLSI Signal Processing VI, 1993 (here without the constant); signed array:
    C. R. Baugh, B. A. Wooley, A Two's Complement Parallel Array Multiplication Algorithm,
    IEEE Transactions on Computers C-22, 1973.
    """
    activation, weight = code_types(bits, signed)
    columns = checked_columns(
        "truncated",
        "how many columns of the partial-product array to drop",
        columns,
        activation.bits + weight.bits - 1,
    )

    def product(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        if signed:
            return _baugh_wooley(x, w, activation, weight, columns)
        return _partial_products(x, w, range(weight.bits), columns)

    return Multiplier.from_function(
        product,
        (activation.bits, weight.bits),
        signed=signed,
        name=canonical_name(f"trunc{columns}", activation, weight),
    )


def broken_array(
    bits: Pair = 8, *, horizontal: int, vertical: int, signed: bool = False
) -> Multiplier:
    """The broken-array multiplier (BAM): leaves out cells of the carry-save array.

    The cells above the horizontal break level, which are the rows of the weight's
    `horizontal` least significant bits, and the cells right of the vertical break level,
    which are the `vertical` least significant columns, are missing; their outputs are zero.
    With `horizontal=0` this is `truncated`. Rows belong to the weight, so the table is not
    symmetric unless `horizontal` is 0.

    Args:
        bits: widths, 2 to 8, for both operands or (activation, weight).
        horizontal: the horizontal break level, 0 to the weight's width.
        vertical: the vertical break level, 0 to the sum of the widths less 1.
        signed: by sign and magnitude, see `sign_magnitude`.
    Raises:
        ValueError: if a level is out of range.

    Source: H. R. Mahdiani, A. Ahmadi, S. M. Fakhraie, C. Lucas, Bio-Inspired Imprecise
    Computational Blocks for Efficient VLSI Implementation of Soft-Computing Applications,
    IEEE Transactions on Circuits and Systems I 57(4), 2010.
    """
    activation, weight = code_types(bits, signed)
    horizontal = checked(
        "broken_array",
        "the horizontal break level is a number of rows",
        "horizontal",
        horizontal,
        0,
        weight.bits,
        "The array has one row for each bit of the weight.",
    )
    vertical = checked(
        "broken_array",
        "the vertical break level is a number of columns",
        "vertical",
        vertical,
        0,
        activation.bits + weight.bits - 1,
        "The array has one column less than the widths have bits together.",
    )
    return from_unsigned(
        lambda x, w: _partial_products(x, w, range(horizontal, weight.bits), vertical),
        f"bam_h{horizontal}v{vertical}",
        activation,
        weight,
    )


def _partial_products(x: np.ndarray, w: np.ndarray, rows: range, columns: int) -> np.ndarray:
    """The given rows of the unsigned array, less its low columns, added up."""
    kept = -(1 << columns)
    total = np.zeros(np.broadcast_shapes(x.shape, w.shape), np.int64)
    for row in rows:
        total += ((x << row) & kept) * (w >> row & 1)
    return total


def _baugh_wooley(
    x: np.ndarray, w: np.ndarray, activation: CodeType, weight: CodeType, columns: int
) -> np.ndarray:
    """The two's complement array less its low columns, added up modulo the product's width."""
    kept = -(1 << columns)
    sign = 1 << (activation.bits - 1)
    width = activation.bits + weight.bits
    # For equal widths the first two constants are one bit in the column above.
    constants = sign + (1 << (weight.bits - 1)) + (1 << (width - 1))
    total = np.full(np.broadcast_shapes(x.shape, w.shape), constants & kept)
    for row in range(weight.bits):
        gated = (x & (2 * sign - 1)) * (w >> row & 1)
        # Where one of the two bits is a sign bit, a NAND takes the place of the AND: that is
        # the sign's column in all rows but the last, and all other columns in the last.
        complemented = sign - 1 if row == weight.bits - 1 else sign
        total += ((gated ^ complemented) << row) & kept
    total &= (1 << width) - 1
    return np.where(total >> (width - 1) == 1, total - (1 << width), total)
