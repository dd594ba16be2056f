# SPDX-License-Identifier: Apache-2.0
"""The multiplier that makes no error, under a family name."""

from __future__ import annotations

from axjax._multiplier import Multiplier, Pair
from axjax.circuits._operands import canonical_name, code_types


def exact(bits: Pair = 8, *, signed: bool = False) -> Multiplier:
    """`x * w`: the reference that every error is measured against.

    Args:
        bits: widths, 2 to 8, for both operands or (activation, weight).
        signed: two's complement operands.

    Source: the definition of a product.
    """
    activation, weight = code_types(bits, signed)
    return Multiplier.from_function(
        lambda x, w: x * w,
        (activation.bits, weight.bits),
        signed=signed,
        name=canonical_name("exact", activation, weight),
    )
