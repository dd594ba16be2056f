# SPDX-License-Identifier: Apache-2.0
"""Terms of exact factorisations: how many int8 products replace one look-up.

`python benchmarks/terms.py` prints a Markdown table for the tables that axjax ships; name
files or folders (.bin, .npy) to add theirs. `--output STEM` writes STEM.json and STEM.md.
Every factorisation is checked on all pairs of codes, then its time is kept.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import pathlib
import platform
import time
from typing import Any

import numpy as np

import axjax
from axjax.factorization import factorize
from axjax.factorization._lattice import rank

COLUMNS = {
    "name": "table",
    "rank": "rank",
    "terms": "terms",
    "plane_terms": "by plane",
    "words": "words",
    "words_without_alpha": "words, alpha folded",
    "seconds": "CPU s",
}


def measure(multiplier: axjax.Multiplier) -> dict[str, Any]:
    """One row; `rank` is the least number of terms that any exact form can have."""
    products = multiplier.products()
    begin = time.process_time()
    factors = factorize(multiplier)
    seconds = time.process_time() - begin
    folded = factors.fold_alpha()
    for form in (factors, folded):
        if not np.array_equal(np.asarray(form.table()), np.asarray(multiplier.table, np.int32)):
            raise AssertionError(f"the factors of {multiplier} do not give its table")
    return {
        "name": str(multiplier.name),
        "rank": int(rank(products - products[:, :1] - products[:1] + products[0, 0])),
        "terms": factors.terms,
        "plane_terms": list(factors.plane_terms),
        "words": factors.words,
        "words_without_alpha": folded.words,
        "seconds": round(seconds, 2),
    }


def markdown(rows: list[dict[str, Any]]) -> str:
    """The rows as a table."""
    lines = [f"| {' | '.join(COLUMNS.values())} |", "|---|" + "---:|" * (len(COLUMNS) - 1)]
    for row in rows:
        cells = dict(row, plane_terms=" + ".join(map(str, row["plane_terms"])))
        lines.append(f"| {' | '.join(str(cells[column]) for column in COLUMNS)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="*", type=pathlib.Path, help="files or folders")
    parser.add_argument("--output", type=pathlib.Path, help="stem of the files to write")
    options = parser.parse_args()
    sources: list[str | pathlib.Path] = list(axjax.available())
    for path in options.paths:
        sources += sorted(
            file
            for file in (path.iterdir() if path.is_dir() else [path])
            if file.suffix in (".bin", ".npy")
        )
    rows = [measure(axjax.load(source)) for source in sources]
    print(markdown(rows), end="")
    if options.output:
        versions = {
            name: importlib.metadata.version(name) for name in ("numpy", "python-flint")
        }
        record = {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "machine": platform.machine(),
            "python": platform.python_version(),
            **versions,
            "tables": rows,
        }
        options.output.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
        options.output.with_suffix(".md").write_text(markdown(rows))


if __name__ == "__main__":
    main()
