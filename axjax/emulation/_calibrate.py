# SPDX-License-Identifier: Apache-2.0
"""calibrate: ranges of activations, observed while the exact function runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from axjax.emulation._observer import OBSERVERS, Observer
from axjax.emulation._pass import Ends, Histogram, Pass, arguments_of, total
from axjax.emulation._product import activation_quantizers
from axjax.emulation._rule import Rule, check_rules


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
    observe_ends = Pass("calibrate", fn, rules, Ends(), fold=fold_batch_norm)
    ends = list(map(observe_ends, arguments_of("calibrate", batches)))
    if not ends:
        raise ValueError(
            "calibrate: ranges come from batches, got batches=[]. Pass at least one, a tuple "
            "of the function's arguments."
        )
    found = observe_ends.found
    by_layer = {key: np.stack([batch[key] for batch in ends]) for key in found}
    _check_finite(by_layer)
    histograms: dict[str, np.ndarray] = {}
    if chosen_observer.needs_histogram:
        widest = {key: _widest(value) for key, value in by_layer.items()}
        observe = Pass("calibrate", fn, rules, Histogram(), widest, fold=fold_batch_norm)
        histograms = total(map(observe, arguments_of("calibrate", batches)))
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


def _check_finite(by_layer: dict[str, np.ndarray]) -> None:
    for key, batches in by_layer.items():
        for number, ends in enumerate(batches):
            if not np.isfinite(ends[_ran(ends)]).all():
                raise ValueError(
                    f"calibrate: activations are finite, got layer {key!r} in batch {number} "
                    f"with range {ends.tolist()}. Check the parameters and the data."
                )


def _ran(ends: np.ndarray) -> np.ndarray:
    """Where there were values at all: ends that never moved are upside down."""
    return ~(ends[..., 0] > ends[..., 1])


def _choose(observer, ends, histograms, number, code_types, quantizer):
    ends = ends[_ran(ends)].astype(np.float64)  # batches in which it ran
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


def _widest(ends: np.ndarray) -> np.ndarray:
    """float32 `(operands, 2)` of `(batches, operands, 2)`."""
    return np.stack([ends[..., 0].min(0), ends[..., 1].max(0)], -1)
