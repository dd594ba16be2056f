# SPDX-License-Identifier: Apache-2.0
"""BLIF (Berkeley Logic Interchange Format) to netlists."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from axjax.circuit_files._netlist import Gate, Signal

# A hierarchy of a few lines can stand for any number of gates. As many operations on signals
# take some ten seconds; a multiplier in gates has a few thousand.
_MOST_OPERATIONS, _DEEPEST = 4_000_000, 100


@dataclasses.dataclass
class _Model:
    inputs: list[str] = dataclasses.field(default_factory=list)
    outputs: list[str] = dataclasses.field(default_factory=list)
    gates: list[Gate] = dataclasses.field(default_factory=list)
    instances: list[tuple[int, str, dict[str, str]]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Circuit:
    """What a BLIF file describes: ports in the file's order, and all gates, flattened."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    gates: tuple[Gate, ...]


def parse(text: str, path: str) -> Circuit:
    """Reads a BLIF file; the first model is the circuit, the others its parts.

    Raises:
        ValueError: with the line, for what is no combinational BLIF.
    """
    models = _models(text, path)
    if not models:
        raise ValueError(
            f"from_blif: a BLIF file describes a .model, got none in {path!r}. "
            "The file is of another format, or cut short."
        )
    name, top = next(iter(models.items()))
    budget = _Budget(path)
    gates = tuple(_flatten(top, models, {}, "", (name,), budget, path))
    return Circuit(name, tuple(top.inputs), tuple(top.outputs), gates)


def _models(text: str, path: str) -> dict[str, _Model]:
    models: dict[str, _Model] = {}
    model: _Model | None = None
    cover: tuple[int, list[str], list[str]] | None = None
    for number, words in _lines(text):
        keyword = words[0]
        if not keyword.startswith("."):
            if cover is None:
                raise _error(path, number, "a line begins with a keyword such as .names", words)
            cover[2].append(" ".join(words))
            continue
        if cover is not None and model is not None:
            model.gates.append(_gate(cover, path))
            cover = None
        if keyword == ".model":
            model = models.setdefault(words[1] if len(words) > 1 else "", _Model())
            continue
        if keyword == ".end":
            model = None
            continue
        if model is None:
            raise _error(path, number, "everything stands inside a .model", words)
        if keyword == ".inputs":
            model.inputs += words[1:]
        elif keyword == ".outputs":
            model.outputs += words[1:]
        elif keyword == ".names" and len(words) > 1:
            cover = (number, words[1:], [])
        elif keyword == ".subckt" and len(words) > 1:
            pins = dict(pin.partition("=")[::2] for pin in words[2:])
            model.instances.append((number, words[1], pins))
        elif keyword in (".latch", ".mlatch"):
            raise _error(path, number, "a multiplier has no memory", words)
        else:
            raise _error(
                path,
                number,
                "a line is .model, .inputs, .outputs, .names, .subckt or .end",
                words,
            )
    if cover is not None and model is not None:
        model.gates.append(_gate(cover, path))
    return models


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Words of each logical line, and the number of its first physical one."""
    words: list[str] = []
    first = 0
    for number, line in enumerate(text.splitlines(), 1):
        first = first if words else number
        line = line.partition("#")[0].rstrip()
        words += line.removesuffix("\\").split()
        if words and not line.endswith("\\"):
            yield first, words
            words = []
    if words:
        yield first, words


def _gate(cover: tuple[int, list[str], list[str]], path: str) -> Gate:
    """A .names block: rows of literals that make the output 1, or all of them 0."""
    number, names, rows = cover
    *inputs, output = names
    cubes: list[str] = []
    values = set()
    for row in rows:
        *literals, value = row.split()
        cube = "".join(literals)
        if len(cube) != len(inputs) or value not in ("0", "1") or cube.strip("01-"):
            raise _error(
                path, number, f"a row of .names has {len(inputs)} of 0, 1, - and an output bit",
                row.split(),
            )  # fmt: skip
        cubes.append(cube)
        values.add(value)
    if len(values) > 1:
        raise _error(path, number, "the rows of .names give all ones or all zeros", rows)

    def function(signals: Sequence[Signal], ones: Signal) -> Signal:
        total = np.zeros_like(ones)
        for cube in cubes:
            term = ones
            for literal, signal in zip(cube, signals, strict=True):
                if literal != "-":
                    term = term & (signal if literal == "1" else signal ^ ones)
            total = total | term
        return total ^ ones if values == {"0"} else total

    cost = 1 + sum(len(cube) - cube.count("-") for cube in cubes)
    return Gate(output, tuple(inputs), function, cost)


class _Budget:
    """Operations that evaluating the circuit may take."""

    def __init__(self, path: str) -> None:
        self._path, self._left = path, _MOST_OPERATIONS

    def spend(self, operations: int) -> None:
        self._left -= operations
        if self._left < 0:
            raise self.exceeded()

    def exceeded(self) -> ValueError:
        return ValueError(
            f"from_blif: a multiplier takes up to {_MOST_OPERATIONS} literals, in models "
            f"nested up to {_DEEPEST} deep, got more in {self._path!r}. Flatten it, or take "
            "out what is not used."
        )


def _flatten(
    model: _Model,
    models: dict[str, _Model],
    names: dict[str, str],
    prefix: str,
    above: tuple[str, ...],
    budget: _Budget,
    path: str,
) -> Iterator[Gate]:
    """Gates of a model and of its parts; `names` are the ports' names outside."""

    def outside(name: str) -> str:
        return names.get(name, prefix + name)

    if len(above) > _DEEPEST:
        raise budget.exceeded()
    for gate in model.gates:
        budget.spend(gate.cost)
        yield Gate(
            outside(gate.output), tuple(map(outside, gate.inputs)), gate.function, gate.cost
        )
    for position, (number, part, pins) in enumerate(model.instances):
        words = [".subckt", part]
        if part not in models:
            raise _error(path, number, "a .subckt names a .model of the file", words)
        if part in above:
            raise _error(path, number, "a .model is no part of itself", words)
        inner = models[part]
        unknown = set(pins) - set(inner.inputs) - set(inner.outputs)
        if unknown or set(inner.inputs) - set(pins):
            rule = "a .subckt connects every input of its model, and nothing but ports"
            raise _error(path, number, rule, words)
        budget.spend(10)  # a part costs something even if it is empty
        below = f"{prefix}{position} "  # no signal of the file has a space in its name
        connected = {pin: outside(signal) for pin, signal in pins.items()}
        yield from _flatten(inner, models, connected, below, (*above, part), budget, path)


def _error(path: str, number: int, rule: str, words: Sequence[str]) -> ValueError:
    shown = " ".join(words)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return ValueError(
        f"from_blif: {rule}, got line={number}: {shown!r} in {path!r}. "
        "Only combinational BLIF of .names and .subckt is read."
    )
