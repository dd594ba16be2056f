# SPDX-License-Identifier: Apache-2.0
"""A multiplier as a picture: where it errs, how far, and how often a network goes there."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import FuncNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter

from axjax._metrics import metrics
from axjax._multiplier import Multiplier

_OVER, _UNDER, _CODES = "#b2182b", "#2166ac", "#4e8a3c"


def write_picture(path: pathlib.Path, multiplier: Multiplier, counts: Any = None) -> None:
    """Writes `picture` to a PNG, SVG or PDF, as the suffix says."""
    picture(multiplier, counts).savefig(path)


def picture(multiplier: Multiplier, counts: Any = None) -> Figure:
    """Draws the errors of a multiplier, of which a network may use some more than others.

    A map of the error, product less exact product, over all pairs of codes in ascending order,
    its colours in steps of the square root, so that small errors show beside large ones; beside
    it the mean error of each activation code, above it that of each weight code; and a
    histogram of errors. With counts, also how often codes occur, and the histogram of the
    errors that were really made.

    Args:
        multiplier: with one table, not a stack of them.
        counts: as the weights of `axjax.metrics`, for example from `axjax.count_codes`, in the
            order of bit patterns: `(2**activation bits, 2**weight bits)`.
    Returns:
        A figure of matplotlib, 10 x 6.4 inches at 128 dots an inch.
    """
    order = np.ix_(*(np.argsort(operand.values()) for operand in _operands(multiplier)))
    errors = multiplier.errors()[order]
    weights = None if counts is None else np.asarray(counts, np.float64)[order]
    figure = Figure(figsize=(10, 6.4), dpi=128, layout="constrained")
    FigureCanvasAgg(figure)
    rows = 2 if weights is None else 3
    grid = figure.add_gridspec(
        rows,
        3,
        width_ratios=(4, 1.1, 3.2),
        height_ratios=(1, *(3.6 / (rows - 1),) * (rows - 1)),
    )
    heat = figure.add_subplot(grid[1:, 0])
    _draw_map(figure, heat, multiplier, errors)
    above = figure.add_subplot(grid[0, 0], sharex=heat)
    beside = figure.add_subplot(grid[1:, 1], sharey=heat)
    _draw_profile(above, multiplier.weight, errors, weights, 0)
    _draw_profile(beside, multiplier.activation, errors.T, _transposed(weights), 1)
    _draw_text(figure.add_subplot(grid[0, 1:]), multiplier, counts)
    _draw_histogram(figure.add_subplot(grid[1, 2]), errors, weights)
    if weights is not None:
        _draw_codes(figure.add_subplot(grid[2, 2]), multiplier, weights)
    return figure


def _operands(multiplier: Multiplier) -> tuple[Any, Any]:
    return multiplier.activation, multiplier.weight


def _transposed(weights: np.ndarray | None) -> np.ndarray | None:
    return None if weights is None else weights.T


def _draw_map(figure: Any, axes: Any, multiplier: Multiplier, errors: np.ndarray) -> None:
    limit = max(int(np.abs(errors).max()), 1)
    norm = FuncNorm(
        (lambda e: np.sign(e) * np.sqrt(np.abs(e)), lambda r: np.sign(r) * np.square(r)),
        vmin=-limit,
        vmax=limit,
    )
    x, w = _operands(multiplier)
    extent = (w.min - 0.5, w.max + 0.5, x.min - 0.5, x.max + 0.5)
    image = axes.imshow(
        errors, cmap="RdBu_r", norm=norm, origin="lower", extent=extent, aspect="auto",
        interpolation="nearest",
    )  # fmt: skip
    axes.set_xlabel(f"weight code ({w})")
    axes.set_ylabel(f"activation code ({x})")
    bar = figure.colorbar(image, ax=axes, location="left", pad=0.02, fraction=0.05)
    quarter = round(limit / 4)
    ticks = sorted({-limit, -quarter, 0, quarter, limit})
    bar.ax.yaxis.set_major_locator(FixedLocator(ticks))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda e, _: f"{e:+,.0f}" if e else "0"))
    bar.ax.minorticks_off()
    bar.set_label("error (square-root scale)")
    bar.outline.set_visible(False)


def _draw_profile(
    axes: Any, operand: Any, errors: np.ndarray, weights: np.ndarray | None, side: int
) -> None:
    """Mean error and mean absolute error of each code of one operand, in columns."""
    codes = np.sort(operand.values())
    swap = (lambda a, b: (b, a)) if side else (lambda a, b: (a, b))
    absolute, mean = np.abs(errors).mean(0), errors.mean(0)
    axes.plot(*swap(codes, absolute), color="#999999", lw=0.8, label="mean |error|")
    axes.plot(*swap(codes, mean), color="black", lw=0.9, label="mean error")
    (axes.axvline if side else axes.axhline)(0, color="#bbbbbb", lw=0.6, zorder=0)
    if weights is not None:
        used = weights.sum(0)
        twin = axes.twiny() if side else axes.twinx()
        fill = twin.fill_betweenx if side else twin.fill_between
        fill(codes, used / max(used.max(), 1), color=_CODES, alpha=0.25, lw=0)
        twin.set_axis_off()
        (twin.set_xlim if side else twin.set_ylim)(0, 1.05)
    axes.tick_params(**{"labelleft" if side else "labelbottom": False}, labelsize=8)
    if side:
        axes.tick_params(axis="x", labelrotation=45)
        axes.set_xlabel("by activation", fontsize=8)
    else:
        axes.set_ylabel("by weight", fontsize=8)
        axes.legend(
            frameon=False, fontsize=7, loc="lower left", bbox_to_anchor=(0, 0.96), ncols=2
        )
    _bare(axes)


def _draw_histogram(axes: Any, errors: np.ndarray, weights: np.ndarray | None) -> None:
    limit = max(int(np.abs(errors).max()), 1)
    bins = np.linspace(-limit - 0.5, limit + 0.5, min(2 * limit + 1, 101) + 1)
    share, _ = np.histogram(errors, bins)
    middle = (bins[:-1] + bins[1:]) / 2
    colors = np.select([middle > 0.5, middle < -0.5], [_OVER, _UNDER], "#999999")
    axes.bar(bins[:-1], 100 * share / errors.size, np.diff(bins), align="edge", color=colors)
    if weights is not None:
        made, _ = np.histogram(errors, bins, weights=weights)
        axes.stairs(100 * made / weights.sum(), bins, color=_CODES, lw=1.3)
        axes.plot([], [], color=_CODES, label="of the network's products")
        axes.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1))
    axes.set_yscale("log")
    axes.set_ylim(bottom=60 / errors.size)  # below one pair
    axes.yaxis.set_major_formatter(FuncFormatter(lambda p, _: f"{p:g}"))
    axes.set_xlabel("error")
    axes.set_ylabel("% of all pairs")
    axes.yaxis.set_label_position("right")
    axes.yaxis.tick_right()
    _bare(axes, right=True)


def _draw_codes(axes: Any, multiplier: Multiplier, weights: np.ndarray) -> None:
    """Distributions of both operands' codes."""
    labels = ("activations", "weights")
    for axis, (operand, label) in enumerate(zip(_operands(multiplier), labels, strict=True)):
        share = 100 * weights.sum(1 - axis) / weights.sum()
        edges = np.append(np.sort(operand.values()), operand.max + 1) - 0.5
        axes.stairs(share, edges, label=label, lw=1.1, color=(_CODES, "#c4881b")[axis])
    axes.set_yscale("log")
    axes.set_ylim(bottom=1e-3)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda p, _: f"{p:g}"))
    axes.set_xlabel("code")
    axes.set_ylabel("% of products")
    axes.yaxis.set_label_position("right")
    axes.yaxis.tick_right()
    axes.legend(frameon=False, fontsize=8)
    _bare(axes, right=True)


def _draw_text(axes: Any, multiplier: Multiplier, counts: Any) -> None:
    axes.set_axis_off()
    lines = [_figures("over all pairs", metrics(multiplier))]
    if counts is not None:
        lines.append(_figures("as the network multiplies", metrics(multiplier, counts)))
    axes.text(0, 1, multiplier.name, fontsize=14, va="top", transform=axes.transAxes)
    axes.text(
        0, 0.68, "\n".join(lines), fontsize=8, va="top", transform=axes.transAxes,
        linespacing=1.35,
    )  # fmt: skip


def _figures(over: str, found: Any) -> str:
    return (
        f"{over}\n"
        f"  MAE {found.mae:,.4g} ({found.mae_percent:.3g} %)   WCE {found.wce:,}   "
        f"MRE {found.mre_percent:.3g} %   EP {found.ep_percent:.3g} %   bias {found.bias:+,.4g}"
    )


def _bare(axes: Any, right: bool = False) -> None:
    for side in ("top", "left" if right else "right"):
        axes.spines[side].set_visible(False)
