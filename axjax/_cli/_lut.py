# SPDX-License-Identifier: Apache-2.0
"""`axjax lut`: multipliers, from whatever file they come in."""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import axjax
from axjax._cli import _reading_options
from axjax._cli._columns import FORMATS, aligned, figure, shown
from axjax._cli._usage import UsageError, cannot_write, need, read
from axjax.tables import imported, library_folder, manifest

_DESCRIPTION = """\
A multiplier is a name (axjax lut list) or a file. Tables: TFApprox's .bin; NumPy's .npy
and .npz; text and CSV (.txt, .csv), a matrix or rows of `activation weight product`; a C
array (.h). Circuits: C (.c), Verilog (.v, .sv), BLIF (.blif). A C file is compiled and run."""

_EXAMPLES = """\
examples:
  axjax lut list                              all names, with their errors
  axjax lut show mul8s_1L2H.c                 what is it? errors, structure, readings
  axjax lut metrics *.bin --format csv        a line for each file
  axjax lut convert mine.v mine.bin           any format into any other
  axjax lut import mine.csv --name mine       from now on: axjax.load("mine")
  axjax lut factor mine --out mine.npz        exact int8 terms, for the fastest engines
  axjax lut plot mine.v --out mine.png        where it errs"""

_METRICS = ("MAE", "MAE%", "WCE", "WCE%", "MRE%", "WCRE%", "EP%", "MSE", "bias", "variance")


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "lut",
        help="multipliers: list, show, import, convert, metrics, factor, plot",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    group = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    reading = _reading_options.parent()

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str, **more: Any):
        made = group.add_parser(
            name, help=text, description=text[0].upper() + text[1:] + ".", **more
        )
        made.set_defaults(run=run)
        return made

    made = command("list", _list, "names for axjax.load, and their errors")
    _add_format(made)

    made = command("show", _show, "all that a table tells of a multiplier", parents=[reading])
    made.add_argument("sources", nargs="+", metavar="MULTIPLIER")
    made.add_argument("--json", action="store_true", help="as JSON, a list of objects")

    made = command("metrics", _metrics, "error metrics, a line each", parents=[reading])
    made.add_argument("sources", nargs="+", metavar="MULTIPLIER")
    _add_codes(made)
    _add_format(made)

    made = command("convert", _convert, "a multiplier from any format to any other",
                   parents=[reading])  # fmt: skip
    made.add_argument("source", metavar="MULTIPLIER")
    made.add_argument("target", type=pathlib.Path, metavar="FILE")
    made.add_argument(
        "--format",
        choices=("npz", "npy", "bin", "txt", "rows", "csv", "h"),
        help="by default the suffix's; rows: `activation weight product` a line",
    )
    _add_force(made)

    made = command("import", _import, "keep a multiplier under a name for axjax.load",
                   parents=[reading])  # fmt: skip
    made.add_argument("source", metavar="FILE")
    made.add_argument("--name", help="by default the file's, without suffix")
    _add_force(made)

    made = command("factor", _factor, "exact int8 terms that a table factors into",
                   parents=[reading])  # fmt: skip
    made.add_argument("sources", nargs="+", metavar="MULTIPLIER")
    made.add_argument(
        "--out", type=pathlib.Path, metavar="FILE", help="a .npz for the factorised multiplier"
    )
    _add_force(made)

    made = command("plot", _plot, "draw where a multiplier errs", parents=[reading])
    made.add_argument("source", metavar="MULTIPLIER")
    made.add_argument(
        "--out",
        type=pathlib.Path,
        metavar="FILE",
        help=".png, .svg or .pdf (default: NAME.png)",
    )
    _add_codes(made)
    _add_force(made)


def _add_format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format", choices=FORMATS, default=FORMATS[0], help="default: %(default)s"
    )


def _add_force(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help="replace what is there")


def _add_codes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--codes",
        type=pathlib.Path,
        metavar="FILE",
        help="weigh errors by a network's codes: numpy.savez(FILE, **counts) with counts from "
        "axjax.count_codes",
    )


