# SPDX-License-Identifier: Apache-2.0
"""The static segment multiplier: one of two fixed parts of each operand."""

from __future__ import annotations

import numpy as np

from axjax._multiplier import Multiplier, Pair
from axjax.circuits._operands import checked, code_types
from axjax.circuits._sign_magnitude import from_unsigned


def static_segment(bits: Pair = 8, *, m: int, signed: bool = False) -> Multiplier:
    """The static segment multiplier, SSM: an exact m x m multiplier of segments.

    An operand's segment is its low m bits if all bits above are zero, else its high m bits;
    what is below these is dropped. An operand of up to m bits passes unchanged.

    Args:
        bits: widths, 2 to 8, for both operands or (activation, weight).
        m: bits of a segment; at least half the greater width, so that two segments cover the
            operand.
        signed: by sign and magnitude, see `sign_magnitude`.
    Raises:
        ValueError: if `m` is out of range.

    Source: S. Narayanamoorthy, H. A. Moghaddam, Z. Liu, T. Park, N. S. Kim, Energy-Efficient
    Approximate Multiplication for Digital Signal Processing and Classification Applications,
    IEEE Transactions on VLSI Systems 23(6), 2015.
    """
    activation, weight = code_types(bits, signed)
    widest = max(activation.bits, weight.bits)
    m = checked(
        "static_segment",
        "m is how many bits a segment has",
        "m",
        m,
        (widest + 1) // 2,
        widest,
        "Two segments cover an operand.",
    )
    return from_unsigned(
        lambda x, w: _segment(x, activation.bits, m) * _segment(w, weight.bits, m),
        f"ssm{m}",
        activation,
        weight,
    )


def _segment(operand: np.ndarray, width: int, m: int) -> np.ndarray:
    shift = max(width - m, 0)
    return np.where(operand >> m == 0, operand, operand >> shift << shift)
