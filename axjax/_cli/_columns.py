# SPDX-License-Identifier: Apache-2.0
"""Results as text in columns, as JSON, or as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

FORMATS = ("text", "json", "csv")


def shown(rows: Sequence[dict[str, Any]], format: str) -> str:
    """Rows of equal keys in the format asked for; numbers are rounded in text only."""
    if format == "json":
        return json.dumps(rows, indent=2) + "\n"
    if format == "csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()
    return aligned(rows)


def aligned(rows: Sequence[dict[str, Any]]) -> str:
    """A heading and a line for each row; columns of numbers are flush right."""
    if not rows:
        return ""
    columns = []
    for key in rows[0]:
        values = [row[key] for row in rows]
        cells = [key, *map(figure, values)]
        width = max(map(len, cells))
        right = any(isinstance(value, int | float) for value in values)
        columns.append([cell.rjust(width) if right else cell.ljust(width) for cell in cells])
    return "".join("  ".join(line).rstrip() + "\n" for line in zip(*columns, strict=True))


def figure(value: Any) -> str:
    """Four digits of a float, without an exponent; an empty cell for None."""
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    text = f"{value:.4g}"
    return f"{value:.0f}" if "e+" in text else text
