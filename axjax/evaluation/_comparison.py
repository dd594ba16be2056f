# SPDX-License-Identifier: Apache-2.0
"""Results as a picture and as one self-contained HTML file."""

from __future__ import annotations

import html
import io
import pathlib
from collections.abc import Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from axjax.tables._write_whole import write_whole

Row = dict[str, Any]

_COLORS = ("#c4581b", "#2f6db3", "#4e8a3c", "#75507b", "#8f5902", "#555753")
_MOST_NAMES = 24  # beyond, only efficient multipliers are named
_LABELS = {"power": "power of the multiplier, mW (as its file states it)"}
_COLUMNS = ("name", "operands", "accuracy", "agreement", "MAE%", "MRE%", "EP%", "power",
            "seconds")  # fmt: skip


def score_of(rows: Sequence[Row]) -> str:
    """What networks are compared by: accuracy, or agreement where there are no labels."""
    return "agreement" if any(row["accuracy"] is None for row in rows) else "accuracy"


def efficient(rows: Sequence[Row], against: str) -> list[Row]:
    """Rows than which no other is better in score or in `against`, and as good in the other."""
    score = score_of(rows)
    drawn = [row for row in rows if row[against] is not None]
    return [
        row
        for row in drawn
        if not any(
            other[score] >= row[score]
            and other[against] <= row[against]
            and (other[score], other[against]) != (row[score], row[against])
            for other in drawn
        )
    ]


def figure(rows: Sequence[Row], against: str, title: str) -> Figure:
    """Score against a property of the multiplier, with the efficient ones joined and named."""
    score = score_of(rows)
    made = Figure(figsize=(8, 4.8), dpi=144, layout="constrained")
    FigureCanvasAgg(made)
    axes = made.add_subplot()
    drawn = [row for row in rows if row[against] is not None]
    best = sorted(efficient(rows, against), key=lambda row: (row[against], row[score]))
    axes.step([r[against] for r in best], [r[score] for r in best], where="post",
              color="#999999", lw=0.9, zorder=1)  # fmt: skip
    for index, operands in enumerate(dict.fromkeys(row["operands"] for row in drawn)):
        points = [row for row in drawn if row["operands"] == operands]
        axes.scatter(
            [row[against] for row in points],
            [row[score] for row in points],
            color=_COLORS[index % len(_COLORS)],
            s=[36 if row in best else 16 for row in points],
            label=operands,
            zorder=2,
        )
    named = drawn if len(drawn) <= _MOST_NAMES else best
    for position, row in enumerate(sorted(named, key=lambda row: (row[against], row[score]))):
        axes.annotate(
            row["name"], (row[against], row[score]), xytext=(-5, -11 if position % 2 else 5),
            textcoords="offset points", fontsize=7, ha="right",
            color="#222222" if row in best else "#777777",
        )  # fmt: skip
    for row in rows:
        if row["operands"] == "float":
            axes.axhline(row[score], color="#bbbbbb", lw=0.8, ls=":", zorder=0)
            axes.text(
                1, row[score], f"float, {row[score]:.2f} %", fontsize=7, color="#555555",
                ha="right", va="bottom", transform=axes.get_yaxis_transform(),
            )  # fmt: skip
    axes.set_xlabel(_LABELS.get(against, f"{against} of the multiplier, over all pairs"))
    axes.set_ylabel(f"{score}, %")
    if against != "power":
        positive = [row[against] for row in drawn if row[against] > 0]
        if positive:
            axes.set_xscale("symlog", linthresh=min(positive), linscale=0.4)
            axes.set_xlim(left=-0.4 * min(positive))
    axes.margins(0.1)
    axes.grid(axis="y", color="#eeeeee", zorder=0)
    axes.set_title(title, loc="left", fontsize=11)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    return made


def write_comparison(path: pathlib.Path, rows: Sequence[Row], against: str, title: str) -> None:
    """Writes a picture (.png, .svg, .pdf), or a page with the picture and a table (.html)."""
    content = io.BytesIO()
    suffix = path.suffix.removeprefix(".")
    made = figure(rows, against, title)
    if suffix != "html":
        made.savefig(content, format=suffix)
        write_whole(path, content.getvalue())
        return
    made.savefig(content, format="svg")
    svg = content.getvalue().decode()
    page = _page(title, svg[svg.index("<svg") :], rows, efficient(rows, against))
    write_whole(path, page.encode())


def _page(title: str, svg: str, rows: Sequence[Row], best: Sequence[Row]) -> str:
    score = score_of(rows)
    lines = []
    for row in sorted(rows, key=lambda row: -row[score]):
        cells = "".join(f"<td>{html.escape(_cell(row[c]))}</td>" for c in _COLUMNS)
        lines.append(f'<tr class="{"best" if row in best else ""}">{cells}</tr>')
    heading = "".join(f"<th>{html.escape(c)}</th>" for c in _COLUMNS)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 62em; color: #222 }}
svg {{ width: 100%; height: auto }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }}
th, td {{ padding: .25em .7em; text-align: right; border-bottom: 1px solid #eee }}
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) {{ text-align: left }}
tr.best td {{ font-weight: 600 }}
</style></head><body><h1>{html.escape(title)}</h1>
{svg}
<table><thead><tr>{heading}</tr></thead><tbody>
{chr(10).join(lines)}
</tbody></table>
<p>Bold: no other multiplier is better in one and as good in the other. {score} and agreement
with the float network in percent of all inputs; errors over all pairs of codes; power in mW as
the circuit's file states it.</p>
</body></html>
"""


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
