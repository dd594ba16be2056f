# SPDX-License-Identifier: Apache-2.0
"""calibrate: ranges of activations, observed while the exact function runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from axjax.emulation._containers import rebind
from axjax.emulation._find import find
from axjax.emulation._interpreter import Interpreter, NotesByLayer
from axjax.emulation._layer import Layer
from axjax.emulation._observer import BINS, OBSERVERS, Observer
from axjax.emulation._product import activation_quantizers, activations, check_layers
from axjax.emulation._rule import Rule, check_rules, emulated_layers
from axjax.emulation._trace import Trace, trace


def calibrate(
    fn: Callable[..., Any],
    rules: Sequence[Rule],
    batches: Iterable[Any],
    *,
    observer: str | Observer = "min_max",
    fold_batch_norm: bool = False,
) -> dict[str, np.ndarray]:
    """Ranges of the activations that go into the layers which the rules emulate.

    The exact function runs over the batches, compiled, and its layers are observed wherever
    they stand, in loops and branches too. A branch that is never taken has no range, (0, 0).

    Args:
        fn: the function that will be emulated.
        rules: as for `axjax.emulate`. Layers that stay exact are not observed.
        batches: for each batch, the tuple of `fn`'s arguments. "percentile", "mse" and
            "entropy" go over them twice: pass a list, or what can be iterated again.
        observer: "min_max", "average_min_max", "percentile", "mse", "entropy", or an
            `axjax.Observer` with settings of its own.
        fold_batch_norm: as it will be given to `axjax.emulate`.
    Returns:
        By the layer's key float32 `(2,)`, least and greatest activation, or `(2, 2)` for a
        product of two activations, first operand first. A plain dictionary of arrays:
        `numpy.savez(file, **ranges)` keeps it.
    Raises:
        ValueError: for no batches, batches that cannot be iterated again where they have to
            be, values that are not finite, or what `axjax.emulate` raises.

    >>> import axjax, jax.numpy as jnp
    >>> network = lambda params, x: jnp.maximum(x @ params["a"], 0) @ params["b"]
    >>> params = {"a": jnp.eye(4), "b": jnp.ones((4, 2))}
    >>> rules = [axjax.Rule(".*", axjax.load("mul8u_trunc4"))]
    >>> batches = [(params, jnp.full((3, 4), value)) for value in (-1.0, 2.0)]
    >>> axjax.calibrate(network, rules, batches)["b"].tolist()
    [0.0, 2.0]
    """
    check_rules("calibrate", rules)
    chosen_observer = _observer(observer)
    if chosen_observer.needs_histogram and iter(batches) is batches:
        raise ValueError(
            f"calibrate: observer {observer!r} goes over the batches twice, got batches="
            f"{type(batches).__name__}, which ends after once. Pass a list."
        )
    observe_ends = _Pass(fn, rules, fold_batch_norm)
    ends = list(map(observe_ends, _arguments(batches)))
    if not ends:
        raise ValueError(
            "calibrate: ranges come from batches, got batches=[]. Pass at least one, a tuple "
            "of the function's arguments."
        )
    found = observe_ends.found()
    for key in found:
        for number, batch in enumerate(ends):
            if not np.isfinite(batch[key][batch[key][..., 0] <= batch[key][..., 1]]).all():
                raise ValueError(
                    f"calibrate: activations are finite, got layer {key!r} in batch {number} "
                    f"with range {batch[key].tolist()}. Check the parameters and the data."
                )
    by_layer = {key: np.stack([batch[key] for batch in ends]) for key in found}
    histograms: dict[str, np.ndarray] = {}
    if chosen_observer.needs_histogram:
        widest = {key: _widest(value) for key, value in by_layer.items()}
        observe_histogram = _Pass(fn, rules, fold_batch_norm, widest)
        for arguments in _arguments(batches):
            for key, counts in observe_histogram(arguments).items():
                histograms[key] = histograms.get(key, np.int64(0)) + counts.astype(np.int64)
    ranges = {}
    for key, (layer, rule) in found.items():
        assert rule.multiplier is not None
        sides = [rule.multiplier.activation, rule.multiplier.weight]
        ranges[key] = np.array(
            [
                _choose(chosen_observer, by_layer[key][:, n], histograms.get(key), n, sides, q)
                for n, q in enumerate(activation_quantizers(rule, layer))
            ],
            np.float32,
        )
        if layer.weight != "none":
            ranges[key] = ranges[key][0]
    return ranges


def _choose(observer, ends, histograms, number, code_types, quantizer):
    ends = ends[ends[:, 0] <= ends[:, 1]].astype(np.float64)  # batches in which it ran
    if not len(ends):
        return np.nan, np.nan
    codes = code_types[number]
    symmetric = getattr(quantizer, "symmetric", None)
    symmetric = codes.signed if symmetric is None else symmetric
    histogram = None if histograms is None else histograms[number]
    if histogram is not None and ends[:, 0].min() == ends[:, 1].max():
        return float(ends[0, 0]), float(ends[0, 1])  # one value: nothing to choose
    return observer.choose(ends, histogram, codes, symmetric)


def _observer(observer: str | Observer) -> Observer:
    if isinstance(observer, Observer):
        return observer
    if observer not in OBSERVERS:
        raise ValueError(
            f"calibrate: an observer is one of {', '.join(OBSERVERS)}, got "
            f"observer={observer!r}. Pass one of these, or an axjax.Observer."
        )
    return OBSERVERS[observer]()


def _arguments(batches: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    for number, batch in enumerate(batches):
        if not isinstance(batch, tuple):
            raise TypeError(
                f"calibrate: a batch is the tuple of the function's arguments, got batch "
                f"{number} of type {type(batch).__name__}. Pass [(variables, images), ...]."
            )
        yield batch


def _widest(ends: np.ndarray) -> np.ndarray:
    """float32 `(operands, 2)` of `(batches, operands, 2)`."""
    return np.stack([ends[..., 0].min(0), ends[..., 1].max(0)], -1)


class _Pass:
    """Runs the exact function and observes: ends, or, with ranges given, histograms.

    Compiled once for each structure of arguments.
    """

    def __init__(self, fn: Any, rules: Any, fold: bool, widest: Any = None) -> None:
        self._fn, self._rules, self._fold, self._widest = fn, rules, fold, widest
        self._compiled: dict[Any, Any] = {}
        self._found: dict[str, tuple[Layer, Rule]] = {}

    def found(self) -> Mapping[str, tuple[Layer, Rule]]:
        """The layers that were observed, with their rules, by key."""
        return self._found

    def __call__(self, arguments: tuple[Any, ...]) -> dict[str, np.ndarray]:
        traced = trace("calibrate", self._fn, arguments, {})
        key = str(traced.jaxpr), tuple(map(id, traced.jaxpr.consts))
        if key not in self._compiled:
            self._compiled[key] = self._compile(traced)
        notes = self._compiled[key](traced.inputs, self._widest)
        return {key: np.asarray(value) for key, value in notes.items()}

    def _compile(self, traced: Trace) -> Any:
        found = find(traced)
        chosen = list(emulated_layers("calibrate", self._rules, found.layers).values())
        check_layers("calibrate", chosen, None)
        self._found |= {layer.key: (layer, rule) for layer, rule in chosen}
        layers = [layer for layer, _ in chosen]

        def run(inputs: list[Any], widest: Any) -> Any:
            def apply(layer: Layer, eqn: Any, lhs: Any, rhs: Any) -> tuple[Any, Any]:
                seen = activations(layer, lhs, rhs)
                if widest is None:
                    note = jnp.stack([_ends(x) for x in seen])
                else:
                    note = jnp.stack(
                        [_histogram(x, *widest[layer.key][n]) for n, x in enumerate(seen)]
                    )
                return rebind(eqn, [lhs, rhs])[0], {layer.key: note}

            notes = NotesByLayer(self._empty, _merge_ends if widest is None else jnp.add)
            interpreter = Interpreter(found, layers, apply, fold=self._fold, notes=notes)
            everything = Trace(traced.jaxpr, inputs, traced.names, lambda out: out)
            return interpreter.run(everything)[1]

        return jax.jit(run)

    def _empty(self, layer: Layer) -> jax.Array:
        operands = 2 if layer.weight == "none" else 1
        if self._widest is None:
            return jnp.tile(jnp.array([[jnp.inf, -jnp.inf]], jnp.float32), (operands, 1))
        return jnp.zeros((operands, BINS), jnp.int32)


def _ends(x: jax.Array) -> jax.Array:
    if x.size == 0:
        return jnp.array([jnp.inf, -jnp.inf], jnp.float32)
    return jnp.stack([x.min(), x.max()]).astype(jnp.float32)


def _merge_ends(first: jax.Array, second: jax.Array) -> jax.Array:
    low = jnp.minimum(first[..., 0], second[..., 0])
    return jnp.stack([low, jnp.maximum(first[..., 1], second[..., 1])], -1)


def _histogram(x: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    width = jnp.where(high > low, high - low, 1.0)
    place = (x.astype(jnp.float32).reshape(-1) - low) / width * BINS
    place = jnp.clip(place, 0, BINS - 1).astype(jnp.int32)
    return jnp.zeros(BINS, jnp.int32).at[place].add(1)
