# SPDX-License-Identifier: Apache-2.0
"""Circuits of the generator ariths-gen."""

from __future__ import annotations

from typing import Any

from axjax._multiplier import Multiplier


def from_ariths_gen(circuit: Any, *, name: str | None = None) -> Multiplier:
    """Tabulates a multiplier that ariths-gen made.

    Args:
        circuit: an object of the package, for example of its class `UnsignedDaddaMultiplier`,
            with operands `a` (the activation) and `b` (the weight) of 2 to 8 bits.
        name: by default the circuit's prefix.
    Raises:
        TypeError: if it is no such object.
        ValueError: if an operand is too wide.

    Source: J. Klhufek, V. Mrazek, ArithsGen: Arithmetic Circuit Generator for Hardware
    Accelerators, DDECS 2022.
    """
    try:
        bits = (int(circuit.a.N), int(circuit.b.N))
        width, signed = int(circuit.out.N), bool(circuit.signed)
    except AttributeError as error:
        raise TypeError(
            "from_ariths_gen: a multiplier of ariths-gen has operands a and b and a result "
            f"out, got circuit={type(circuit).__name__}. For a function, see "
            "Multiplier.from_function."
        ) from error

    def product(x: Any, w: Any) -> Any:
        pattern = circuit(x, w) & ((1 << width) - 1)
        sign = signed << (width - 1)
        return (pattern ^ sign) - sign

    if name is None:
        name = str(getattr(circuit, "prefix", type(circuit).__name__))
    return Multiplier.from_function(product, bits, signed=signed, name=name)
