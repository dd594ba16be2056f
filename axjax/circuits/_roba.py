# SPDX-License-Identifier: Apache-2.0
"""RoBA: operands rounded to powers of two."""

from __future__ import annotations

import numpy as np

from axjax._multiplier import Multiplier, Pair
from axjax.circuits._operands import code_types, leading_one
from axjax.circuits._sign_magnitude import from_unsigned


def roba(bits: Pair = 8, *, signed: bool = False) -> Multiplier:
    """The rounding-based approximate multiplier: shifts and adds of rounded operands.

    With x' and w', the powers of two nearest to the operands, the product is `x' w + x w' -
    x' w'`, which leaves out `(x' - x) (w' - w)`: three shifts, an addition, a subtraction. Of
    two powers equally near the greater one is taken, except for 3, which becomes 2. Zero stays
    zero. Off by at most one ninth (11.1 %) of the product.

    Args:
        bits: widths, 2 to 8, for both operands or (activation, weight).
        signed: by sign and magnitude, see `sign_magnitude`, as in S-RoBA.

    Source: R. Zendegani, M. Kamal, M. Bahadori, A. Afzali-Kusha, M. Pedram, RoBA Multiplier: A
    Rounding-Based Approximate Multiplier for High-Speed yet Energy-Efficient Digital Signal
    Processing, IEEE Transactions on VLSI Systems 25(2), 2017.
    """
    activation, weight = code_types(bits, signed)
    return from_unsigned(_product, "roba", activation, weight)


def _product(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    rounded_x, rounded_w = _rounded(x), _rounded(w)
    return rounded_x * w + x * rounded_w - rounded_x * rounded_w


def _rounded(operand: np.ndarray) -> np.ndarray:
    below = np.where(operand == 0, 0, 1 << np.maximum(leading_one(operand), 0))
    up = (2 * operand >= 3 * below) & (operand != 3)
    return np.where(up, 2 * below, below)
