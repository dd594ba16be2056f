# SPDX-License-Identifier: Apache-2.0
"""`axjax demo`: a table and a picture in two minutes."""

from __future__ import annotations

import argparse
import pathlib
from typing import Any

import axjax
from axjax._cli._usage import UsageError, check_engine, load, make_folder, need
from axjax.tables import manifest

_DESCRIPTION = """\
Trains a small convolutional network on handwritten digits in float, evaluates it with
exact 8-bit products and under each multiplier, and fine-tunes it under every multiplier
that costs more than a point. Writes demo.json and demo.png. Takes two minutes on two
cores, and gives the same figures for the same seed."""

_PACKAGES = {
    "sklearn": "scikit-learn",
    "matplotlib": "matplotlib",
    "optax": "optax",
    "rich": "rich",
}
_QUICK_MULTIPLIERS = ("mul8u_exact", "mul8u_trunc4", "mul8u_drum3")


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "demo",
        help="digits on approximate multipliers: a table and a picture in two minutes",
        description=_DESCRIPTION,
        epilog="shipped multipliers:\n  " + "\n  ".join(sorted(manifest())),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path("axjax-demo"),
        metavar="FOLDER",
        help="where demo.json and demo.png go (default: %(default)s)",
    )
    parser.add_argument(
        "--multipliers",
        nargs="+",
        metavar="NAME",
        help="names or files (default: all that ship with axjax)",
    )
    parser.add_argument(
        "--engine",
        default="auto",
        help=f"one of auto, {', '.join(axjax.ENGINES)} (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of initial parameters and image order (default: %(default)s)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="a smoke test: little training, few multipliers"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    need("axjax demo", "demo", _PACKAGES)
    check_engine("axjax demo", options.engine)
    if options.seed < 0:
        raise UsageError(
            f"axjax demo: a seed is not negative, got seed={options.seed}. Pass 0 or more."
        )
    names = options.multipliers
    if names is None:
        names = _QUICK_MULTIPLIERS if options.quick else sorted(manifest())
    multipliers = load("axjax demo", names)
    make_folder("axjax demo", options.out)

    from axjax.demo import data, experiment, plot, report

    plan = experiment.QUICK if options.quick else experiment.FULL
    with report.Bars() as bars:
        results = experiment.run(
            data.load_digits(),
            multipliers,
            plan,
            bars,
            seed=options.seed,
            engine=options.engine,
        )
    report.write_json(
        options.out / "demo.json", results, plan, seed=options.seed, engine=options.engine
    )
    plot.write_plot(options.out / "demo.png", results)
    console = report.console()
    console.print(report.table(results))
    console.print(report.conclusion(results), soft_wrap=True, markup=False)
    console.print(
        f"Wrote {options.out / 'demo.json'} and {options.out / 'demo.png'}.",
        soft_wrap=True,
        markup=False,
    )
    return 0
