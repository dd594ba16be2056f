# SPDX-License-Identifier: Apache-2.0
"""Observers: how a layer's activations over many batches become one range.

What a batch tells is reduced on the device, to ends or a histogram, and merged on the host.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable

import numpy as np

from axjax._code_type import CodeType

BINS = 2048
"""Of a histogram, over the range of all batches."""


@dataclasses.dataclass(frozen=True)
class Observer(abc.ABC):
    """How activations over many batches become one range.

    Ranges are widened to hold zero, as `GivenRange` does.
    """

    @property
    def needs_histogram(self) -> bool:
        """Whether `choose` takes a histogram, which costs a second pass over the batches."""
        return True

    @abc.abstractmethod
    def choose(
        self, ends: np.ndarray, histogram: np.ndarray | None, codes: CodeType, symmetric: bool
    ) -> tuple[float, float]:
        """The range.

        Args:
            ends: float64 `(batches, 2)`, least and greatest value of each batch.
            histogram: int64 `(BINS,)` over the range of all batches.
            codes: the codes that the range is for.
            symmetric: whether they lie symmetrically about zero.
        """


class MinMax(Observer):
    """The range of all values. Nothing is clipped."""

    @property
    def needs_histogram(self) -> bool:
        return False

    def choose(self, ends, histogram, codes, symmetric):
        return float(ends[:, 0].min()), float(ends[:, 1].max())


@dataclasses.dataclass(frozen=True)
class AverageMinMax(Observer):
    """The moving average of the batches' ranges, in their order.

    Args:
        momentum: share of the old range that a batch keeps, 0 to 1.
    """

    momentum: float = 0.9

    def __post_init__(self) -> None:
        if not 0 <= self.momentum <= 1:
            raise ValueError(
                f"AverageMinMax: momentum is from 0 to 1, got momentum={self.momentum}. "
                "Pass the share of the old range that a batch keeps, such as 0.9."
            )

    @property
    def needs_histogram(self) -> bool:
        return False

    def choose(self, ends, histogram, codes, symmetric):
        average = ends[0]
        for new in ends[1:]:
            average = self.momentum * average + (1 - self.momentum) * new
        return float(average[0]), float(average[1])


@dataclasses.dataclass(frozen=True)
class Percentile(Observer):
    """The range that holds a share of all values, the rest cut off evenly at both ends.

    An end that real zero bounds (as after a ReLU) is not cut.

    Args:
        percent: share in percent, above 0 and up to 100.
    """

    percent: float = 99.99

    def __post_init__(self) -> None:
        if not 0 < self.percent <= 100:
            raise ValueError(
                f"Percentile: a share is above 0 and up to 100 percent, got "
                f"percent={self.percent}. Pass a number such as 99.99."
            )

    def choose(self, ends, histogram, codes, symmetric):
        edges = _edges(ends)
        cut = (1 - self.percent / 100) * histogram.sum()
        low, high = edges[0], edges[-1]
        if low < 0 < high:
            cut /= 2
        if low < 0:
            below = np.cumsum(histogram)
            low = edges[np.searchsorted(below, cut, side="right")]
        if high > 0:
            above = np.cumsum(histogram[::-1])
            high = edges[::-1][np.searchsorted(above, cut, side="right")]
        return float(min(low, 0.0)), float(max(high, 0.0))


class MeanSquaredError(Observer):
    """The range whose codes stand for the values with the least mean squared error.

    Candidates are the full range and parts of it, down to 1/100, each end towards zero.
    """

    def choose(self, ends, histogram, codes, symmetric):
        centres = _centres(ends)

        def loss(low: float, high: float) -> float:
            rounded = _fake_quantized(centres, low, high, codes, symmetric)
            return float(histogram @ (rounded - centres) ** 2)

        return _best(ends, loss)


class Entropy(Observer):
    """The range whose codes keep the values' distribution best.

    The distribution of the clipped values is compared with what is left of it once values of
    one code can no longer be told apart: the Kullback-Leibler divergence is least.

    Source: S. Migacz, 8-bit Inference with TensorRT, GPU Technology Conference 2017.
    """

    def choose(self, ends, histogram, codes, symmetric):
        centres = _centres(ends)

        def loss(low: float, high: float) -> float:
            inside = (centres >= low) & (centres <= high)
            if not histogram[inside].any():
                return np.inf
            clipped = np.where(inside, histogram, 0).astype(np.float64)
            first, last = np.flatnonzero(inside)[[0, -1]]
            kept = clipped.copy()
            clipped[first] += histogram[:first].sum()
            clipped[last] += histogram[last + 1 :].sum()
            code = np.round(_fake_quantized(centres, low, high, codes, symmetric), 12)
            _, code = np.unique(code, return_inverse=True)
            occupied = kept > 0
            mass = np.bincount(code, weights=kept)
            places = np.bincount(code, weights=occupied)
            spread = np.where(occupied, mass[code] / np.maximum(places[code], 1), 0.0)
            p, q = clipped / clipped.sum(), spread / spread.sum()
            seen = p > 0
            return float((p[seen] * np.log(p[seen] / np.maximum(q[seen], 1e-12))).sum())

        return _best(ends, loss)


OBSERVERS: dict[str, Callable[[], Observer]] = {
    "min_max": MinMax,
    "average_min_max": AverageMinMax,
    "percentile": Percentile,
    "mse": MeanSquaredError,
    "entropy": Entropy,
}
"""Observers by the name that `axjax.calibrate` takes."""


def _edges(ends: np.ndarray) -> np.ndarray:
    return np.linspace(ends[:, 0].min(), ends[:, 1].max(), BINS + 1)


def _centres(ends: np.ndarray) -> np.ndarray:
    edges = _edges(ends)
    return (edges[:-1] + edges[1:]) / 2


def _best(ends: np.ndarray, loss: Callable[[float, float], float]) -> tuple[float, float]:
    low, high = min(float(ends[:, 0].min()), 0.0), max(float(ends[:, 1].max()), 0.0)
    shares = np.linspace(0.01, 1.0, 100)[::-1]  # of equals, the widest
    best, least = (low, high), np.inf
    for share in shares:
        found = loss(low * share, high * share)
        if found < least:
            best, least = (float(low * share), float(high * share)), found
    return best


def _fake_quantized(
    x: np.ndarray, low: float, high: float, codes: CodeType, symmetric: bool
) -> np.ndarray:
    """What codes of a range stand for: (1) to (3) of docs/arithmetic.md, in float64."""
    if symmetric:
        steps = (codes.max - codes.min - 1) // 2
        scale = max(-low, high) / steps or 1.0
        return scale * np.clip(np.floor(x / scale + 0.5), -steps, steps)
    count = codes.max - codes.min
    scale = (high - low) / count or 1.0
    zero = np.clip(np.floor(-low / scale + 0.5), 0, count)
    return scale * (np.clip(np.floor(x / scale + 0.5) + zero, 0, count) - zero)
