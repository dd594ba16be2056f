# SPDX-License-Identifier: Apache-2.0
"""The error-tolerant multiplier: high halves are multiplied, low ones only looked at."""

from __future__ import annotations

import numpy as np

from axjax._multiplier import Multiplier, Pair
from axjax.circuits._operands import code_types
from axjax.circuits._sign_magnitude import from_unsigned


def error_tolerant(bits: Pair = 8, *, signed: bool = False) -> Multiplier:
    """The error-tolerant multiplier, ETM.

    Operands are split in halves of h bits, the low ones. If both high halves are zero, the low
    ones are multiplied exactly. Otherwise the multiplier serves the high halves, and the low
    `2 h` bits of the product are made without carries: from the highest position of the low
    halves down, every bit is one from the first position on at which either operand has a
    one; the last of these bits is repeated in the h bits below.

    Args:
        bits: an even width, 2 to 8, of both operands.
        signed: by sign and magnitude, see `sign_magnitude`.
    Raises:
        ValueError: if the widths are odd, or differ.

    Source: K. Y. Kyaw, W. L. Goh, K. S. Yeo, Low-Power High-Speed Multiplier for
    Error-Tolerant Application, EDSSC 2010.
    """
    activation, weight = code_types(bits, signed)
    if activation.bits != weight.bits or activation.bits % 2:
        raise ValueError(
            f"error_tolerant: operands have one width, which is even, got bits={bits}. "
            "Pass 2, 4, 6 or 8."
        )
    half = activation.bits // 2
    return from_unsigned(lambda x, w: _product(x, w, half), "etm", activation, weight)


def _product(x: np.ndarray, w: np.ndarray, half: int) -> np.ndarray:
    low = (1 << half) - 1
    ones = (x | w) & low
    for shift in (1, 2, 4):  # every one spreads to all positions below it
        ones |= ones >> shift
    without_carries = ones << half | (ones & 1) * low
    exact_high = (x >> half) * (w >> half) << (2 * half)
    return np.where((x | w) >> half == 0, x * w, exact_high | without_carries)
