# SPDX-License-Identifier: Apache-2.0
"""A signed multiplier around an unsigned one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from axjax._code_type import CodeType
from axjax._multiplier import Multiplier
from axjax.circuits._operands import canonical_name


def from_unsigned(
    product: Callable[[np.ndarray, np.ndarray], np.ndarray],
    variant: str,
    activation: CodeType,
    weight: CodeType,
) -> Multiplier:
    """A family's member from its function of unsigned operands, under its canonical name.

    Signed operands are multiplied by sign and magnitude.
    """
    name = canonical_name(variant, activation, weight)
    multiplier = Multiplier.from_function(product, (activation.bits, weight.bits), name=name)
    return sign_magnitude(multiplier, name=name) if activation.signed else multiplier


def sign_magnitude(unsigned: Multiplier, *, name: str | None = None) -> Multiplier:
    """Multiplies magnitudes with `unsigned` and gives the result the sign of the product.

    Two's complement operands are negated where they are negative, multiplied by the unsigned
    core of the same widths, and the result is negated where exactly one operand was negative.
    The most negative code needs no special case: -128 has magnitude 128, which the 8 unsigned
    wires of the core hold (`10000000`), so that it is neither saturated nor wrapped. Codes
    above 128 never reach the core. Zero counts as positive: with a core that makes an error at
    zero, `(0, -1)` gives minus the core's `(0, 1)`.

    Args:
        unsigned: any multiplier of two unsigned operands, not only one of these families.
        name: for people; the core's name with ` sign-magnitude` by default.
    Returns:
        a multiplier of two signed operands of the same widths.
    Raises:
        ValueError: if an operand of `unsigned` is signed.

    >>> from axjax import Multiplier, circuits
    >>> mul = circuits.sign_magnitude(Multiplier(255 - circuits.exact().products()))
    >>> mul.products()[1, 255]  # 1 and -1: minus the core's product of 1 and 1
    np.int64(-254)
    """
    if unsigned.activation.signed or unsigned.weight.signed:
        raise ValueError(
            "sign_magnitude: the core multiplies magnitudes, which have no sign, got "
            f"unsigned={unsigned!r}. Pass a multiplier of two unsigned operands."
        )
    core = unsigned.products()

    def product(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        magnitude = core[np.abs(x), np.abs(w)]
        return np.where((x < 0) != (w < 0), -magnitude, magnitude)

    return Multiplier.from_function(
        product,
        (unsigned.activation.bits, unsigned.weight.bits),
        signed=True,
        name=f"{unsigned.name} sign-magnitude" if name is None else name,
    )
