# SPDX-License-Identifier: Apache-2.0
"""A netlist of gates, and all products of a multiplier from it, bit-parallel.

A signal is one bit for each pair of operands, 64 pairs to a word: 65,536 pairs are 1,024
words, and a gate is a handful of numpy operations on them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

Signal = np.ndarray
"""uint64, one bit for each pair of operands."""


@dataclasses.dataclass(frozen=True)
class Gate:
    """A function of some signals that drives another one.

    Attributes:
        output: name of the signal it drives.
        inputs: names of the signals it reads.
        function: takes the inputs' signals and the signal that is all ones.
        cost: about how many operations on signals it takes.
    """

    output: str
    inputs: tuple[str, ...]
    function: Callable[[Sequence[Signal], Signal], Signal]
    cost: int = 1


@dataclasses.dataclass(frozen=True)
class Netlist:
    """Combinational logic with two operands and a product.

    Attributes:
        activation: signals of the first operand, least significant first.
        weight: signals of the second operand, likewise.
        product: signals of the result, likewise.
        gates: in any order.
    """

    activation: tuple[str, ...]
    weight: tuple[str, ...]
    product: tuple[str, ...]
    gates: tuple[Gate, ...]


def tabulate(netlist: Netlist, function: str, path: str) -> np.ndarray:
    """The product's bit pattern for all operand patterns.

    Args:
        netlist: of at most 16 operand bits and 31 product bits.
        function: for error messages.
        path: likewise.
    Returns:
        int64 `(2**activation bits, 2**weight bits)`, not negative.
    Raises:
        ValueError: for a loop, a signal that nothing drives, or one driven twice.
    """
    rows, columns = 1 << len(netlist.activation), 1 << len(netlist.weight)
    pairs = np.arange(rows * columns)
    patterns = {"activation": pairs // columns, "weight": pairs % columns}
    signals = {}
    for operand, codes in patterns.items():
        for position, name in enumerate(getattr(netlist, operand)):
            signals[name] = _pack(codes >> position & 1)
    ones = _pack(np.ones_like(pairs))
    drivers: dict[str, Gate] = {}
    for gate in netlist.gates:
        if gate.output in drivers or gate.output in signals:
            raise ValueError(
                f"{function}: a signal has one driver, got two for signal={gate.output!r} in "
                f"{path!r}. Take one of them out."
            )
        drivers[gate.output] = gate
    for gate in _in_order(netlist.product, drivers, signals, function, path):
        inputs = [signals[name] for name in gate.inputs]
        signals[gate.output] = gate.function(inputs, ones)
    product = np.zeros(pairs.size, np.int64)
    for position, name in enumerate(netlist.product):
        product |= _unpack(signals[name], pairs.size) << position
    return product.reshape(rows, columns)


def _in_order(
    wanted: Sequence[str],
    drivers: Mapping[str, Gate],
    known: Mapping[str, Signal],
    function: str,
    path: str,
) -> Iterator[Gate]:
    """The gates that the wanted signals need, each after those that it needs itself."""
    done, open_ = set(known), set()
    stack = [(name, False) for name in wanted]
    while stack:
        name, inputs_are_done = stack.pop()
        if inputs_are_done:
            open_.discard(name)
            done.add(name)
            yield drivers[name]
        elif name in open_:
            raise ValueError(
                f"{function}: a multiplier's gates form no loop, got one through "
                f"signal={name!r} in {path!r}. Only combinational circuits have a truth table."
            )
        elif name not in done:
            if name not in drivers:
                raise ValueError(
                    f"{function}: every signal that is read has a driver, got none for "
                    f"signal={name!r} in {path!r}. Drive it, or tie it to a constant."
                )
            open_.add(name)
            stack.append((name, True))
            stack += [(i, False) for i in drivers[name].inputs if i not in done]


def _pack(bits: np.ndarray) -> Signal:
    whole = np.zeros(-(-bits.size // 64) * 64, np.uint8)
    whole[: bits.size] = bits
    return np.packbits(whole, bitorder="little").view(np.uint64)


def _unpack(signal: Signal, size: int) -> np.ndarray:
    return np.unpackbits(signal.view(np.uint8), count=size, bitorder="little").astype(np.int64)
