# SPDX-License-Identifier: Apache-2.0
"""Results of an evaluation in a file, from which it can go on."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import pathlib
from typing import Any

import numpy as np

import axjax
from axjax._multiplier import Multiplier
from axjax.evaluation._evaluate import Score
from axjax.tables._write_whole import write_whole

_METRICS = ("MAE", "MAE%", "WCE%", "MRE%", "EP%", "bias")
_FORMAT = "axjax evaluation"


@dataclasses.dataclass
class Results:
    """Rows of an evaluation, and everything that they depend on.

    Attributes:
        settings: what was run: network, data, digests of files, the plan.
        rows: one for each multiplier, as `row` makes them.
    """

    settings: dict[str, Any]
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def has(self, multiplier: Multiplier | None) -> bool:
        """Whether there is a row for this very table under this name."""
        key = _key(multiplier)
        return any((row["name"], row["sha256"]) == key for row in self.rows)

    def add(self, multiplier: Multiplier | None, score: Score) -> None:
        """Adds a row."""
        self.rows.append(row(multiplier, score))

    def write(self, path: pathlib.Path) -> None:
        """Writes a JSON file, and the rows as CSV beside it."""
        content = {"format": _FORMAT, "axjax": axjax.__version__, **dataclasses.asdict(self)}
        write_whole(path, (json.dumps(content, indent=2) + "\n").encode())
        text = io.StringIO()
        names = list(self.rows[0]) if self.rows else []
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_whole(path.with_suffix(".csv"), text.getvalue().encode())


def row(multiplier: Multiplier | None, score: Score) -> dict[str, Any]:
    """A multiplier's name, errors and power (mW, where its file states it), and its score."""
    name, digest = _key(multiplier)
    found: dict[str, Any] = dict.fromkeys(_METRICS)
    operands, power = "float", None
    if multiplier is not None:
        found = {key: multiplier.metrics().asdict()[key] for key in _METRICS}
        operands = f"{multiplier.activation} x {multiplier.weight}"
        power = multiplier.published.get("PDK45_PWR")
    scores = {key: _rounded(value) for key, value in dataclasses.asdict(score).items()}
    return {"name": name, "operands": operands, **scores, **found, "power": power,
            "sha256": digest}  # fmt: skip


def read_results(path: pathlib.Path) -> Results:
    """What `Results.write` wrote.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is another file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise KeyError("format")
        rows = [dict(found) for found in content["rows"]]
        names = set(row(None, Score(0, 0, 0)))
        if not all(set(found) == names for found in rows):
            raise KeyError("rows")
        return Results(dict(content["settings"]), rows)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"read_results: a file of results is what axjax evaluate wrote, got {str(path)!r}. "
            "Evaluate again, into another file."
        ) from error


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _key(multiplier: Multiplier | None) -> tuple[str, str]:
    if multiplier is None:
        return "float", ""
    operands = f"{multiplier.activation}{multiplier.weight}".encode()
    return multiplier.name, digest(operands + multiplier.products().astype("<i4").tobytes())


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(np.round(value, 4))
