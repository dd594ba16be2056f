# SPDX-License-Identifier: Apache-2.0
"""A multiplier that reduces its partial products with approximate 4:2 compressors."""

from __future__ import annotations

import numpy as np

from axjax._multiplier import Multiplier, Pair
from axjax.circuits._operands import checked_columns, code_types
from axjax.circuits._sign_magnitude import from_unsigned


def compressor_tree(bits: Pair = 8, *, columns: int, signed: bool = False) -> Multiplier:
    """Reduces the low columns of the partial-product array with approximate 4:2 compressors.

    An exact 4:2 compressor takes four bits and a carry, and puts out three. The approximate
    one (the second design of the source) has neither carry input nor carry output:

        carry = (a | b) & (c | d)        sum = ~(a ^ b) | ~(c ^ d)

    It is wrong for 4 of 16 inputs: 0000 gives 1, 0011 and 1100 give 1, 1111 gives 3. Zero
    times anything is therefore not zero.

    The columns are reduced in stages until none of the low ones has more than three bits: in
    each stage every four bits of a low column go through a compressor, whose sum stays in the
    column and whose carry goes to the next one, to be used in the next stage; bits stand in
    the order of the weight's bits, and in later stages new ones before those that are left.
    What remains is added exactly, modulo the product's width.

    Args:
        bits: widths, 2 to 8, for both operands or (activation, weight).
        columns: low columns with approximate compressors, 0 to the sum of the widths.
        signed: by sign and magnitude, see `sign_magnitude`.
    Raises:
        ValueError: if `columns` is out of range.

    Source: A. Momeni, J. Han, P. Montuschi, F. Lombardi, Design and Analysis of Approximate
    Compressors for Multiplication, IEEE Transactions on Computers 64(4), 2015 (the compressor;
    the tree is arranged as above).
    """
    activation, weight = code_types(bits, signed)
    width = activation.bits + weight.bits
    columns = checked_columns(
        "compressor_tree", "how many columns have approximate compressors", columns, width
    )

    def product(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        array: list[list[np.ndarray]] = [[] for _ in range(width)]
        for j in range(weight.bits):
            for i in range(activation.bits):
                array[i + j].append((x >> i & 1) & (w >> j & 1))
        while any(len(column) > 3 for column in array[:columns]):
            array = _stage(array, columns)
        total = sum(bit << c for c, column in enumerate(array) for bit in column)
        return np.asarray(total) & ((1 << width) - 1)

    return from_unsigned(product, f"momeni{columns}", activation, weight)


def _stage(array: list[list[np.ndarray]], columns: int) -> list[list[np.ndarray]]:
    reduced: list[list[np.ndarray]] = [[] for _ in array]
    for c, column in enumerate(array):
        groups = len(column) // 4 if c < columns else 0
        for g in range(groups):
            carry, total = _compressed(*column[4 * g : 4 * g + 4])
            reduced[c].append(total)
            if c + 1 < len(array):
                reduced[c + 1].append(carry)
        reduced[c] += column[4 * groups :]
    return reduced


def _compressed(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    return (a | b) & (c | d), (a ^ b ^ 1) | (c ^ d ^ 1)
