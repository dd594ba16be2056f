# SPDX-License-Identifier: Apache-2.0
"""How far a multiplier is from the exact product, in EvoApproxLib's terms."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from axjax._multiplier import Multiplier

_FIELDS = {
    "mae": "MAE",
    "mae_percent": "MAE%",
    "wce": "WCE",
    "wce_percent": "WCE%",
    "mre_percent": "MRE%",
    "wcre_percent": "WCRE%",
    "ep_percent": "EP%",
    "mse": "MSE",
    "bias": "bias",
    "variance": "variance",
}


@dataclasses.dataclass(frozen=True)
class Metrics:
    """Errors of a multiplier over all pairs of codes; the error is product - exact product.

    Attributes:
        mae: mean absolute error.
        mae_percent: `mae` as a percentage of 2**(activation bits + weight bits).
        wce: worst-case error, the greatest absolute error.
        wce_percent: `wce` as a percentage of 2**(activation bits + weight bits).
        mre_percent: mean relative error, absolute error over absolute exact product. As in
            EvoApproxLib's published figures, pairs whose exact product is zero do not
            count, neither in the sum nor in the number; NaN if there are no others.
        wcre_percent: worst-case relative error, over the same pairs.
        ep_percent: error probability, how often the product is not exact.
        mse: mean squared error.
        bias: mean error, with its sign.
        variance: of the error about its mean: `mse - bias**2`.
    """

    mae: float
    mae_percent: float
    wce: int
    wce_percent: float
    mre_percent: float
    wcre_percent: float
    ep_percent: float
    mse: float
    bias: float
    variance: float

    def asdict(self) -> dict[str, float]:
        """The figures under EvoApproxLib's names: `MAE`, `MAE%`, ..., `bias`, `variance`."""
        return {label: getattr(self, field) for field, label in _FIELDS.items()}

    def __str__(self) -> str:
        return (
            f"MAE {self.mae:.5g} ({self.mae_percent:.3g} %), "
            f"WCE {self.wce} ({self.wce_percent:.3g} %), "
            f"MRE {self.mre_percent:.3g} %, WCRE {self.wcre_percent:.4g} %, "
            f"EP {self.ep_percent:.4g} %, MSE {self.mse:.5g}, "
            f"bias {self.bias:.5g}, variance {self.variance:.5g}"
        )


def metrics(multiplier: Multiplier, weights: Any = None) -> Metrics:
    """Error metrics of a multiplier, uniform or for a distribution of codes.

    Sums are exact integers, whatever the weights: a float is an integer over a power of two.
    Each figure is rounded once, when it is divided; only MRE% and WCRE% add or compare
    quotients, which are float64.

    Args:
        multiplier: with one table, not a stack of them.
        weights: how often codes occur, counts or probabilities of any sum; in the order of
            bit patterns as in `Multiplier.products`, for signed codes 0, 1, ..., -2, -1.
            Either joint, `(2**activation bits, 2**weight bits)`, or a tuple of two vectors
            for independent operands, of which one may be None for uniform. Uniform by
            default. Pairs of weight zero do not count in WCE and WCRE%.
    Raises:
        ValueError: if the shape does not fit, a weight is negative, infinite or NaN, or all
            are zero.

    Source: V. Mrazek, R. Hrbacek, Z. Vasicek, L. Sekanina, EvoApprox8b, DATE 2017; that pairs
    with an exact product of zero are left out of MRE% and WCRE% follows from the figures in
    EvoApproxLib's files, such as mul8u_199Z, always zero, with EP% = 99.22 and MRE% = 100.

    >>> from axjax import Multiplier
    >>> from axjax._metrics import metrics
    >>> mul = Multiplier.from_function(lambda x, w: x * w - (x == 3) * (w == 3) * 2, 2)
    >>> print(metrics(mul))
    MAE 0.125 (0.781 %), WCE 2 (12.5 %), MRE 2.47 %, WCRE 22.22 %, EP 6.25 %, MSE 0.25, \
bias -0.125, variance 0.23438
    """
    errors = multiplier.errors()
    exact = multiplier.products() - errors
    counts = _counts(weights, errors.shape)
    total = int(counts.sum())
    output_range = 1 << (multiplier.activation.bits + multiplier.weight.bits)

    absolute = np.abs(errors)
    absolute_sum = _dot(counts, absolute)
    error_sum = _dot(counts, errors)
    # No overflow: errors are below 2**31 + 2**16, so that squares fit int64.
    squared_sum = _dot(counts, errors * errors)
    worst = int(absolute[counts > 0].max())

    comparable = (counts > 0) & (exact != 0)
    mre = wcre = math.nan
    if comparable.any():
        relative = absolute[comparable] / np.abs(exact[comparable])
        share = counts[comparable] / int(counts[comparable].sum())
        mre = math.fsum((share * relative).tolist())
        wcre = float(relative.max())

    return Metrics(
        mae=absolute_sum / total,
        mae_percent=100 * absolute_sum / (total * output_range),
        wce=worst,
        wce_percent=100 * worst / output_range,
        mre_percent=100 * mre,
        wcre_percent=100 * wcre,
        ep_percent=100 * _dot(counts, errors != 0) / total,
        mse=squared_sum / total,
        bias=error_sum / total,
        variance=(total * squared_sum - error_sum**2) / total**2,
    )


def _counts(weights: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Weights as integers in the same proportions: int64, or Python ints where too great."""
    if weights is None:
        return np.ones(shape, np.int64)
    if isinstance(weights, tuple):
        if len(weights) != 2:
            raise ValueError(
                "metrics: a tuple of weights has one vector for the activation and one for "
                f"the weight, got {len(weights)} entries. Pass an array for joint weights."
            )
        vectors = (
            np.ones(size, object) if vector is None else _integers(vector, (size,))
            for vector, size in zip(weights, shape, strict=True)
        )
        counts = np.multiply.outer(*vectors)
    else:
        counts = _integers(weights, shape)
    return counts.astype(np.int64) if counts.sum() < 2**63 else counts


def _integers(weights: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Checked weights, times the power of two that makes all of them integers."""
    weights = np.asarray(weights)
    if weights.shape != shape:
        raise ValueError(
            f"metrics: there is one weight for each code or pair of codes, {shape}, got "
            f"weights.shape={weights.shape}. Count codes in the order of their bit patterns, "
            f"for example by numpy.bincount(bytes, minlength={shape[0]})."
        )
    if not np.issubdtype(weights.dtype, np.integer):
        weights = weights.astype(np.float64)
    if not (np.isfinite(weights).all() and (weights >= 0).all() and (weights > 0).any()):
        raise ValueError(
            "metrics: weights are finite, not negative and not all zero, got weights from "
            f"{weights.min()} to {weights.max()}. Pass counts or probabilities."
        )
    ratios = [weight.as_integer_ratio() for weight in weights.ravel().tolist()]
    scale = max(denominator for _, denominator in ratios)
    integers = np.empty(len(ratios), object)
    integers[:] = [numerator * (scale // denominator) for numerator, denominator in ratios]
    return integers.reshape(shape)


def _dot(counts: np.ndarray, values: np.ndarray) -> int:
    """The sum of all products, exactly."""
    largest = int(np.abs(values).max()) * int(counts.sum())
    kind: Any = np.int64 if largest < 2**63 else object
    return int(np.vdot(counts.astype(kind), values.astype(kind)))
