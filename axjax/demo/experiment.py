# SPDX-License-Identifier: Apache-2.0
"""What the demo measures: accuracy before and after fine-tuning, under each multiplier."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import numpy as np

import axjax
from axjax.demo import training
from axjax.demo.data import Digits, Images
from axjax.demo.model import Ranges, calibrate

TOLERANCE = 1.0
"""Points of accuracy below the exact 8-bit network that count as none lost."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much work to do.

    Args:
        float_recipe: of the float network.
        tuning_recipe: of fine-tuning under a multiplier.
        train_images: how many to learn from; None for all.
    """

    float_recipe: training.Recipe
    tuning_recipe: training.Recipe
    train_images: int | None = None


FULL = Plan(training.Recipe(20, learning_rate=2e-3), training.Recipe(8, learning_rate=1e-3))
QUICK = Plan(
    training.Recipe(4, learning_rate=3e-3),
    training.Recipe(1, learning_rate=1e-3),
    train_images=512,
)


@dataclasses.dataclass(frozen=True)
class Score:
    """Test images, in percent: classified rightly, and classified as the float network does."""

    accuracy: float
    agreement: float


@dataclasses.dataclass(frozen=True)
class Row:
    """One multiplier.

    Attributes:
        name: of the multiplier.
        codes: its operands, such as "uint8 x uint8".
        metrics: by EvoApproxLib's names, uniform over all pairs of codes.
        is_exact: it never errs: the reference of its kind.
        before: with the float network's parameters.
        after: fine-tuned; None for a multiplier that did no harm.
        saved: fine-tuning came within `TOLERANCE` of the exact multiplier; None without.
        evaluation_seconds: one evaluation of the test images, compilation not counted.
        tuning_seconds: fine-tuning, compilation not counted.
    """

    name: str
    codes: str
    metrics: dict[str, float]
    is_exact: bool
    before: Score
    after: Score | None = None
    saved: bool | None = None
    evaluation_seconds: float = 0.0
    tuning_seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class Results:
    """All that was measured.

    Attributes:
        float_accuracy: of the float network on the test images, percent.
        rows: the exact multiplier first, then by mean absolute error, kind after kind.
        ranges: calibrated input range of each layer.
        compiled: how many programs JAX compiled to evaluate and to train.
        seconds: of the whole run.
    """

    float_accuracy: float
    rows: list[Row]
    ranges: dict[str, tuple[float, float]]
    compiled: dict[str, int]
    seconds: float

    def worst_first(self) -> list[Row]:
        """What lost accuracy before fine-tuning and was fine-tuned, the most harmed first."""
        tuned = [row for row in self.rows if row.saved is not None]
        return sorted(tuned, key=lambda row: (row.before.accuracy, -row.metrics["MAE"]))

    def worst_saved(self) -> Row | None:
        """The most harmful multiplier that fine-tuning makes up for."""
        return next((row for row in self.worst_first() if row.saved), None)


class Progress(Protocol):
    """Shows how far the work is."""

    def stage(self, text: str, total: int) -> Callable[[], None]:
        """Begins a stage of `total` steps; the function it returns is called after each."""


def run(
    digits: Digits,
    multipliers: Sequence[axjax.Multiplier],
    plan: Plan,
    progress: Progress,
    *,
    seed: int = 0,
    engine: str = "auto",
) -> Results:
    """Trains in float, evaluates every multiplier, fine-tunes under each that did harm.

    A multiplier did harm if it costs more than `TOLERANCE` against the exact one of its
    kind, which joins in where it is missing. The exact ones are fine-tuned too, for a fair
    comparison: more training also helps a network that nothing is wrong with. A multiplier
    is saved if the last step of fine-tuning leaves it within `TOLERANCE` of the exact one,
    of the better of its two accuracies. All take the same recipe, and no step, seed or rate
    is picked by its result.
    """
    started = time.perf_counter()
    programs = training.compiled_programs()
    train = Images(*(a[: plan.train_images] for a in digits.train))
    bench = _Bench(train, digits.test, plan, progress, seed, engine)
    kinds = _kinds(multipliers)
    rows = bench.evaluate([m for kind in kinds for m in kind])
    by_name = {m.name: m for kind in kinds for m in kind}

    harmed = _harmed(rows)
    exact = [row for row in rows if row.is_exact]
    tuned = {row.name: bench.fine_tune(by_name[row.name], row) for row in exact + harmed}
    rows = [tuned.get(row.name, row) for row in rows]
    rows = [
        dataclasses.replace(row, saved=_is_saved(row, rows))
        if row.after and not row.is_exact
        else row
        for row in rows
    ]
    return Results(
        float_accuracy=bench.float_accuracy,
        rows=rows,
        ranges={name: (float(a), float(b)) for name, (a, b) in bench.ranges.items()},
        compiled={k: n - programs[k] for k, n in training.compiled_programs().items()},
        seconds=time.perf_counter() - started,
    )


class _Bench:
    """A trained float network, its calibrated ranges, and what is done with them."""

    def __init__(
        self,
        train: Images,
        test: Images,
        plan: Plan,
        progress: Progress,
        seed: int,
        engine: str,
    ) -> None:
        self._train, self._test = train, test
        self._plan, self._progress = plan, progress
        self._seed, self._engine = seed, engine
        self._warm: set[Any] = set()
        step = progress.stage("training in float", plan.float_recipe.epochs)
        self._parameters = training.train(
            training.initial_parameters(seed),
            train,
            plan.float_recipe,
            seed=seed,
            after_epoch=step,
        )
        self.ranges: Ranges = calibrate(self._parameters, train.x)
        self._float_digits = self._predict(self._parameters, None)
        self.float_accuracy = _percent(self._float_digits == test.y)

    def evaluate(self, multipliers: Sequence[axjax.Multiplier]) -> list[Row]:
        step = self._progress.stage("evaluating", len(multipliers))
        rows = []
        for multiplier in multipliers:
            if _kind(multiplier) not in self._warm:  # compiles
                self._predict(self._parameters, multiplier)
                self._warm.add(_kind(multiplier))
            started = time.perf_counter()
            score = self._score(self._parameters, multiplier)
            rows.append(
                Row(
                    name=multiplier.name,
                    codes=f"{multiplier.activation} x {multiplier.weight}",
                    metrics=multiplier.metrics().asdict(),
                    is_exact=_is_exact(multiplier),
                    before=score,
                    evaluation_seconds=time.perf_counter() - started,
                )
            )
            step()
        return rows

    def fine_tune(self, multiplier: axjax.Multiplier, row: Row) -> Row:
        recipe = self._plan.tuning_recipe
        step = self._progress.stage(f"fine-tuning under {multiplier.name}", recipe.epochs)
        if ("train", _kind(multiplier)) not in self._warm:  # compiles
            warm_up = dataclasses.replace(recipe, epochs=1)
            few = Images(*(a[: recipe.batch] for a in self._train))
            self._tune(few, warm_up, multiplier, lambda: None)
            self._warm.add(("train", _kind(multiplier)))
        started = time.perf_counter()
        parameters = self._tune(self._train, recipe, multiplier, step)
        seconds = time.perf_counter() - started
        after = self._score(parameters, multiplier)
        return dataclasses.replace(row, after=after, tuning_seconds=seconds)

    def _tune(
        self,
        images: Images,
        recipe: training.Recipe,
        multiplier: axjax.Multiplier,
        after_epoch: Callable[[], None],
    ) -> Any:
        return training.train(
            self._parameters,
            images,
            recipe,
            seed=self._seed + 1,
            multiplier=multiplier,
            ranges=self.ranges,
            engine=self._engine,
            after_epoch=after_epoch,
        )

    def _score(self, parameters: Any, multiplier: axjax.Multiplier) -> Score:
        digits = self._predict(parameters, multiplier)
        return Score(
            accuracy=_percent(digits == self._test.y),
            agreement=_percent(digits == self._float_digits),
        )

    def _predict(self, parameters: Any, multiplier: axjax.Multiplier | None) -> np.ndarray:
        ranges = {} if multiplier is None else self.ranges
        engine = self._engine
        return np.asarray(
            training.predict(parameters, self._test.x, multiplier, ranges, engine=engine)
        )


def _kinds(multipliers: Sequence[axjax.Multiplier]) -> list[list[axjax.Multiplier]]:
    """Multipliers by the types of their codes, an exact one first in each kind."""
    kinds: dict[Any, list[axjax.Multiplier]] = {}
    for multiplier in multipliers:
        kinds.setdefault((multiplier.activation, multiplier.weight), []).append(multiplier)
    ordered = []
    for (x, w), kind in kinds.items():
        kind.sort(key=lambda m: m.metrics().mae)
        if not _is_exact(kind[0]):
            exact = axjax.Multiplier.exact((x.bits, w.bits), signed=(x.signed, w.signed))
            kind.insert(0, exact)
        ordered.append(kind)
    return ordered


def _kind(multiplier: axjax.Multiplier) -> Any:
    """What a compiled program depends on."""
    return jax.tree.structure(multiplier), multiplier.table.dtype


def _is_exact(multiplier: axjax.Multiplier) -> bool:
    return not multiplier.errors().any()


def _harmed(rows: Sequence[Row]) -> list[Row]:
    """Rows that lost more than `TOLERANCE`, the worst first."""
    harmed = []
    for row in rows:
        reference = _exact_of_kind(row, rows).before.accuracy
        if not row.is_exact and _loses_too_much(row.before, reference):
            harmed.append(row)
    return sorted(harmed, key=lambda row: (row.before.accuracy, -row.metrics["MAE"]))


def _is_saved(row: Row, rows: Sequence[Row]) -> bool:
    assert row.after is not None
    return not _loses_too_much(row.after, target_accuracy(row, rows))


def _loses_too_much(score: Score, reference: float) -> bool:
    """Rounded, since a point lost is 98.6 - 97.6, which float64 makes a little more."""
    return round(reference - score.accuracy, 4) > TOLERANCE


def target_accuracy(row: Row, rows: Sequence[Row]) -> float:
    """Accuracy of the exact multiplier of a row's kind, the better of before and after."""
    exact = _exact_of_kind(row, rows)
    return max(s.accuracy for s in (exact.before, exact.after) if s is not None)


def _exact_of_kind(row: Row, rows: Sequence[Row]) -> Row:
    return next(other for other in rows if other.is_exact and other.codes == row.codes)


def _percent(hits: np.ndarray) -> float:
    return round(100 * float(hits.mean()), 4)
