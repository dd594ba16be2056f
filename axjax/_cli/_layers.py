# SPDX-License-Identifier: Apache-2.0
"""`axjax layers`: what of a network runs on a multiplier, and which codes it multiplies."""

from __future__ import annotations

import argparse
import io
import pathlib
import sys
from typing import Any

import numpy as np

import axjax
from axjax._cli import _network
from axjax._cli._usage import UsageError, cannot_write, check_engine, read
from axjax.tables._write_whole import write_whole

_EXAMPLES = """\
examples:
  axjax layers nets:resnet --checkpoint r.npz --data test.npz
  axjax layers nets:resnet --checkpoint r.npz --data test.npz --multiplier mul8u_drum4 \\
      --limit 20 --codes codes.npz     then: axjax lut plot mul8u_drum4 --codes codes.npz"""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "layers",
        help="what of a network runs on a multiplier",
        description="Lists the layers of a network, and what each would run on.\n\n"
        + _network.DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _network.add_arguments(parser)
    parser.add_argument("--multiplier", metavar="MULTIPLIER", help="a name or a file")
    parser.add_argument(
        "--codes",
        type=pathlib.Path,
        metavar="FILE",
        help="run the network on the multiplier, and write a .npz of how often each pair of "
        "codes is multiplied, by layer",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    function = "axjax layers"
    check_engine(function, options.engine)
    task = _network.task(function, options)
    rules: list[Any] = []
    multiplier = None
    if options.multiplier is not None:
        multiplier = read(function, options.multiplier)
    if options.codes is not None and multiplier is None:
        raise UsageError(
            f"{function}: codes depend on a multiplier's operands, got no multiplier for "
            f"codes={str(options.codes)!r}. Pass --multiplier."
        )
    from axjax.evaluation import measure_codes

    try:
        if multiplier is not None:
            rules = task.plan.rules(multiplier)
        batch = task.inputs[: task.plan.batch]
        print(axjax.layers(task.network, *task.arguments, batch, rules=rules))
        if multiplier is None or options.codes is None:
            return 0
        counts = measure_codes(task.network, task.arguments, task.inputs, multiplier, task.plan)
    except Exception as error:  # whatever the user's network does
        raise UsageError(
            f"{function}: the network runs on its data, got {_network.described(error)}. "
            "Call it in Python to see where."
        ) from error
    content = io.BytesIO()
    arrays: dict[str, Any] = dict(counts)
    np.savez_compressed(content, **arrays)
    try:
        write_whole(options.codes, content.getvalue())
    except OSError as error:
        raise cannot_write(function, options.codes, error) from error
    print(f"Wrote {options.codes}.", file=sys.stderr)
    return 0
