# SPDX-License-Identifier: Apache-2.0
"""The command `axjax`.

A subcommand is a function that adds its parser and another that runs it. Whatever the user
got wrong is a `UsageError`: one message on standard error, exit code 2. Anything else that
goes wrong is a defect and shows its traceback.
"""

from __future__ import annotations

import argparse
import importlib
import pathlib
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import axjax

_DESCRIPTION = """\
Neural networks on approximate hardware, bit for bit, inside JAX.

An approximate multiplier is known by its truth table. axjax takes every product of
a network from that table, on a CPU or a GPU, and fine-tunes the network under it."""

_EXAMPLES = """\
examples:
  axjax info                      what was built, and which engines run here
  axjax demo                      train, evaluate under all multipliers, fine-tune, plot
  axjax demo --multipliers mul8u_drum3 mine.bin --out results
  python -m axjax demo --quick    the same command, without installing; a smoke test

A multiplier is a name (axjax demo --help lists them) or a file: TFApprox's .bin,
.npy or .npz. In Python: axjax.load("mul8u_drum3"); begin with help(axjax.Multiplier)."""

_DEMO_DESCRIPTION = """\
Trains a small convolutional network on handwritten digits in float, evaluates it with
exact 8-bit products and under each multiplier, and fine-tunes it under every multiplier
that costs more than a point. Writes demo.json and demo.png. Takes two minutes on two
cores, and gives the same figures for the same seed."""

_DEMO_PACKAGES = {
    "sklearn": "scikit-learn",
    "matplotlib": "matplotlib",
    "optax": "optax",
    "rich": "rich",
}
_QUICK_MULTIPLIERS = ("mul8u_exact", "mul8u_trunc4", "mul8u_drum3")


class UsageError(Exception):
    """The user can put it right: `<command>: <rule>, got <name>=<value>. <What to do.>`"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: without the program's name; by default those of the process.
    Returns:
        The exit code: 0, 2 for a mistake of the user's, 130 when interrupted.
    """
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("axjax: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="axjax",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"axjax {axjax.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (_add_demo, _add_info):
        add(commands)
    return parser


def _add_demo(commands: Any) -> None:
    parser = commands.add_parser(
        "demo",
        help="digits on approximate multipliers: a table and a picture in two minutes",
        description=_DEMO_DESCRIPTION,
        epilog="shipped multipliers:\n  " + "\n  ".join(axjax.available()),
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
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> int:
    _need("axjax demo", "demo", _DEMO_PACKAGES)
    _check_engine("axjax demo", options.engine)
    if options.seed < 0:
        raise UsageError(
            f"axjax demo: a seed is not negative, got seed={options.seed}. Pass 0 or more."
        )
    names = options.multipliers
    if names is None:
        names = _QUICK_MULTIPLIERS if options.quick else axjax.available()
    multipliers = _load("axjax demo", names)
    _make_folder("axjax demo", options.out)

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


def _add_info(commands: Any) -> None:
    parser = commands.add_parser(
        "info",
        help="what was built, which engines run here, and why others do not",
        description="What was built, which engines run here, and why others do not.",
    )
    parser.set_defaults(run=_info)


def _info(options: argparse.Namespace) -> int:
    import jax

    info: Any = axjax.build_info()
    devices = ", ".join(f"{d.platform} ({d.device_kind})" for d in jax.devices())
    print(f"axjax {info['version']}, jax {jax.__version__}, Python {sys.version.split()[0]}")
    print(f"devices: {devices}")
    print("\nnative modules")
    for name, build in info["native"].items():
        print(f"  {name:16}{_sentence(build)}")
    print("\nengines")
    for name, state in info["engines"].items():
        print(f"  {name:16}{state}")
    print(f"\nmultipliers: {len(axjax.available())}, axjax demo --help lists them")
    return 0


def _sentence(build: Any) -> str:
    if build is None:
        return "not built"
    parts = []
    for key, value in build.items():
        if isinstance(value, tuple | list):
            value = (".".join if key.endswith("version") else ", ".join)(map(str, value))
        parts.append(f"{key.replace('_', ' ')} {value}")
    return "built, " + ", ".join(parts)


def _need(function: str, extra: str, packages: dict[str, str]) -> None:
    """Raises UsageError unless all packages of an extra can be imported."""
    missing = []
    for module, package in packages.items():
        try:
            importlib.import_module(module)
        except ModuleNotFoundError:
            missing.append(package)
    if missing:
        raise UsageError(
            f"{function}: it needs the packages of an extra, got missing={', '.join(missing)}. "
            f"Install them: pip install 'axjax[{extra}]'."
        )


def _check_engine(function: str, engine: str) -> None:
    if engine == "auto":
        return
    states: Any = axjax.build_info()["engines"]
    if engine not in states:
        raise UsageError(
            f"{function}: an engine is one of {', '.join(['auto', *states])}, got "
            f"engine={engine!r}. Pass one of these."
        )
    if states[engine] != "usable":
        raise UsageError(
            f"{function}: an engine has to run here, got engine={engine!r}: "
            f"{states[engine]}. Or pass --engine auto."
        )


def _load(function: str, names: Sequence[str]) -> list[axjax.Multiplier]:
    loaded: dict[str, axjax.Multiplier] = {}
    for name in names:
        try:
            multiplier = axjax.load(name)
        except (OSError, ValueError) as error:
            raise UsageError(f"{function}: {error}") from error
        if multiplier.name in loaded:
            raise UsageError(
                f"{function}: multipliers have names of their own, got two of "
                f"name={multiplier.name!r}. Name each once, or rename a file."
            )
        loaded[multiplier.name] = multiplier
    return list(loaded.values())


def _make_folder(function: str, folder: pathlib.Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass  # a folder that takes no file should say so now, not after two minutes
    except OSError as error:
        raise UsageError(
            f"{function}: results go to a folder that can be written, got "
            f"out={str(folder)!r}: {error.strerror}. Pass another --out."
        ) from error
