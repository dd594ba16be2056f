# SPDX-License-Identifier: Apache-2.0
"""Which multiplier for which layer: accuracy against power, searched by NSGA-II.

Needs pymoo, matplotlib and rich: `pip install 'axjax[search]'`.

Sources: K. Deb, A. Pratap, S. Agarwal, T. Meyarivan, A Fast and Elitist Multiobjective Genetic
Algorithm: NSGA-II, IEEE Transactions on Evolutionary Computation 6(2), 2002; for layers on
approximate multipliers V. Mrazek, Z. Vasicek, L. Sekanina, M. A. Hanif, M. Shafique, ALWANN:
Automatic Layer-Wise Approximation of Deep Neural Network Accelerators without Retraining, ICCAD
2019.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from axjax._multiplier import Multiplier, alike

__all__ = ["Assignment", "Front", "assign_multipliers"]

Choice = tuple[int, ...]
"""For each layer the number of its multiplier."""


@dataclasses.dataclass(frozen=True)
class Assignment:
    """A multiplier for each layer.

    Attributes:
        multipliers: name of each layer's multiplier.
        accuracy: what the caller's function gave for it.
        power: mean of the multipliers' power figures over all products of the network, in the
            unit of those figures.
    """

    multipliers: dict[str, str]
    accuracy: float
    power: float


@dataclasses.dataclass(frozen=True)
class Front:
    """What a search found.

    Attributes:
        assignments: the Pareto front, by falling power: none of them is at once as accurate
            and as sparing as another, and all reach the floor.
        evaluated: every assignment that was tried, likewise.
        floor: of the accuracy.
    """

    assignments: list[Assignment]
    evaluated: list[Assignment]
    floor: float

    def write(self, folder: pathlib.Path | str) -> None:
        """Writes the front as front.json, front.csv and front.png into a folder."""
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        found = [dataclasses.asdict(a) for a in self.assignments]
        content = {"floor": self.floor, "evaluated": len(self.evaluated), "front": found}
        _replace(folder / "front.json", json.dumps(content, indent=1) + "\n")
        table = io.StringIO()
        layers = list(self.evaluated[0].multipliers)
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["accuracy", "power", *layers])
        for a in self.assignments:
            writer.writerow([a.accuracy, a.power, *a.multipliers.values()])
        _replace(folder / "front.csv", table.getvalue())
        self._plot(folder / "front.png")

    def _plot(self, path: pathlib.Path) -> None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 4.5), dpi=160, layout="constrained")
        axes = figure.add_subplot()
        for found, *style in (
            (self.evaluated, ".", "tried", "#999999"),
            (self.assignments, "o-", "Pareto front", "#c4581b"),
        ):
            points = [a.power for a in found], [a.accuracy for a in found]
            axes.plot(*points, style[0], label=style[1], color=style[2])
        axes.axhline(self.floor, color="#333333", ls=":", lw=1, label="floor")
        low = min(self.floor, *(a.accuracy for a in self.assignments))
        high = max(a.accuracy for a in self.evaluated)
        margin = max(0.1 * (high - low), 1e-6)
        axes.set(
            xlabel="mean power of a product",
            ylabel="accuracy",
            ylim=(low - 2 * margin, high + margin),
        )
        axes.legend()
        figure.savefig(path, metadata={"Software": None})


def assign_multipliers(
    accuracy: Callable[[dict[str, Multiplier]], float],
    products: Mapping[str, int],
    multipliers: Sequence[Multiplier],
    power: Mapping[str, float] | None = None,
    *,
    floor: float,
    population: int = 24,
    generations: int = 20,
    seed: int = 0,
    checkpoint: pathlib.Path | str | None = None,
) -> Front:
    """Searches for the assignments of multipliers to layers that are worth their power.

    Args:
        accuracy: of the network with these multipliers, by layer. They are `alike`, and on
            the device: a function that passes them to a jitted one as arguments compiles once.
        products: products that each layer takes for one input, by the layer's name.
        multipliers: to choose from, of equal code types, each with a name of its own.
        power: power figure of each multiplier, by name, in any unit. By default what comes with
            EvoApproxLib's circuits, `published["PDK45_PWR"]` in mW.
        floor: least accuracy of an assignment in the result.
        population: assignments in a generation. The first has every layer on the same
            multiplier, for each of them, and others at random.
        generations: how many.
        seed: of the search.
        checkpoint: a JSON file of what was evaluated, rewritten after each generation. If it is
            there, the search goes on from it: it takes the same path again, and evaluates
            nothing twice.
    Returns:
        The Pareto front among all that was evaluated.
    Raises:
        ImportError: without pymoo or rich.
        ValueError: for multipliers without power figure or that share a name, a checkpoint of
            another search, or where nothing reaches the floor.
    """
    names = [m.name for m in multipliers]
    if power is None:
        found = {m.name: m.published.get("PDK45_PWR") for m in multipliers}
        power = {name: figure for name, figure in found.items() if figure is not None}
    _check(names, products, power, population, generations)
    search = _Search(accuracy, products, multipliers, power, checkpoint)
    _evolve(search, floor, population, generations, seed)
    evaluated = search.evaluated()
    front = _pareto([a for a in evaluated if a.accuracy >= floor])
    if not front:
        best = max(a.accuracy for a in evaluated)
        raise ValueError(
            "assign_multipliers: an assignment reaches the floor, got floor="
            f"{floor} where the best of {len(evaluated)} has accuracy {best}. Lower the floor, "
            "or add an exact multiplier."
        )
    return Front(front, evaluated, floor)


def _check(
    names: list[str],
    products: Mapping[str, int],
    power: Mapping[str, float],
    population: int,
    generations: int,
) -> None:
    if not names or not products:
        raise ValueError(
            "assign_multipliers: there are layers and multipliers, got "
            f"{len(products)} layers and {len(names)} multipliers. Pass at least one of each."
        )
    if len(set(names)) < len(names):
        raise ValueError(
            f"assign_multipliers: multipliers have names of their own, got {names}. "
            "Name each once."
        )
    missing = [name for name in names if name not in power]
    if missing:
        raise ValueError(
            f"assign_multipliers: every multiplier has a power figure, got none for {missing}. "
            "Add them to power."
        )
    if population < 2 or generations < 1:
        raise ValueError(
            "assign_multipliers: a population has two or more assignments and there is a "
            f"generation, got population={population} and generations={generations}. Pass more."
        )


class _Search:
    """What was evaluated so far, and how to evaluate more."""

    def __init__(
        self,
        accuracy: Callable[[dict[str, Multiplier]], float],
        products: Mapping[str, int],
        multipliers: Sequence[Multiplier],
        power: Mapping[str, float],
        checkpoint: pathlib.Path | str | None,
    ) -> None:
        self.layers = list(products)
        # Neighbouring numbers are multipliers of like power, which mutation makes use of.
        order = sorted(range(len(multipliers)), key=lambda i: power[multipliers[i].name])
        kind = alike(multipliers)
        self._multipliers = [jax.tree.map(jnp.asarray, kind[i]) for i in order]
        self.names = [m.name for m in self._multipliers]
        self._power = np.array([power[name] for name in self.names])
        self._share = np.array([products[layer] for layer in self.layers], np.float64)
        self._share /= self._share.sum()
        self._accuracy = accuracy
        self._found: dict[Choice, float] = {}
        self._checkpoint = None if checkpoint is None else pathlib.Path(checkpoint)
        if self._checkpoint is not None and self._checkpoint.exists():
            self._read(self._checkpoint)

    def power_of(self, choice: Choice) -> float:
        return float(self._share @ self._power[list(choice)])

    def accuracy_of(self, choice: Choice) -> float:
        if choice not in self._found:
            chosen = [self._multipliers[i] for i in choice]
            self._found[choice] = float(
                self._accuracy(dict(zip(self.layers, chosen, strict=True)))
            )
        return self._found[choice]

    def evaluated(self) -> list[Assignment]:
        return [
            Assignment(self._named(choice), accuracy, self.power_of(choice))
            for choice, accuracy in self._found.items()
        ]

    def _named(self, choice: Choice) -> dict[str, str]:
        return {layer: self.names[i] for layer, i in zip(self.layers, choice, strict=True)}

    def write(self) -> None:
        if self._checkpoint is None:
            return
        found = [{"choice": list(c), "accuracy": a} for c, a in self._found.items()]
        content = {"layers": self.layers, "multipliers": self.names, "evaluated": found}
        self._checkpoint.parent.mkdir(parents=True, exist_ok=True)
        _replace(self._checkpoint, json.dumps(content))

    def _read(self, path: pathlib.Path) -> None:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            ours = (content["layers"], content["multipliers"]) == (self.layers, self.names)
            found = {tuple(e["choice"]): float(e["accuracy"]) for e in content["evaluated"]}
        except (ValueError, KeyError, TypeError, AttributeError):
            ours, found = False, {}
        if not ours:
            raise ValueError(
                "assign_multipliers: a checkpoint is that of the same layers and multipliers, "
                f"got checkpoint={str(path)!r}. Pass another path, or delete the file."
            )
        self._found = found


def _evolve(
    search: _Search, floor: float, population: int, generations: int, seed: int
) -> None:
    """NSGA-II: accuracy up, power down, accuracy at least the floor."""
    try:
        import rich.console
        import rich.progress
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.core.evaluator import Evaluator
        from pymoo.core.problem import Problem
        from pymoo.operators.crossover.ux import UniformCrossover
        from pymoo.operators.mutation.pm import PolynomialMutation
        from pymoo.operators.repair.rounding import RoundingRepair
        from pymoo.problems.static import StaticProblem
    except ImportError as error:
        raise ImportError(
            f"assign_multipliers: the search needs pymoo and rich, got {error}. "
            "Run pip install 'axjax[search]'."
        ) from error
    last = len(search.names) - 1
    problem: Any = Problem(
        n_var=len(search.layers), n_obj=2, n_ieq_constr=1, xl=0, xu=last, vtype=int
    )
    algorithm: Any = NSGA2(
        pop_size=population,
        sampling=_first_generation(len(search.layers), last + 1, population, seed),
        crossover=UniformCrossover(repair=RoundingRepair()),
        mutation=PolynomialMutation(eta=3, vtype=float, repair=RoundingRepair()),
        eliminate_duplicates=True,
    )
    algorithm.setup(problem, termination=("n_gen", generations), seed=seed)
    console = rich.console.Console(stderr=True)
    for _ in rich.progress.track(
        range(generations),
        "assigning multipliers",
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ):
        asked = algorithm.ask()
        if asked is None or len(asked) == 0:  # every assignment has been tried
            break
        choices = [tuple(int(i) for i in x) for x in asked.get("X")]
        accuracies = np.array([search.accuracy_of(choice) for choice in choices])
        powers = np.array([search.power_of(choice) for choice in choices])
        objectives = np.column_stack([-accuracies, powers])
        constraints = floor - accuracies[:, None]
        Evaluator().eval(StaticProblem(problem, F=objectives, G=constraints), asked)
        algorithm.tell(infills=asked)
        search.write()


def _first_generation(layers: int, multipliers: int, population: int, seed: int) -> np.ndarray:
    """Every layer on the same multiplier, evenly spread if there are many; then at random."""
    rng = np.random.default_rng(seed)
    same = np.unique(np.linspace(0, multipliers - 1, min(population, multipliers)).round())
    random = rng.integers(0, multipliers, (population - len(same), layers))
    return np.concatenate([np.repeat(same[:, None], layers, 1), random]).astype(int)


def _pareto(assignments: Sequence[Assignment]) -> list[Assignment]:
    """Those that no other one beats, by falling power."""
    front: list[Assignment] = []
    best = -np.inf
    for a in sorted(assignments, key=lambda a: (a.power, -a.accuracy)):
        if a.accuracy > best:
            front.append(a)
            best = a.accuracy
    return front[::-1]


def _replace(path: pathlib.Path, text: str) -> None:
    """Writes a file, whole or not at all."""
    new = path.with_name(path.name + ".new")
    new.write_text(text, encoding="utf-8")
    os.replace(new, path)
