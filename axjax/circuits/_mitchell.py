# SPDX-License-Identifier: Apache-2.0
"""Mitchell's multiplier: adds approximate logarithms."""

from __future__ import annotations

import numpy as np

from axjax._multiplier import Multiplier, Pair
from axjax.circuits._operands import code_types, leading_one
from axjax.circuits._sign_magnitude import from_unsigned


def mitchell(bits: Pair = 8, *, signed: bool = False) -> Multiplier:
    """The logarithmic multiplier: `2**k (1 + f)` has the logarithm `k + f`, about.

    The logarithm of an operand is the position k of its leading one, followed by the bits
    below it as the fraction f. Two logarithms are added, and the sum is turned back in the
    same manner: `2**(k1 + k2) (1 + f1 + f2)` without a carry out of the fractions, and
    `2**(k1 + k2 + 1) (f1 + f2)` with one. An operand that is zero makes the product zero.

    Integer form: a fraction has one bit less than the wider operand, which holds every bit
    below the leading one, and both results above are integers, so that nothing is truncated
    on the way: the only error is that of the approximation. It is never positive, and at most
    one ninth (11.1 %) of the product.

    Args:
        bits: widths, 2 to 8, for both operands or (activation, weight).
        signed: by sign and magnitude, see `sign_magnitude`.

    Source: J. N. Mitchell, Computer Multiplication and Division Using Binary Logarithms,
    IRE Transactions on Electronic Computers EC-11(4), 1962.
    """
    activation, weight = code_types(bits, signed)
    fraction_bits = max(activation.bits, weight.bits) - 1
    return from_unsigned(
        lambda x, w: _product(x, w, fraction_bits), "mitchell", activation, weight
    )


def _product(x: np.ndarray, w: np.ndarray, fraction_bits: int) -> np.ndarray:
    total = _logarithm(x, fraction_bits) + _logarithm(w, fraction_bits)
    position = total >> fraction_bits  # a carry out of the fractions counts one more
    one = 1 << fraction_bits
    product = ((one | (total & (one - 1))) << position) >> fraction_bits
    return np.where((x == 0) | (w == 0), 0, product)


def _logarithm(operand: np.ndarray, fraction_bits: int) -> np.ndarray:
    """Position of the leading one, then the bits below it, in fixed point; 0 for zero."""
    position = np.maximum(leading_one(operand), 0)
    fraction = (operand ^ (1 << position)) << (fraction_bits - position)
    return np.where(operand == 0, 0, (position << fraction_bits) | fraction)
