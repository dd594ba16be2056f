# SPDX-License-Identifier: Apache-2.0
"""The picture: accuracy against the multiplier's error, before and after fine-tuning."""

from __future__ import annotations

import pathlib
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, NullLocator
from matplotlib.transforms import Bbox

from axjax.demo.experiment import Results, Row

_STYLES = (("#2f6db3", "o"), ("#c4581b", "s"), ("#4e8a3c", "D"), ("#75507b", "^"))
_LEAST_MISSED = 0.2  # percent, one of 500 test images: where no image is missed
_TICKS = (99, 98, 95, 90, 80, 50, 0)

_PLACES = [  # of a name: offset from its point in units of 1/72 inch, and how it is aligned
    ((7, 0), "left", "center"),
    ((-7, 0), "right", "center"),
    ((0, -7), "center", "top"),
    ((5, -6), "left", "top"),
    ((-5, -6), "right", "top"),
]


def write_plot(path: pathlib.Path, results: Results) -> None:
    """Writes a PNG of 1280 x 720 pixels."""
    figure = Figure(figsize=(8, 4.5), dpi=160, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    kinds = list(dict.fromkeys(row.codes for row in results.rows))
    for index, codes in enumerate(kinds):
        style = _STYLES[index % len(_STYLES)]
        _draw_kind(axes, [row for row in results.rows if row.codes == codes], codes, *style)
    _draw_axes(axes, results)
    canvas.draw()  # labels are placed among what has been laid out
    _label(axes, [row for row in results.rows if row.saved is not None])
    figure.savefig(path, metadata={"Software": None})


def _missed(accuracy: float) -> float:
    return max(100 - accuracy, _LEAST_MISSED)


def _x(row: Row) -> float:
    return row.metrics["MAE%"]


def _draw_kind(axes: Any, rows: list[Row], codes: str, color: str, marker: str) -> None:
    style = {"color": color, "marker": marker, "markersize": 6, "ls": ""}
    axes.plot(
        [_x(row) for row in rows],
        [_missed(row.before.accuracy) for row in rows],
        fillstyle="none",
        label=f"{codes}, as trained in float",
        **style,
    )
    tuned = [(row, row.after) for row in rows if row.saved is not None and row.after]
    if not tuned:
        return
    axes.plot(
        [_x(row) for row, _ in tuned],
        [_missed(after.accuracy) for _, after in tuned],
        label=f"{codes}, fine-tuned under the multiplier",
        **style,
    )
    for row, after in tuned:
        axes.annotate(
            "",
            (_x(row), _missed(after.accuracy)),
            (_x(row), _missed(row.before.accuracy)),
            arrowprops={
                "arrowstyle": "-|>",
                "color": color,
                "lw": 1,
                "shrinkA": 4,
                "shrinkB": 4,
            },
        )


def _draw_axes(axes: Any, results: Results) -> None:
    errors = [_x(row) for row in results.rows if _x(row) > 0] or [1e-3]
    least, greatest = min(errors), max(errors)
    axes.set_xscale("symlog", linthresh=least, linscale=0.5)  # zero is the exact multiplier
    axes.set_xlim(-least * 0.3, greatest * 1.8)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("mean absolute error of the multiplier, % of its output range")

    # Accuracy on a scale that gives 98 % to 99 % the room that 50 % to 75 % have: a network
    # that errs half as often is as much better here as there.
    accuracies = [results.float_accuracy]
    for row in results.rows:
        accuracies += [score.accuracy for score in (row.before, row.after) if score]
    axes.set_yscale("log")
    axes.set_yticks([100 - tick for tick in _TICKS], [str(tick) for tick in _TICKS])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(
        min(100, _missed(min(accuracies)) * 1.6), min(0.8, _missed(max(accuracies)) * 0.8)
    )
    axes.set_ylabel("accuracy on test images, %")

    axes.axhline(_missed(results.float_accuracy), color="0.45", lw=0.8, ls=":", zorder=0)
    axes.annotate(
        f"float network, {results.float_accuracy:.1f} %",
        (0, _missed(results.float_accuracy)),
        xycoords=("axes fraction", "data"),
        xytext=(40, 8),
        textcoords="offset points",
        fontsize=8,
        color="0.35",
    )
    axes.set_title("Handwritten digits on approximate multipliers", loc="left", fontsize=11)
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(loc="lower left", frameon=False, fontsize=8)


def _label(axes: Any, rows: list[Row]) -> None:
    """Writes names beside the points, each where it covers least."""
    points, arrows = [], []
    for row in rows:
        assert row.after is not None
        x, y = axes.transData.transform((_x(row), _missed(row.before.accuracy)))
        top = axes.transData.transform((_x(row), _missed(row.after.accuracy)))[1]
        points += [Bbox([[x - 8, end - 8], [x + 8, end + 8]]) for end in (y, top)]
        arrows.append(Bbox([[x - 2, min(y, top)], [x + 2, max(y, top)]]))
    for row in rows:
        best: tuple[int, Any] | None = None
        for offset, horizontal, vertical in _PLACES:
            text = axes.annotate(
                row.name,
                (_x(row), _missed(row.before.accuracy)),
                xytext=offset,
                textcoords="offset points",
                ha=horizontal,
                va=vertical,
                fontsize=7.5,
                color="0.2",
                path_effects=[withStroke(linewidth=2, foreground="white")],
            )
            box = text.get_window_extent()
            outside = box.x0 < axes.bbox.x0 or box.x1 > axes.figure.bbox.x1
            cost = 100 * outside + 10 * box.count_overlaps(points) + box.count_overlaps(arrows)
            if best is None or cost < best[0]:
                if best is not None:
                    best[1].remove()
                best = cost, text
            else:
                text.remove()
        assert best is not None
        points.append(best[1].get_window_extent())
