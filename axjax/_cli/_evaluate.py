# SPDX-License-Identifier: Apache-2.0
"""`axjax evaluate`: a network's accuracy under many multipliers."""

from __future__ import annotations

import argparse
import pathlib
import sys
from typing import Any

import axjax
from axjax._cli import _network
from axjax._cli._columns import aligned
from axjax._cli._usage import UsageError, cannot_write, check_engine, load
from axjax.tables import manifest

_EXAMPLES = """\
examples:
  axjax evaluate nets:resnet --checkpoint r.npz --data test.npz --out r.json
  axjax evaluate nets:resnet --checkpoint r.npz --data test.npz --limit 500 \\
      --multipliers mul8u_drum4 mul8s_1L2H.c mine.v --exact '.*conv_init' --out r.json

The file of results is written after each multiplier, with a .csv beside it. Started
again with the same settings, axjax evaluate goes on where it was. Then: axjax compare."""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="a network's accuracy under many multipliers",
        description="Evaluates a network in float and under each multiplier.\n\n"
        + _network.DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _network.add_arguments(parser)
    parser.add_argument(
        "--multipliers", nargs="+", metavar="MULTIPLIER",
        help="names or files (default: all that ship with axjax)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=pathlib.Path, required=True, metavar="FILE", help="a .json for results"
    )
    parser.add_argument("--force", action="store_true", help="begin anew, and replace results")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    function = "axjax evaluate"
    check_engine(function, options.engine)
    if options.out.suffix != ".json":
        raise UsageError(
            f"{function}: results are a .json file, got out={str(options.out)!r}. "
            "Pass another --out."
        )
    task = _network.task(function, options)
    multipliers: list[Any] = [None, *load(function, options.multipliers or sorted(manifest()))]
    results = _results(function, options, task)
    left = [multiplier for multiplier in multipliers if not results.has(multiplier)]
    _write(function, options.out, results)  # says so now if it cannot
    bar = _Bar(len(task.inputs))

    from axjax.evaluation import evaluate

    scores = evaluate(
        task.network,
        task.arguments,
        task.inputs,
        task.labels,
        left,
        task.plan,
        progress=bar.advance,
    )
    for number, multiplier in enumerate(left):
        name = "float" if multiplier is None else multiplier.name
        bar.begin(f"{number + 1}/{len(left)} {name}")
        try:
            score = next(scores)
        except Exception as error:  # whatever the user's network does
            raise UsageError(
                f"{function}: the network runs on its data, got {_network.described(error)} "
                f"under {name}. Call it in Python to see where."
            ) from error
        finally:
            bar.end()
        results.add(multiplier, score)
        _write(function, options.out, results)
    wanted = ("name", "operands", "accuracy", "agreement", "MAE%", "MRE%", "power", "seconds")
    rows = [row for row in results.rows if any(row["name"] == _name(m) for m in multipliers)]
    print(aligned([{key: row[key] for key in wanted} for row in rows]), end="")
    return 0


def _name(multiplier: axjax.Multiplier | None) -> str:
    return "float" if multiplier is None else multiplier.name


def _results(function: str, options: argparse.Namespace, task: _network.Task) -> Any:
    """Results so far, of the same settings."""
    from axjax.evaluation import Results, read_results

    if options.force or not options.out.exists():
        return Results(task.settings)
    try:
        found = read_results(options.out)
    except (OSError, ValueError) as error:
        raise UsageError(f"{function}: {error}") from error
    for key, value in task.settings.items():
        if found.settings.get(key) != value:
            raise UsageError(
                f"{function}: results in one file have one setting, got {key}={value!r} where "
                f"{str(options.out)!r} has {found.settings.get(key)!r}. Pass another --out, or "
                "--force to begin anew."
            )
    return found


def _write(function: str, path: pathlib.Path, results: Any) -> None:
    try:
        results.write(path)
    except OSError as error:
        raise cannot_write(function, path, error) from error


class _Bar:
    """Progress on standard error, where that is a terminal."""

    def __init__(self, total: int) -> None:
        self._total, self._label = total, ""
        self._shown = sys.stderr.isatty()

    def begin(self, label: str) -> None:
        self._label = label
        self.advance(0)

    def advance(self, done: int) -> None:
        if self._shown:
            filled = 30 * done // self._total
            bar = "#" * filled + "." * (30 - filled)
            print(f"\r{self._label:<40} [{bar}] {done}/{self._total}", end="", file=sys.stderr)

    def end(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr)