def _list(options: argparse.Namespace) -> int:
    own = set(imported())
    rows = []
    for name in axjax.available():
        known = manifest().get(name)
        multiplier = read("axjax lut list", name)
        found = known["metrics"] if known else multiplier.metrics().asdict()
        rows.append(
            {
                "name": name,
                "operands": f"{multiplier.activation} x {multiplier.weight}",
                **{key: found[key] for key in ("MAE%", "WCE%", "MRE%", "EP%")},
                "terms": _terms(multiplier),
                "power mW": multiplier.published.get("PDK45_PWR"),
                "from": "imported" if name in own and not known else "axjax",
            }
        )
    print(shown(rows, options.format), end="")
    return 0


def _show(options: argparse.Namespace) -> int:
    found = []
    for source in options.sources:
        multiplier = read("axjax lut show", source, **_reading_options.arguments(options))
        found.append(_facts(multiplier))
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    for position, facts in enumerate(found):
        print(end="\n" if position else "")
        print(_described(facts), end="")
    return 0


def _facts(multiplier: axjax.Multiplier) -> dict[str, Any]:
    """All that `show` tells, for JSON."""
    products = multiplier.products()
    kinds = (multiplier.activation, multiplier.weight)
    exchanged = None
    if kinds[0] == kinds[1]:
        exchanged = int((products != products.T).sum())
    return {
        "name": multiplier.name,
        "operands": [str(kind) for kind in kinds],
        "products": [int(products.min()), int(products.max())],
        "entry": str(np.asarray(multiplier.table).dtype),
        "zero times zero": int(products[0, 0]),
        "pairs that differ when operands are exchanged": exchanged,
        "metrics": multiplier.metrics().asdict(),
        "published": dict(multiplier.published),
        "terms": _terms(multiplier),
        "readings": [
            {"reading": str(reading), "MAE": reading.mae}
            for reading in axjax.readings(multiplier)[:5]
        ],
    }


def _described(facts: dict[str, Any]) -> str:
    low, high = facts["products"]
    differ = facts["pairs that differ when operands are exchanged"]
    order = {None: "operands are of two types", 0: "commutative: operand order does not matter"}
    terms = facts["terms"]
    lines = {
        "operands": " x ".join(facts["operands"]) + "  (activation x weight)",
        "products": f"{low} to {high}, {facts['entry']}; 0 x 0 = {facts['zero times zero']}",
        "order": order.get(differ, f"not commutative: {differ} pairs differ when exchanged"),
        "factors": "none yet, see axjax lut factor"
        if terms is None
        else f"{terms} int8 {'term' if terms == 1 else 'terms'}",
    }
    text = facts["name"] + "\n"
    for key, value in lines.items():
        text += f"  {key:<12}{value}\n"
    for heading, found in (("errors", facts["metrics"]), ("published", facts["published"])):
        if found:
            cells = [f"{key} {figure(value)}" for key, value in found.items()]
            text += f"  {heading:<12}{', '.join(cells)}\n"
    text += "  readings    mean absolute error; the first line is how it is read\n"
    table = aligned([{"MAE": r["MAE"], "as": r["reading"]} for r in facts["readings"]])
    return text + "".join(f"              {line}\n" for line in table.splitlines()[1:])


def _metrics(options: argparse.Namespace) -> int:
    layers = _counts("axjax lut metrics", options.codes)
    rows = []
    for source in options.sources:
        multiplier = read("axjax lut metrics", source, **_reading_options.arguments(options))
        for layer, counts in layers.items():
            named: dict[str, Any] = {"name": multiplier.name}
            if layer is not None:
                named["layer"] = layer
            found = _weighted("axjax lut metrics", multiplier, counts).asdict()
            rows.append(named | {key: found[key] for key in _METRICS})
    print(shown(rows, options.format), end="")
    return 0


def _weighted(function: str, multiplier: axjax.Multiplier, counts: Any) -> axjax.Metrics:
    try:
        return multiplier.metrics(counts)
    except ValueError as error:
        raise UsageError(f"{function}: {error}") from error


