# SPDX-License-Identifier: Apache-2.0
"""A pass over batches: the exact function runs, compiled, and its layers are measured."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from axjax._code_type import CodeType
from axjax._codes import quantized
from axjax._quantization import Quantizer
from axjax.emulation._containers import rebind
from axjax.emulation._find import find
from axjax.emulation._interpreter import Interpreter, NotesByLayer
from axjax.emulation._layer import Layer
from axjax.emulation._observer import BINS
from axjax.emulation._product import activations, check_layers, quantizers
from axjax.emulation._rule import Rule, emulated_layers
from axjax.emulation._trace import Trace, trace


class Measure(abc.ABC):
    """What is measured of an activation: an array, merged over iterations of a loop."""

    @abc.abstractmethod
    def empty(self) -> jax.Array:
        """Of no values."""

    @abc.abstractmethod
    def of(self, x: jax.Array, given: Any, codes: CodeType, quantizer: Quantizer) -> jax.Array:
        """Of an activation, which `quantizer` turns into `codes`.

        Args:
            x: the activation.
            given: what was given for it, such as a range.
            codes: the codes that the multiplier takes.
            quantizer: how it becomes codes.
        """

    def merge(self, first: jax.Array, second: jax.Array) -> jax.Array:
        """Of the values of both: counts are added."""
        return first + second


class Ends(Measure):
    """Least and greatest value, float32 `(2,)`; infinite and upside down for none."""

    def empty(self):
        return jnp.array([jnp.inf, -jnp.inf], jnp.float32)

    def of(self, x, given, codes, quantizer):
        return jnp.stack([x.min(), x.max()]).astype(jnp.float32) if x.size else self.empty()

    def merge(self, first, second):
        low = jnp.minimum(first[..., 0], second[..., 0])
        return jnp.stack([low, jnp.maximum(first[..., 1], second[..., 1])], -1)


class Histogram(Measure):
    """Counts of values, int32 `(BINS,)`, over the range (low, high) that is given."""

    def empty(self):
        return jnp.zeros(BINS, jnp.int32)

    def of(self, x, given, codes, quantizer):
        low, high = given
        width = jnp.where(high > low, high - low, 1.0)
        place = (x.astype(jnp.float32).reshape(-1) - low) / width * BINS
        place = jnp.clip(place, 0, BINS - 1).astype(jnp.int32)
        return self.empty().at[place].add(1)


class Codes(Measure):
    """Counts of codes, int32 `(256,)`, by the codes' bytes."""

    def empty(self):
        return jnp.zeros(256, jnp.int32)

    def of(self, x, given, codes, quantizer):
        found = quantized(x, quantizer, codes, ())[0] & ((1 << codes.bits) - 1)
        return self.empty().at[found.reshape(-1)].add(1)


class Pass:
    """Runs a function over batches and measures the activations of its emulated layers.

    Compiled once for each structure of arguments.

    Args:
        function: name of the public function, for messages.
        fn: the function, which runs exactly.
        rules: which of its layers are emulated.
        measure: what to measure of each activation.
        given: by the layer's key and the operand's number, what the measure takes.
        ranges: calibrated ranges, for measures that quantise.
        fold: whether affine operations after a layer go into its kernel.

    Attributes:
        found: the layers that were measured, with their rules, by key.
    """

    def __init__(
        self,
        function: str,
        fn: Callable[..., Any],
        rules: Sequence[Rule],
        measure: Measure,
        given: Any = None,
        ranges: Any = None,
        *,
        fold: bool = False,
    ) -> None:
        self.found: dict[str, tuple[Layer, Rule]] = {}
        self._function, self._fn, self._rules = function, fn, rules
        self._measure, self._given, self._ranges, self._fold = measure, given, ranges, fold
        self._compiled: dict[Any, Any] = {}

    def __call__(self, arguments: tuple[Any, ...]) -> dict[str, np.ndarray]:
        """By the layer's key the measures of its activations, `(1 or 2 operands, ...)`."""
        traced = trace(self._function, self._fn, arguments, {})
        key = str(traced.jaxpr), tuple(map(id, traced.jaxpr.consts))
        if key not in self._compiled:
            # The trace is kept, so that no other constant gets the address of one of its own.
            self._compiled[key] = traced, self._compile(traced)
        _, run = self._compiled[key]
        notes = run(traced.inputs, self._given, self._ranges)
        return {key: np.asarray(value) for key, value in notes.items()}

    def _compile(self, traced: Trace) -> Any:
        found = find(traced)
        chosen = emulated_layers(self._function, self._rules, found.layers)
        check_layers(self._function, list(chosen.values()), self._ranges)
        self.found |= {layer.key: (layer, rule) for layer, rule in chosen.values()}

        def run(inputs: list[Any], given: Any, ranges: Any) -> Any:
            def apply(layer: Layer, eqn: Any, lhs: Any, rhs: Any) -> tuple[Any, Any]:
                _, rule = chosen[layer.position]
                assert rule.multiplier is not None
                sides = rule.multiplier.activation, rule.multiplier.weight
                by = quantizers(rule, layer, ranges)
                note = [
                    self._measure.of(
                        x, None if given is None else given[layer.key][n], sides[n], by[n]
                    )
                    for n, x in enumerate(activations(layer, lhs, rhs))
                ]
                return rebind(eqn, [lhs, rhs])[0], {layer.key: jnp.stack(note)}

            notes = NotesByLayer(self._empty, self._measure.merge)
            layers = [layer for layer, _ in chosen.values()]
            interpreter = Interpreter(found, layers, apply, fold=self._fold, notes=notes)
            return interpreter.run(Trace(traced.jaxpr, inputs, traced.names, list))[1]

        return jax.jit(run)

    def _empty(self, layer: Layer) -> jax.Array:
        return jnp.stack([self._measure.empty()] * (2 if layer.weight == "none" else 1))


def total(batches: Iterable[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Counts of all batches, int64."""
    totals: dict[str, np.ndarray] = {}
    for batch in batches:
        for key, counts in batch.items():
            totals[key] = totals.get(key, np.int64(0)) + counts.astype(np.int64)
    return totals


def arguments_of(function: str, batches: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """The batches, each the tuple of the function's arguments, checked."""
    for number, batch in enumerate(batches):
        if not isinstance(batch, tuple):
            raise TypeError(
                f"{function}: a batch is the tuple of the function's arguments, got batch "
                f"{number} of type {type(batch).__name__}. Pass [(variables, images), ...]."
            )
        yield batch
