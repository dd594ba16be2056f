# SPDX-License-Identifier: Apache-2.0
"""layers: what of a function would run on which hardware, as a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from axjax._explain import explain
from axjax._multiplier import Multiplier
from axjax.emulation._find import find
from axjax.emulation._layer import Layer
from axjax.emulation._rule import Rule, describe, match
from axjax.emulation._trace import trace

_EXACT = "exact"
_HEADER: tuple[str, ...] = (
    *("#", "layer", "kind", "lhs", "rhs", "weight", "MACs"),
    *("rule", "multiplier", "engine", "terms"),
)


@dataclasses.dataclass(frozen=True)
class Assignment:
    """A layer and what it runs on.

    Attributes:
        layer: the layer.
        rule: number of the rule that decides, None if none does.
        multiplier: name of the multiplier, None where the layer stays exact.
        engine: as the rule names it; for "auto" the engine that it takes on JAX's default
            device, or "auto" itself for layers of several groups.
        terms: int8 products that stand for a look-up, where the multiplier is factored.
    """

    layer: Layer
    rule: int | None
    multiplier: str | None
    engine: str
    terms: int | None


class Layers(Sequence[Assignment]):
    """All layers of a function, in the order in which they run. Prints as a table.

    Attributes:
        rules: the rules that were applied, if there were any.
    """

    def __init__(self, assignments: Sequence[Assignment], rules: Sequence[Rule]) -> None:
        self._assignments = tuple(assignments)
        self.rules = tuple(rules)

    def __getitem__(self, index: Any) -> Any:
        return self._assignments[index]

    def __len__(self) -> int:
        return len(self._assignments)

    def __iter__(self) -> Iterator[Assignment]:
        return iter(self._assignments)

    @property
    def macs(self) -> int:
        """Multiply-accumulates in a call of the function."""
        return sum(assignment.layer.macs for assignment in self)

    @property
    def emulated_macs(self) -> int:
        """Those of them that run on approximate hardware."""
        return sum(a.layer.macs for a in self if a.multiplier is not None)

    def __repr__(self) -> str:
        rows = [_HEADER, *map(_row, self)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) for cell, width in zip(row, widths, strict=True)
            ).rstrip()
            for row in rows
        ]
        share = self.emulated_macs / self.macs if self.macs else 0.0
        lines.append(
            f"{len(self)} layers, {_count(self.macs)} multiply-accumulates, {share:.1%} of "
            "them on approximate hardware"
        )
        lines += [f"rule {number}: {describe(rule)}" for number, rule in enumerate(self.rules)]
        return "\n".join(lines)


def layers(
    fn: Callable[..., Any], *args: Any, rules: Sequence[Rule] = (), **kwargs: Any
) -> Layers:
    """Lists what `axjax.emulate` would replace in a call of `fn`. Nothing is computed.

    Args:
        fn: the function.
        *args, **kwargs: what it is called with; shapes and dtypes matter, values do not.
        rules: what each layer is matched against.
    Returns:
        The layers in the order in which they run. Prints as a table.
    Raises:
        ValueError: for a rule that matches nothing.

    >>> import axjax, jax.numpy as jnp
    >>> network = lambda params, x: jnp.tanh(x @ params["a"]) @ params["b"]
    >>> params = {"a": jnp.ones((4, 8)), "b": jnp.ones((8, 2))}
    >>> found = axjax.layers(network, params, jnp.ones((3, 4)))
    >>> [(a.layer.key, a.layer.kind, a.layer.macs) for a in found]
    [('a', 'dense', 96), ('b', 'dense', 48)]
    """
    found = find(trace("layers", fn, args, kwargs)).layers
    decided = match("layers", rules, found)
    return Layers([_assignment(layer, number, rules) for layer, number in decided], rules)


def _assignment(layer: Layer, number: int | None, rules: Sequence[Rule]) -> Assignment:
    multiplier = None if number is None else rules[number].multiplier
    if number is None or multiplier is None:
        return Assignment(layer, number, None, _EXACT, None)
    factors = multiplier.factors
    terms = None if factors is None else factors.terms
    return Assignment(
        layer, number, multiplier.name, _engine(layer, multiplier, rules[number]), terms
    )


def _engine(layer: Layer, multiplier: Multiplier, rule: Rule) -> str:
    """What "auto" means here, for a layer that is one matrix product to the cost model."""
    if rule.engine != "auto" or layer.groups != 1 or not layer.macs:
        return rule.engine
    rows = layer.macs // (layer.calls * layer.depth * layer.out_channels)
    return explain(multiplier, (rows, layer.depth, layer.out_channels)).engine


def _row(assignment: Assignment) -> tuple[str, ...]:
    layer = assignment.layer
    return (
        str(layer.index),
        layer.key,
        layer.kind,
        _shape(layer.lhs_shape),
        _shape(layer.rhs_shape),
        layer.weight,
        _count(layer.macs),
        "" if assignment.rule is None else str(assignment.rule),
        assignment.multiplier or "",
        assignment.engine,
        "" if assignment.terms is None else str(assignment.terms),
    )


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _count(number: int) -> str:
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return str(number)
