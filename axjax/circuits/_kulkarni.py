# SPDX-License-Identifier: Apache-2.0
"""Kulkarni's underdesigned multiplier: 2 x 2 blocks in which 3 x 3 is 7."""

from __future__ import annotations

import numpy as np

from axjax._multiplier import Multiplier, Pair
from axjax.circuits._operands import canonical_name, code_types
from axjax.circuits._sign_magnitude import sign_magnitude


def kulkarni(bits: Pair = 8, *, signed: bool = False) -> Multiplier:
    """Composes 2 x 2 blocks that are wrong in one entry of 16: 3 times 3 is 7.

    The block saves its fourth output bit. A wider multiplier splits its operands in halves,
    takes four products of halves and adds them exactly, down to the block. Since the adders
    are exact, that is the sum over all pairs of base-4 digits, in which form it is computed
    here, and it also serves operands of different widths. An odd width gets a zero bit above.
    The product is never too great, and too small by at most 2/9 (22.2 %).

    Args:
        bits: widths, 2 to 8, for both operands or (activation, weight).
        signed: by sign and magnitude, see `sign_magnitude`.

    Source: P. Kulkarni, P. Gupta, M. Ercegovac, Trading Accuracy for Power with an
    Underdesigned Multiplier Architecture, VLSI Design 2011.
    """
    activation, weight = code_types(bits, signed)

    def product(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        total = np.zeros(np.broadcast_shapes(x.shape, w.shape), np.int64)
        for i in range(0, activation.bits, 2):
            for j in range(0, weight.bits, 2):
                total += _block(x >> i & 3, w >> j & 3) << (i + j)
        return total

    name = canonical_name("kulkarni", activation, weight)
    multiplier = Multiplier.from_function(product, (activation.bits, weight.bits), name=name)
    return sign_magnitude(multiplier, name=name) if signed else multiplier


def _block(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    return np.where((x == 3) & (w == 3), 7, x * w)
