# SPDX-License-Identifier: Apache-2.0
"""Runs one network on many multipliers."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from axjax._code_counts import CodeCounts, count_codes
from axjax._multiplier import Multiplier
from axjax.emulation import Rule, calibrate, emulate

Network = Callable[..., Any]
"""Takes its arguments and a batch of inputs, returns class scores in the last axis."""


@dataclasses.dataclass(frozen=True)
class Score:
    """What a network does on one multiplier.

    Attributes:
        accuracy: percentage of inputs whose greatest score is at their label; None without
            labels.
        agreement: percentage of inputs with the greatest score where the float network has it.
        seconds: wall time, compilation included.
    """

    accuracy: float | None
    agreement: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a network is run.

    Attributes:
        batch: inputs in a call.
        exact: regular expressions of layers that stay exact, as in `axjax.Rule`.
        calibration: batches whose activations give the ranges; 0 for each batch's own.
        fold_batch_norm: as in `axjax.emulate`.
        engine: of the emulated layers.
    """

    batch: int = 100
    exact: tuple[str, ...] = ()
    calibration: int = 1
    fold_batch_norm: bool = False
    engine: str = "auto"

    def rules(self, multiplier: Multiplier) -> list[Rule]:
        """Exact layers first, then everything else."""
        kept = [Rule(pattern, None) for pattern in self.exact]
        return [*kept, Rule(".*", multiplier, engine=self.engine)]


def evaluate(
    network: Network,
    arguments: tuple[Any, ...],
    inputs: np.ndarray,
    labels: np.ndarray | None,
    multipliers: Sequence[Multiplier | None],
    plan: Plan,
    progress: Callable[[int], None] = lambda done: None,
) -> Iterator[Score]:
    """Scores of the network on each multiplier, None standing for exact float.

    Multipliers of one kind share a compiled program.

    Args:
        network: a function.
        arguments: what it takes before the batch, its variables for example.
        inputs: all of them, first axis the examples.
        labels: integers, one for each input.
        multipliers: what to run on.
        plan: how.
        progress: called after each batch with the number of inputs that are done.
    """
    exact = functools.partial(jax.jit(network), *arguments)
    reference = _predict(exact, inputs, plan.batch, lambda done: None)
    programs: dict[Any, Any] = {}
    ranges: dict[Any, Any] = {}
    for multiplier in multipliers:
        started = time.perf_counter()
        if multiplier is None:
            found = _predict(exact, inputs, plan.batch, progress)
        else:
            kind = (multiplier.activation, multiplier.weight)
            rules = plan.rules(multiplier)
            if kind not in programs:
                ranges[kind] = _ranges(network, arguments, rules, inputs, plan)
                programs[kind] = _program(network, plan)
            on_hardware = functools.partial(programs[kind], rules, ranges[kind], *arguments)
            found = _predict(on_hardware, inputs, plan.batch, progress)
        yield Score(
            accuracy=None if labels is None else 100 * float((found == labels).mean()),
            agreement=100 * float((found == reference).mean()),
            seconds=time.perf_counter() - started,
        )


def measure_codes(
    network: Network,
    arguments: tuple[Any, ...],
    inputs: np.ndarray,
    multiplier: Multiplier,
    plan: Plan,
) -> CodeCounts:
    """The pairs of codes that the network's layers multiply, by layer."""
    rules = plan.rules(multiplier)
    program = _program(network, plan)
    ranges = _ranges(network, arguments, rules, inputs, plan)
    with count_codes() as counts:
        for start in range(0, len(inputs), plan.batch):
            program(rules, ranges, *arguments, inputs[start : start + plan.batch])
    return counts


def _program(network: Network, plan: Plan) -> Any:
    def run(rules: Any, ranges: Any, *arguments: Any) -> Any:
        emulated = emulate(network, rules, ranges, fold_batch_norm=plan.fold_batch_norm)
        return emulated(*arguments)

    return jax.jit(run)


def _ranges(
    network: Network,
    arguments: tuple[Any, ...],
    rules: list[Rule],
    inputs: np.ndarray,
    plan: Plan,
) -> Any:
    if plan.calibration == 0:
        return None
    chosen = inputs[: plan.calibration * plan.batch]
    batches = [(*arguments, batch) for batch in _batches(chosen, plan.batch)]
    return calibrate(network, rules, batches, fold_batch_norm=plan.fold_batch_norm)


def _predict(
    network: Network, inputs: np.ndarray, batch: int, progress: Callable[[int], None]
) -> np.ndarray:
    """Places of the greatest scores."""
    found = []
    for part in _batches(inputs, batch):
        found.append(np.asarray(network(part)).argmax(-1))
        progress(min(len(inputs), len(found) * batch))
    return np.concatenate(found)[: len(inputs)]


def _batches(inputs: np.ndarray, batch: int) -> Iterator[np.ndarray]:
    """Batches of one size; the last one repeats inputs, so that ranges stay as they are."""
    for start in range(0, len(inputs), batch):
        part = inputs[start : start + batch]
        missing = min(batch, len(inputs)) - len(part)
        yield np.concatenate([part, np.resize(part, (missing, *part.shape[1:]))])
