# SPDX-License-Identifier: Apache-2.0
"""Writes the tables that axjax ships, and what is known of them.

`python luts/generate.py` writes the table files and manifest.json; `--check` verifies them
and exits with 1 and a message if they differ; `--table` prints the table of
docs/multipliers.md.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import inspect
import io
import json
import pathlib
import sys
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from axjax import Multiplier, circuits
from axjax._metrics import metrics
from axjax.tables._save import pack, save
from axjax.tables._write_whole import write_whole

FOLDER = pathlib.Path(__file__).resolve().parent

# From harmless to harsh within each family.
SHIPPED: tuple[tuple[Callable[..., Multiplier], dict[str, Any]], ...] = (
    (circuits.exact, {}),
    (circuits.exact, {"signed": True}),
    (circuits.truncated, {"columns": 2}),
    (circuits.truncated, {"columns": 4}),
    (circuits.truncated, {"columns": 6}),
    (circuits.truncated, {"columns": 8}),
    (circuits.truncated, {"columns": 4, "signed": True}),
    (circuits.broken_array, {"horizontal": 1, "vertical": 4}),
    (circuits.broken_array, {"horizontal": 2, "vertical": 6}),
    (circuits.broken_array, {"horizontal": 4, "vertical": 8}),
    (circuits.drum, {"k": 6}),
    (circuits.drum, {"k": 4}),
    (circuits.drum, {"k": 3}),
    (circuits.drum, {"k": 4, "signed": True}),
    (circuits.mitchell, {}),
    (circuits.mitchell, {"signed": True}),
    (circuits.kulkarni, {}),
)


@functools.cache
def multipliers() -> dict[str, Multiplier]:
    """The shipped multipliers by name, as the code makes them, with their factors."""
    made = (family(8, **parameters).factorized() for family, parameters in SHIPPED)
    return {str(multiplier.name): multiplier for multiplier in made}


def manifest() -> dict[str, Any]:
    """What manifest.json holds: one entry for each multiplier, by name.

    `bits` and `signed` are (activation, weight); `metrics` are rounded to six digits;
    `sha256` is that of the products as little-endian int32, row after row.
    """
    entries = {}
    for (family, parameters), (name, multiplier) in zip(
        SHIPPED, multipliers().items(), strict=True
    ):
        operands = (multiplier.activation, multiplier.weight)
        raw = multiplier.products().astype("<i4").tobytes()
        entries[name] = {
            "bits": [operand.bits for operand in operands],
            "signed": [operand.signed for operand in operands],
            "family": family.__name__,
            "parameters": {k: v for k, v in parameters.items() if k != "signed"},
            "source": _source(family),
            "metrics": {
                label: value if isinstance(value, int) else float(f"{value:.6g}")
                for label, value in metrics(multiplier).asdict().items()
            },
            "sha256": hashlib.sha256(raw).hexdigest(),
        }
    return {"multipliers": entries}


def table() -> str:
    """The shipped multipliers and their metrics in Markdown."""
    columns = ("MAE", "MAE%", "WCE", "WCE%", "MRE%", "WCRE%", "EP%", "bias")
    lines = [f"| name | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    for name, entry in manifest()["multipliers"].items():
        figures = (_figure(entry["metrics"][column]) for column in columns)
        lines.append(f"| `{name}` | {' | '.join(figures)} |")
    return "\n".join(lines) + "\n"


def unpack(path: pathlib.Path) -> np.ndarray:
    """The products in a table file, int64."""
    with np.load(path, allow_pickle=False) as arrays:
        differences = arrays["differences"]
    return np.cumsum(differences, axis=0, dtype=differences.dtype).astype(np.int64)


def write(folder: pathlib.Path) -> None:
    """Writes what `complaints` would find wrong, and nothing else.

    A file that holds the right table stays as it is: releases of zlib compress differently,
    and a regenerated file should not show up as a change.
    """
    for name, multiplier in multipliers().items():
        path = folder / f"{name}.npz"
        if not _holds(path, multiplier):
            save(path, multiplier)
    text = _manifest_text().encode()
    path = folder / "manifest.json"
    if not path.is_file() or path.read_bytes() != text:
        write_whole(path, text)


def complaints(folder: pathlib.Path) -> list[str]:
    """What in the folder is not what the code makes; empty if all is well."""
    made = multipliers()
    found = [
        f"{name}.npz is missing or does not hold the table that the code makes"
        for name, multiplier in made.items()
        if not _holds(folder / f"{name}.npz", multiplier)
    ]
    found += [
        f"{path.name} is not made by this script"
        for path in sorted(folder.glob("*.npz"))
        if path.stem not in made
    ]
    path = folder / "manifest.json"
    if not path.is_file() or path.read_text(encoding="utf-8") != _manifest_text():
        found.append("manifest.json is missing or not current")
    return found


def main(arguments: Sequence[str] | None = None, folder: pathlib.Path = FOLDER) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="verify, and write nothing")
    mode.add_argument("--table", action="store_true", help="print the table for the docs")
    options = parser.parse_args(arguments)
    if options.table:
        print(table(), end="")
        return 0
    if not options.check:
        write(folder)
        return 0
    found = complaints(folder)
    for complaint in found:
        print(f"generate: {complaint}. Run python luts/generate.py.", file=sys.stderr)
    return 1 if found else 0


def _holds(path: pathlib.Path, multiplier: Multiplier) -> bool:
    """Whether the file holds the multiplier's arrays, in value and in type."""
    expected = pack(multiplier)
    try:
        # From memory: numpy does not close a file that turns out to be broken.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            return set(arrays) == set(expected) and all(
                arrays[key].dtype == array.dtype and np.array_equal(arrays[key], array)
                for key, array in expected.items()
            )
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        return False  # absent, cut short or another format


def _manifest_text() -> str:
    return json.dumps(manifest(), indent=2) + "\n"


def _source(family: Callable[..., Multiplier]) -> str:
    """The citation in a family's docstring, which is the only place where it is written."""
    _, _, citation = (inspect.getdoc(family) or "").partition("Source: ")
    return " ".join(citation.split()).removesuffix(".")


def _figure(value: float) -> str:
    """Four digits, without an exponent."""
    text = f"{value:.4g}"
    return f"{value:.0f}" if "e" in text else text


if __name__ == "__main__":
    sys.exit(main())
