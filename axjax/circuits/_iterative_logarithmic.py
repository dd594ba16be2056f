# SPDX-License-Identifier: Apache-2.0
"""The iterative logarithmic multiplier: corrects itself with what it left out."""

from __future__ import annotations

import numpy as np

from axjax._multiplier import Multiplier, Pair
from axjax.circuits._operands import checked, code_types, leading_one
from axjax.circuits._sign_magnitude import from_unsigned


def iterative_logarithmic(
    bits: Pair = 8, *, corrections: int, signed: bool = False
) -> Multiplier:
    """Mitchell's idea without its second case, and corrected by the same circuit again.

    With `x = 2**i + r` and `w = 2**j + s` the product is `2**(i+j) + r 2**j + s 2**i + r s`.
    The basic block leaves out the last term; each correction adds the basic block's product of
    r and s, and continues with what remains of these. Exact as soon as one of them is zero,
    so with as many corrections as an operand has bits less one. Never too great, and too small
    by less than a quarter of the product without a correction, a sixteenth with one, ...

    Args:
        bits: widths, 2 to 8, for both operands or (activation, weight).
        corrections: 0 to the lesser width less 1.
        signed: by sign and magnitude, see `sign_magnitude`.
    Raises:
        ValueError: if `corrections` is out of range.

    Source: Z. Babic, A. Avramovic, P. Bulic, An Iterative Logarithmic Multiplier,
    Microprocessors and Microsystems 35(1), 2011.
    """
    activation, weight = code_types(bits, signed)
    corrections = checked(
        "iterative_logarithmic",
        "corrections is how often the remainders are multiplied too",
        "corrections",
        corrections,
        0,
        min(activation.bits, weight.bits) - 1,
        "With the last one the product is exact.",
    )
    return from_unsigned(
        lambda x, w: _product(x, w, corrections), f"ilm{corrections}", activation, weight
    )


def _product(x: np.ndarray, w: np.ndarray, corrections: int) -> np.ndarray:
    i, j = np.maximum(leading_one(x), 0), np.maximum(leading_one(w), 0)
    r, s = x & ~(1 << i), w & ~(1 << j)
    basic = np.where((x == 0) | (w == 0), 0, (x << j) + (s << i))
    return basic if corrections == 0 else basic + _product(r, s, corrections - 1)
