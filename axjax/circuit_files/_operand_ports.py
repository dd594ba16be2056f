# SPDX-License-Identifier: Apache-2.0
"""Which wires of a netlist are the two operands and the product."""

from __future__ import annotations

import re
from collections.abc import Sequence

# a[3], a<3>, a(3), a_3_, a_3, a3: a name and the position of the bit.
_INDEXED = re.compile(
    r"^(.*?)(?:\[(\d{1,6})\]|<(\d{1,6})>|\((\d{1,6})\)|_(\d{1,6})_|_?(\d{1,6}))$"
)

Words = dict[str, tuple[str, ...]]
"""Wires by word, least significant first; words in the order in which they appear."""


def words(wires: Sequence[str]) -> Words:
    """Groups wires by the name before their index, and sorts each group by the index."""
    groups: dict[str, list[tuple[int, str]]] = {}
    for wire in wires:
        match = _INDEXED.match(wire)
        word, index = wire, 0
        if match:
            word = match.group(1)
            index = int(next(g for g in match.groups()[1:] if g is not None))
        groups.setdefault(word, []).append((index, wire))
    return {word: tuple(name for _, name in sorted(bits)) for word, bits in groups.items()}


def operands(
    inputs: Words, bits: tuple[int, int] | None, function: str, path: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Wires of the activation and of the weight: the first and the second input word.

    Where the inputs are one word, or one word a bit, `bits` says where to cut their sequence.

    Raises:
        ValueError: if the inputs are no two operands of 2 to 8 bits, or not of `bits`.
    """
    shape = ", ".join(f"{word}[{len(wires)}]" for word, wires in inputs.items())
    if len(inputs) == 2:
        first, second = inputs.values()
    elif bits is not None and sum(map(len, inputs.values())) == sum(bits):
        wires = tuple(wire for word in inputs.values() for wire in word)
        first, second = wires[: bits[0]], wires[bits[0] :]
    else:
        raise ValueError(
            f"{function}: a multiplier has two input words, got inputs={shape or 'none'} in "
            f"{path!r}. Bits of a word are named a[0], a[1], ...; or pass bits=(activation, "
            "weight) to cut the sequence of inputs in two."
        )
    found = (len(first), len(second))
    if not all(2 <= width <= 8 for width in found):
        raise ValueError(
            f"{function}: an operand has 2 to 8 bits, got inputs={shape} in {path!r}. "
            "Wider multipliers do not fit a 256 x 256 table."
        )
    if bits is not None and found != tuple(bits):
        raise ValueError(
            f"{function}: the widths are those of the circuit's inputs, got bits={bits} for "
            f"inputs={shape} in {path!r}. Leave bits out, or exchange the inputs."
        )
    return first, second


def product(outputs: Words, width: int, function: str, path: str) -> tuple[str, ...]:
    """Wires of the product: the one output word, of at most `width` bits.

    Raises:
        ValueError: if there are more words, or more bits.
    """
    shape = ", ".join(f"{word}[{len(wires)}]" for word, wires in outputs.items())
    if len(outputs) != 1:
        raise ValueError(
            f"{function}: a multiplier has one output word, got outputs={shape or 'none'} in "
            f"{path!r}. Bits of a word are named p[0], p[1], ..."
        )
    (wires,) = outputs.values()
    if len(wires) > width:
        raise ValueError(
            f"{function}: a product has no more bits than its operands together, {width}, got "
            f"outputs={shape} in {path!r}. Leave the others out."
        )
    return wires
