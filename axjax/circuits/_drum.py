# SPDX-License-Identifier: Apache-2.0
"""DRUM: a small exact multiplier that follows the leading ones."""

from __future__ import annotations

import numpy as np

from axjax._multiplier import Multiplier, Pair
from axjax.circuits._operands import checked, code_types, leading_one
from axjax.circuits._sign_magnitude import from_unsigned


def drum(bits: Pair = 8, *, k: int, signed: bool = False) -> Multiplier:
    """The dynamic range unbiased multiplier, DRUM-k.

    Of each operand it keeps the k bits from the leading one down, sets the lowest of them and
    multiplies exactly. The bit that is set stands for the mean of the bits that are cut off,
    which brings the mean error near zero. Operands below 2**k pass unchanged.

    Args:
        bits: widths, 2 to 8, for both operands or (activation, weight).
        k: bits kept, 2 to the greater width. That width itself gives the exact product.
        signed: by sign and magnitude, see `sign_magnitude`.
    Raises:
        ValueError: if `k` is out of range.

    Source: S. Hashemi, R. I. Bahar, S. Reda, DRUM: A Dynamic Range Unbiased Multiplier for
    Approximate Applications, ICCAD 2015.
    """
    activation, weight = code_types(bits, signed)
    k = checked(
        "drum",
        "k is how many bits of an operand are kept",
        "k",
        k,
        2,
        max(activation.bits, weight.bits),
        "The leading one and the bit that is set against bias take two of them.",
    )
    return from_unsigned(
        lambda x, w: reduced(x, k) * reduced(w, k), f"drum{k}", activation, weight
    )


def reduced(operand: np.ndarray, k: int) -> np.ndarray:
    """What DRUM-k multiplies in place of an unsigned operand of any width below 2**53."""
    cut = np.maximum(leading_one(operand) - k + 1, 0)
    lowest_set = np.where(cut > 0, 1, 0)
    return ((operand >> cut) | lowest_set) << cut
