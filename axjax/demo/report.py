# SPDX-License-Identifier: Apache-2.0
"""The results for people on a terminal, and as JSON."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import types
from collections.abc import Callable
from typing import Any

import jax
import rich.console
import rich.progress
import rich.table

import axjax
from axjax.demo.experiment import TOLERANCE, Plan, Results, Row, Score, target_accuracy


class Bars:
    """Progress bars on standard error; nothing where that is not a terminal."""

    def __init__(self) -> None:
        console = rich.console.Console(stderr=True)
        self._bars = rich.progress.Progress(
            rich.progress.SpinnerColumn(finished_text="[green]✓"),
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(bar_width=24),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        self._bars.stop()

    def stage(self, text: str, total: int) -> Callable[[], None]:
        """Adds a bar of `total` steps; the function it returns advances it by one."""
        task = self._bars.add_task(text, total=total)
        return lambda: self._bars.advance(task)


def console() -> rich.console.Console:
    """Standard output; as wide as the table where it is no terminal."""
    found = rich.console.Console(highlight=False)
    return found if found.is_terminal else rich.console.Console(highlight=False, width=100)


def table(results: Results) -> rich.table.Table:
    """A line for each multiplier."""
    made = rich.table.Table(
        title=f"Handwritten digits: float network {results.float_accuracy:.1f} %",
        title_justify="left",
        row_styles=None,
    )
    made.add_column("multiplier", no_wrap=True)
    for heading in ("MAE %", "MRE %", "accuracy", "agrees", "tuned", "agrees", "seconds"):
        made.add_column(heading, justify="right", no_wrap=True)
    previous = None
    for row in results.rows:
        if previous not in (None, row.codes):
            made.add_section()
        previous = row.codes
        made.add_row(
            row.name,
            f"{row.metrics['MAE%']:.4f}",
            f"{row.metrics['MRE%']:.2f}",
            _colored(f"{row.before.accuracy:.1f}", "red" if row.saved is not None else ""),
            f"{row.before.agreement:.1f}",
            *_tuned(row),
            f"{row.evaluation_seconds + row.tuning_seconds:.1f}",
        )
    return made


def _tuned(row: Row) -> tuple[str, str]:
    if row.after is None:
        return "", ""
    color = {True: "green", False: "yellow", None: ""}[row.saved]
    return _colored(f"{row.after.accuracy:.1f}", color), f"{row.after.agreement:.1f}"


def _colored(text: str, color: str) -> str:
    return f"[{color}]{text}[/]" if color else text


def conclusion(results: Results) -> str:
    """What the table says, in sentences."""
    lines = []
    tried = results.worst_first()
    best = results.worst_saved()
    for row in tried:
        if row is best:
            break
        lines.append(f"Not saved: {_story(row, results)}.")
    if best is not None:
        lines.append(f"Worst that fine-tuning saves: {_story(best, results)}.")
    later = tried[tried.index(best) + 1 :] if best is not None else []
    for row in later:
        lines.append(f"{'Also saved' if row.saved else 'Not saved'}: {_story(row, results)}.")
    if not tried:
        lines.append(f"No multiplier cost more than {TOLERANCE:g} point: nothing to save.")
    for row in results.rows:
        if row.is_exact and row.after:
            lines.append(
                f"For comparison, the exact {row.name}: {_step(row.before, row.after)} by the "
                "same fine-tuning."
            )
    programs = results.compiled
    lines.append(
        f"{results.seconds:.0f} s in all; {programs['evaluate']} programs compiled to evaluate "
        f"{len(results.rows)} multipliers and float, {programs['train']} to train."
    )
    return "\n".join(lines)


def _story(row: Row, results: Results) -> str:
    assert row.after is not None
    target = target_accuracy(row, results.rows)
    short = target - row.after.accuracy
    place = (
        f"{short:.1f} below exact {target:.1f} %"
        if short > 0
        else f"not below exact {target:.1f} %"
    )
    return f"{row.name}, {_step(row.before, row.after)}, {place}"


def _step(before: Score, after: Score) -> str:
    return f"{before.accuracy:.1f} % -> {after.accuracy:.1f} %"


def write_json(
    path: pathlib.Path, results: Results, plan: Plan, *, seed: int, engine: str
) -> None:
    """All figures, and what they depend on. Times are under keys that end in `seconds`."""
    best = results.worst_saved()
    content: dict[str, Any] = {
        "task": "scikit-learn digits, 8 x 8 pixels, 500 test images",
        "axjax": axjax.__version__,
        "jax": jax.__version__,
        "device": str(jax.devices()[0].device_kind),
        "engine": engine,
        "seed": seed,
        "plan": dataclasses.asdict(plan),
        "tolerance_points": TOLERANCE,
        **dataclasses.asdict(results),
        "worst_saved": best.name if best else None,
        "not_saved": [row.name for row in results.worst_first() if not row.saved],
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
