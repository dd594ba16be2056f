# SPDX-License-Identifier: Apache-2.0
"""`axjax compare`: results of `axjax evaluate` as a table, a picture, a page."""

from __future__ import annotations

import argparse
import pathlib
import sys
from typing import Any

from axjax._cli._columns import FORMATS, shown
from axjax._cli._usage import UsageError, cannot_write, need

_AGAINST = ("power", "MAE%", "WCE%", "MRE%", "EP%")
_SUFFIXES = (".html", ".png", ".svg", ".pdf")
_EXAMPLES = """\
examples:
  axjax compare r.json                            a table, most accurate first
  axjax compare r.json --out r.html               one file with picture and table
  axjax compare r.json --against MRE% --out r.png"""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "compare",
        help="results of evaluate as a table, a picture, a page",
        description="Compares multipliers by what axjax evaluate found. Rows with a * are "
        "efficient:\nno other one is better in accuracy or in --against, and as good in the "
        "other.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("results", nargs="+", type=pathlib.Path, metavar="FILE")
    parser.add_argument(
        "--against", choices=_AGAINST,
        help="what accuracy is weighed against (default: power where it is known, else MAE%%)",
    )  # fmt: skip
    parser.add_argument("--out", type=pathlib.Path, metavar="FILE", help=", ".join(_SUFFIXES))
    parser.add_argument("--title", help="by default the network's name")
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0])
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    function = "axjax compare"
    need(function, "demo", {"matplotlib": "matplotlib"})
    if options.out is not None and options.out.suffix not in _SUFFIXES:
        raise UsageError(
            f"{function}: a comparison ends in {', '.join(_SUFFIXES)}, got "
            f"out={str(options.out)!r}. Pass another --out."
        )
    from axjax.evaluation import read_results
    from axjax.evaluation._comparison import efficient, score_of, write_comparison

    rows, titles = [], []
    for path in options.results:
        try:
            found = read_results(path)
        except (OSError, ValueError) as error:
            raise UsageError(f"{function}: {' '.join(str(error).split())}") from error
        rows += found.rows
        titles.append(str(found.settings.get("network", path.stem)))
    if not rows:
        raise UsageError(
            f"{function}: results have rows, got none in "
            f"{', '.join(map(str, options.results))}. Run axjax evaluate first."
        )
    against = options.against
    if against is None:
        against = "power" if any(row["power"] is not None for row in rows) else "MAE%"
    best = efficient(rows, against)
    score = score_of(rows)
    wanted = ("name", "operands", "accuracy", "agreement", "MAE%", "MRE%", "power")
    listed = [
        {**{key: row[key] for key in wanted}, "efficient": "*" if row in best else ""}
        for row in sorted(rows, key=lambda row: -row[score])
    ]
    print(shown(listed, options.format), end="")
    if options.out is None:
        return 0
    title = options.title or ", ".join(dict.fromkeys(titles))
    try:
        write_comparison(options.out, rows, against, title)
    except OSError as error:
        raise cannot_write(function, options.out, error) from error
    print(f"Wrote {options.out}.", file=sys.stderr)
    return 0
