# SPDX-License-Identifier: Apache-2.0
"""The command `axjax`.

A subcommand is a function that adds its parser and another that runs it. Whatever the user
got wrong is a `UsageError`: one message on standard error, exit code 2. Anything else that
goes wrong is a defect and shows its traceback.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import axjax
from axjax._cli import _compare, _demo, _evaluate, _info, _layers, _lut
from axjax._cli._usage import UsageError

_DESCRIPTION = """\
Neural networks on approximate hardware, bit for bit, inside JAX.

An approximate multiplier is known by its truth table. axjax takes every product of
a network from that table, on a CPU or a GPU, and fine-tunes the network under it."""

_EXAMPLES = """\
examples:
  axjax info                      what was built, and which engines run here
  axjax demo                      train, evaluate under all multipliers, fine-tune, plot
  axjax demo --multipliers mul8u_drum3 mine.bin --out results
  axjax lut show mine.v           what a circuit is: errors, structure, readings
  axjax lut --help                multipliers: list, convert, import, factor, plot
  axjax evaluate --help           your network's accuracy under many multipliers
  python -m axjax demo --quick    the same command, without installing; a smoke test

A multiplier is a name (axjax lut list) or a file: a table (.bin, .npy, .npz, .txt, .csv,
.h) or a circuit (.c, .v, .blif). In Python: axjax.load("mul8u_drum3"); begin with
help(axjax.Multiplier)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: without the program's name; by default those of the process.
    Returns:
        The exit code: 0, 2 for a mistake of the user's, 130 when interrupted, 141 when
        nobody reads the output any more.
    """
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:  # `axjax lut list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
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
    for command in (_demo, _info, _lut, _layers, _evaluate, _compare):
        command.add(commands)
    return parser
