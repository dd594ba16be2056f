# SPDX-License-Identifier: Apache-2.0
"""Runs a trace, with another function in the place of its layers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jax.extend import source_info_util
from jax.extend.core import Literal

from axjax.emulation._containers import CONTAINERS, Notes, rebind
from axjax.emulation._find import Found, holds_products
from axjax.emulation._fold import follow, scaled_kernel, shifted
from axjax.emulation._layer import Layer, Position
from axjax.emulation._trace import Trace

Apply = Callable[[Layer, Any, Any, Any], tuple[Any, Any]]
"""`apply(layer, eqn, lhs, rhs)` gives a layer's result and notes."""


class NotesByLayer:
    """How the notes of layers are kept: a dictionary by the layers' keys."""

    def __init__(
        self, of_layer: Callable[[Layer], Any], merge: Callable[[Any, Any], Any]
    ) -> None:
        self.of_layer = of_layer
        self.merge_two = merge

    def merge(self, first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
        both = first.keys() & second.keys()
        merged = {key: self.merge_two(first[key], second[key]) for key in both}
        return {**first, **second, **merged}


class Interpreter:
    """Runs a trace.

    Args:
        found: its layers.
        chosen: keys of those that `apply` computes. The rest run as they are.
        apply: computes a layer.
        fold: whether affine operations after a layer go into its kernel.
        notes: how notes are merged; None if `apply` takes none.
    """

    def __init__(
        self,
        found: Found,
        chosen: Sequence[Layer],
        apply: Apply,
        *,
        fold: bool = False,
        notes: NotesByLayer | None = None,
    ) -> None:
        self._chosen = {layer.position: layer for layer in chosen}
        self._chains = found.chains if fold else {}
        self._apply = apply
        self._notes = notes

    def run(self, trace: Trace) -> tuple[Any, dict[str, Any]]:
        """The function's result, and notes by layer."""
        out, notes = self._evaluate(trace.jaxpr, trace.inputs, ())
        return trace.result(out), notes

    def _evaluate(
        self, jaxpr: Any, values: Sequence[Any], position: Position
    ) -> tuple[list[Any], dict[str, Any]]:
        eqns = jaxpr.jaxpr.eqns
        env = dict(zip(jaxpr.jaxpr.constvars, jaxpr.consts, strict=True))
        env |= dict(zip(jaxpr.jaxpr.invars, values, strict=True))
        notes: dict[str, Any] = {}

        def read(atom: Any) -> Any:
            return atom.val if isinstance(atom, Literal) else env[atom]

        folded: dict[int, tuple[int, int]] = {}  # steps of a chain, and the layer before them
        for number, layer in self._layers_at(position, len(eqns)):
            chain = self._chains.get(layer.position)
            if chain is not None:
                folded |= dict.fromkeys(chain.steps, (number, chain.steps[-1]))
        delayed = {number for number, _ in folded.values()}
        last_use = _last_uses(jaxpr.jaxpr, folded)

        for number, eqn in enumerate(eqns):
            here = (*position, number)
            if number in delayed:
                continue
            if number in folded:
                layer_number, end = folded[number]
                if number < end:
                    continue
                with _source(eqns[layer_number]):
                    out, var, new = self._run_folded(eqns, (*position, layer_number), read)
                env[var] = out
                notes = self._merged(notes, new)
            else:
                with _source(eqn):
                    out, new = self._run(eqn, [read(atom) for atom in eqn.invars], here)
                env.update(zip(eqn.outvars, out, strict=True))
                notes = self._merged(notes, new)
            for var in last_use.get(number, ()):  # a call that is not compiled needs no more
                env.pop(var, None)
        return [read(atom) for atom in jaxpr.jaxpr.outvars], notes

    def _run(self, eqn: Any, operands: list[Any], here: Position) -> tuple[list[Any], Any]:
        layer = self._chosen.get(here)
        if layer is not None and layer.kind != "opaque":
            out, new = self._apply(layer, eqn, *operands)
            return [out], new
        container = CONTAINERS.get(eqn.primitive.name)
        if container is None or not self._has_layers(here) or not holds_products(eqn):
            return rebind(eqn, operands), {}
        jaxprs = container.jaxprs(eqn)

        def enter(number: int, values: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
            return self._evaluate(jaxprs[number], values, (*here, number))

        notes = None if self._notes is None else _NotesAt(self, here)
        out, new = container.build(eqn, operands, enter, notes)
        return list(out), new or {}

    def _run_folded(self, eqns: list[Any], here: Position, read: Callable[[Any], Any]):
        layer, chain = self._chosen[here], self._chains[here]
        eqn = eqns[here[-1]]
        m, b, var = follow(eqns, chain, eqn.outvars[0], read)
        lhs, rhs = (read(atom) for atom in eqn.invars)
        out, new = self._apply(layer, eqn, lhs, scaled_kernel(eqn, rhs, m))
        return shifted(out, b, chain.channel_axis, var.aval.dtype), var, new

    def _layers_at(self, position: Position, count: int):
        for number in range(count):
            layer = self._chosen.get((*position, number))
            if layer is not None:
                yield number, layer

    def _has_layers(self, position: Position) -> bool:
        depth = len(position)
        return any(p[:depth] == position for p in self._chosen)

    def _merged(self, notes: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
        return self._notes.merge(notes, new) if self._notes is not None and new else notes


class _NotesAt(Notes):
    """Notes of the layers inside one equation."""

    def __init__(self, interpreter: Interpreter, position: Position) -> None:
        assert interpreter._notes is not None
        self._notes = interpreter._notes
        self._chosen = interpreter._chosen
        self._position = position

    def empty(self, number: int) -> dict[str, Any]:
        inside = (*self._position, number)
        return {
            layer.key: self._notes.of_layer(layer)
            for position, layer in self._chosen.items()
            if position[: len(inside)] == inside
        }

    def merge(self, first: Any, second: Any) -> dict[str, Any]:
        return self._notes.merge(first, second)


def _last_uses(jaxpr: Any, folded: Mapping[int, Any]) -> dict[int, list[Any]]:
    """Variables that nothing needs after an equation, by the equation's number."""
    last: dict[Any, int] = {}
    for number, eqn in enumerate(jaxpr.eqns):
        for atom in eqn.invars:
            if not isinstance(atom, Literal):
                last[atom] = number
    for layer, end in folded.values():  # operands of a layer that waits for its chain
        for step in [layer, *(n for n, (start, _) in folded.items() if start == layer)]:
            for atom in jaxpr.eqns[step].invars:
                if not isinstance(atom, Literal):
                    last[atom] = max(last[atom], end)
    for atom in jaxpr.outvars:
        if not isinstance(atom, Literal):
            last.pop(atom, None)
    uses: dict[int, list[Any]] = {}
    for var, number in last.items():
        uses.setdefault(number, []).append(var)
    return uses


@contextlib.contextmanager
def _source(eqn: Any):
    """Errors and profiles show the user's line and names, as for the original equation."""
    stack = source_info_util.current_name_stack() + eqn.source_info.name_stack
    with (
        source_info_util.user_context(eqn.source_info.traceback, name_stack=stack),
        eqn.ctx.manager,
    ):
        yield