def _counts(function: str, path: pathlib.Path | None) -> dict[str | None, Any]:
    """Counts by layer; one nameless uniform layer without a file."""
    if path is None:
        return {None: None}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {str(name): arrays[name] for name in arrays.files}
    except Exception as error:  # NumPy raises whatever its parts raise
        raise UsageError(
            f"{function}: counts of codes are a .npz file with an array for each layer, got "
            f"codes={str(path)!r}: {' '.join(str(error).split())[:120]}. "
            "Write it with numpy.savez(file, **counts)."
        ) from error


def _convert(options: argparse.Namespace) -> int:
    function = "axjax lut convert"
    multiplier = read(function, options.source, **_reading_options.arguments(options))
    _write(function, options.target, multiplier, options.force, options.format)
    return 0


def _import(options: argparse.Namespace) -> int:
    function = "axjax lut import"
    multiplier = read(function, options.source, **_reading_options.arguments(options))
    name = options.name or multiplier.name
    if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", name) or name in manifest():
        raise UsageError(
            f"{function}: a name is letters, digits, _, +, - and ., and none that axjax ships, "
            f"got name={name!r}. Pass another --name."
        )
    folder = library_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{function}: the library is a folder that can be written, got "
            f"{str(folder)!r}: {error.strerror}. Set AXJAX_LUTS to another one."
        ) from error
    _write(function, folder / f"{name}.npz", multiplier, options.force)
    return 0


def _factor(options: argparse.Namespace) -> int:
    function = "axjax lut factor"
    need(function, "factor", {"flint": "python-flint"})
    if options.out is not None and len(options.sources) > 1:
        raise UsageError(
            f"{function}: one file holds one multiplier, got {len(options.sources)} of them. "
            "Factor them one by one, or leave --out out."
        )
    rows = []
    for source in options.sources:
        multiplier = read(function, source, **_reading_options.arguments(options))
        started = time.perf_counter()
        factors = axjax.factorize(multiplier)
        rows.append(
            {
                "name": multiplier.name,
                "terms": factors.terms,
                "by byte": "+".join(map(str, factors.plane_terms)),
                "seconds": round(time.perf_counter() - started, 3),
            }
        )
        if options.out is not None:
            _write(function, options.out, multiplier.with_factors(factors), options.force)
    print(aligned(rows), end="")
    return 0


def _plot(options: argparse.Namespace) -> int:
    function = "axjax lut plot"
    need(function, "demo", {"matplotlib": "matplotlib"})
    multiplier = read(function, options.source, **_reading_options.arguments(options))
    path = options.out or pathlib.Path(f"{multiplier.name}.png")
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise UsageError(
            f"{function}: a picture ends in .png, .svg or .pdf, got out={str(path)!r}. "
            "Pass another --out."
        )
    _check_free(function, path, options.force)
    layers = list(_counts(function, options.codes).values())
    total = None if options.codes is None else sum(layers[1:], start=layers[0])
    if total is not None:
        _weighted(function, multiplier, total)  # says so if its shape does not fit
    from axjax._picture import write_picture

    try:
        write_picture(path, multiplier, total)
    except OSError as error:
        raise cannot_write(function, path, error) from error
    print(f"Wrote {path}.", file=sys.stderr)
    return 0


def _write(
    function: str,
    path: pathlib.Path,
    multiplier: axjax.Multiplier,
    force: bool,
    format: str | None = None,
) -> None:
    _check_free(function, path, force)
    try:
        axjax.save(path, multiplier, format=format)
    except OSError as error:
        raise cannot_write(function, path, error) from error
    except ValueError as error:
        raise UsageError(f"{function}: {error}") from error
    print(f"Wrote {path}.", file=sys.stderr)


def _check_free(function: str, path: pathlib.Path, force: bool) -> None:
    if path.is_dir() or (path.exists() and not force):
        raise UsageError(
            f"{function}: nothing is overwritten unasked, got {str(path)!r}, which exists. "
            "Choose another name, or pass --force to replace a file."
        )


def _terms(multiplier: axjax.Multiplier) -> int | None:
    """Terms as engines take them, with the row sums folded in, less those that are zero."""
    if multiplier.factors is None:
        return None
    factors = multiplier.factors.factors()
    used = np.any(factors.u, axis=1) & np.any(factors.v, axis=1)
    return int(used.sum())
