# SPDX-License-Identifier: Apache-2.0
"""Finds the layers of a trace, and follows data to tell weights from activations."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from jax.extend.core import Literal

from axjax import engines
from axjax.emulation._containers import CONTAINERS, jaxprs_in
from axjax.emulation._fold import Chain, affine_chains
from axjax.emulation._layer import (
    Layer,
    Position,
    channels_of,
    depth_of,
    is_layer,
    kind_of,
)
from axjax.emulation._trace import Trace

_UNKNOWN_PRODUCTS = ("ragged_dot_general", "ragged_dot", "scaled_matmul")
"""Products that no emulated operation stands for."""


@dataclasses.dataclass(frozen=True)
class Flow:
    """What is known of a value without computing it.

    Attributes:
        computed: it depends on the result of a layer.
        source: the one input that it was made of, if there is one.
    """

    computed: bool = False
    source: str | None = None


@dataclasses.dataclass(frozen=True)
class Found:
    """The layers of a trace, in the order in which they run, and how their results go on.

    Attributes:
        layers: all of them.
        chains: by a layer's position, the affine operations that follow it.
    """

    layers: tuple[Layer, ...]
    chains: dict[Position, Chain]


def find(trace: Trace) -> Found:
    """All layers of a trace."""
    finder = _Finder()
    values = [Flow(source=name or None) for name in trace.names]
    finder.walk(trace.jaxpr, values, (), (), 1, True)
    return Found(tuple(finder.layers), finder.chains)


class _Finder:
    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.chains: dict[Position, Chain] = {}
        self._seen: dict[str, int] = {}

    def walk(
        self,
        jaxpr: Any,
        values: Sequence[Flow],
        position: Position,
        scopes: tuple[str, ...],
        calls: int,
        record: bool,
    ) -> list[Flow]:
        """Follows the data through a jaxpr, and notes its layers if asked to."""
        flows: dict[Any, Flow] = dict.fromkeys(jaxpr.jaxpr.constvars, Flow())
        flows |= dict(zip(jaxpr.jaxpr.invars, values, strict=True))

        def read(atom: Any) -> Flow:
            return Flow() if isinstance(atom, Literal) else flows[atom]

        found: dict[int, Layer] = {}
        for number, eqn in enumerate(jaxpr.jaxpr.eqns):
            here, inner = (*position, number), (*scopes, *_scopes(eqn))
            operands = [read(atom) for atom in eqn.invars]
            if is_backward(eqn):
                results = [_merged(operands)] * len(eqn.outvars)
            elif is_layer(eqn):
                if record:
                    found[number] = self._note(eqn, operands, here, inner, calls)
                results = [Flow(computed=True)]
            elif holds_products(eqn):
                container = CONTAINERS.get(eqn.primitive.name)
                if container is None:
                    if record:
                        self._note_opaque(eqn, here, inner, calls)
                    results = [Flow(computed=True)] * len(eqn.outvars)
                else:
                    results = self._enter(container, eqn, operands, here, inner, calls, record)
            else:
                results = [_merged(operands)] * len(eqn.outvars)
            flows.update(zip(eqn.outvars, results, strict=True))
        if found:
            computed = {var for var, flow in flows.items() if flow.computed}
            weights = {number: layer.weight for number, layer in found.items()}
            for number, chain in affine_chains(jaxpr.jaxpr, weights, computed).items():
                self.chains[found[number].position] = chain
        return [read(atom) for atom in jaxpr.jaxpr.outvars]

    def _enter(self, container, eqn, operands, here, inner, calls, record):
        runs = calls * container.calls(eqn)

        def enter(number: int, jaxpr: Any, values: Sequence[Flow], final: bool) -> list[Flow]:
            place = (*here, number)
            return self.walk(jaxpr, values, place, inner, runs, record and final)

        return container.flow(eqn, operands, enter, merge)

    def _note(self, eqn, operands, here, scopes, calls) -> Layer:
        weight = _weight(eqn, operands)
        source = operands[weight == "rhs"].source if weight != "none" else None
        out_channels, groups = channels_of(eqn, weight)
        shapes = [tuple(var.aval.shape) for var in (*eqn.invars, *eqn.outvars)]
        return self._add(
            path=_path(scopes, source) or eqn.primitive.name,
            op=eqn.primitive.name,
            kind=kind_of(eqn, weight),
            shapes=shapes,
            dtype=eqn.outvars[0].aval.dtype.name,
            weight=weight,
            out_channels=out_channels,
            groups=groups,
            depth=depth_of(eqn),
            calls=calls,
            position=here,
        )

    def _note_opaque(self, eqn, here, scopes, calls) -> Layer:
        return self._add(
            path=_path(scopes, None) or eqn.primitive.name,
            op=eqn.primitive.name,
            kind="opaque",
            shapes=[(), (), tuple(getattr(eqn.outvars[0].aval, "shape", ()))],
            dtype=str(getattr(eqn.outvars[0].aval, "dtype", "")),
            weight="none",
            out_channels=0,
            groups=1,
            depth=0,
            calls=calls,
            position=here,
        )

    def _add(self, *, path: str, shapes: Any, **fields: Any) -> Layer:
        times = self._seen.get(path, 0)
        self._seen[path] = times + 1
        lhs_shape, rhs_shape, out_shape = shapes
        layer = Layer(
            key=f"{path}#{times}" if times else path,
            path=path,
            index=len(self.layers),
            lhs_shape=lhs_shape,
            rhs_shape=rhs_shape,
            out_shape=out_shape,
            **fields,
        )
        self.layers.append(layer)
        return layer


def holds_products(eqn: Any) -> bool:
    """Whether an equation has layers inside, or is a product that cannot be emulated."""
    if eqn.primitive.name in _UNKNOWN_PRODUCTS:
        return True
    if eqn.params.get("name") == engines.RUN_NAME:  # another emulation's
        return False
    return any(
        is_layer(inner) or holds_products(inner)
        for jaxpr in jaxprs_in(eqn)
        for inner in jaxpr.jaxpr.eqns
        if not is_backward(inner)
    )


def is_backward(eqn: Any) -> bool:
    """Whether an equation belongs to the backward pass of a gradient taken inside."""
    return any(
        type(part).__name__ == "Transform" and part.name == "transpose"
        for part in eqn.source_info.name_stack.stack
    )


def _scopes(eqn: Any) -> Iterator[str]:
    for part in eqn.source_info.name_stack.stack:
        if type(part).__name__ != "Transform":
            yield part.name


def _path(scopes: tuple[str, ...], source: str | None) -> str:
    """Names around an operation; where they do not tell modules, its weight's place."""
    is_einsum = [("->" in scope) for scope in scopes]
    if source is not None and all(is_einsum):
        *module, leaf = source.split("/")
        if leaf == "value" and module:  # how nnx's variables hold their arrays
            *module, leaf = module
        scopes = ("/".join(module) or leaf, *scopes)
    return "/".join(scopes)


def _weight(eqn: Any, operands: Sequence[Flow]) -> str:
    lhs, rhs = (flow.computed for flow in operands)
    if eqn.primitive.name == "conv_general_dilated":
        return "none" if rhs else "rhs"
    if lhs and rhs:
        return "none"
    return "lhs" if rhs else "rhs"


def merge(flows: Sequence[Flow]) -> Flow:
    """What is known of a value that may be any of several."""
    return _merged(flows)


def _merged(flows: Sequence[Flow]) -> Flow:
    sources = {flow.source for flow in flows if flow.source is not None}
    return Flow(
        computed=any(flow.computed for flow in flows),
        source=next(iter(sources)) if len(sources) == 1 else None,
    )
