# SPDX-License-Identifier: Apache-2.0
"""Gradient: how fine-tuning differentiates a multiplier.

Equations (10) to (13) of docs/arithmetic.md.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from axjax._code_type import CodeType
from axjax._multiplier import Multiplier

Pair = tuple[Any, Any]
"""u `(256, terms)` and v `(terms, 256)`, float32; rows and columns are bytes of codes."""

TOLERANCE = 0.01


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["by_activation", "by_weight"],
    meta_fields=["clip", "types"],
)
@dataclasses.dataclass(frozen=True, eq=False)
class Gradient:
    """How to differentiate a multiplier: exact products, or slopes of its own, (11).

    Rounding always counts as the identity (a straight-through estimator, STE). A pytree; a
    multiplier carries it (`Multiplier.with_gradient`) to wherever it is used, so that layers
    and rules need no option of their own. Made by one of

    - `clipped_ste`: products count as exact, and no gradient flows to a value that was clipped.
      What a multiplier without a gradient does;
    - `ste`: likewise, but the gradient flows through clipping too;
    - `lut_difference`: slopes of the table, from smoothed differences;
    - `custom`: slopes of the user's.

    Attributes:
        clip: whether values that were clipped get no gradient.
        by_activation: how the slope along the activation exceeds the weight's code, as a sum
            of `u[x] v[w]`: a pair of float32 `(256, terms)` and `(terms, 256)`. None for none.
        by_weight: likewise, the slope along the weight less the activation's code.
        types: code types of the slopes; None where there are none.
    """

    clip: bool = True
    by_activation: Pair | None = None
    by_weight: Pair | None = None
    types: tuple[CodeType, CodeType] | None = None

    @classmethod
    def ste(cls) -> Gradient:
        """Straight through rounding and clipping.

        Source: Y. Bengio, N. Leonard, A. Courville, Estimating or Propagating Gradients Through
        Stochastic Neurons for Conditional Computation, 2013 (arXiv:1308.3432).
        """
        return cls(clip=False)

    @classmethod
    def clipped_ste(cls) -> Gradient:
        """Straight through rounding; zero where a value was clipped: (10)."""
        return cls()

    @classmethod
    def lut_difference(
        cls,
        multiplier: Multiplier,
        half_window: int | None = None,
        *,
        tolerance: float = TOLERANCE,
        clip: bool = True,
    ) -> Gradient:
        """Slopes of the table along each operand: differences of a moving average, (12).

        Args:
            multiplier: its table, which must not be traced.
            half_window: the average is taken over so many codes to either side; 0 is the plain
                central difference. By default a sixteenth of the codes (16 of 256), in the
                middle of the values that the source finds best.
            tolerance: root-mean-square error that few terms may leave, relative to the
                root-mean-square slope of the exact product, (13). 0 takes all terms, exact
                but for float32.
            clip: as in `clipped_ste`.
        Raises:
            ValueError: for a half window below 0, or a tolerance below 0 or above 1.

        Source: C. Meng, W. Burleson, W. Qian, G. De Micheli, Gradient Approximation of
        Approximate Multipliers for High-Accuracy Deep Neural Network Retraining, DATE 2025.
        Near the ends, where the window does not fit, the slope is the mean slope over all
        codes: the source divides greatest less least entry by the number of codes, which has
        no sign and serves unsigned codes alone.

        >>> import axjax
        >>> axjax.Gradient.lut_difference(axjax.load("mul8u_exact"))
        Gradient(terms=(0, 0), clip=True)
        """
        if half_window is not None and half_window < 0:
            raise ValueError(
                "Gradient.lut_difference: a half window has 0 or more codes, got half_window="
                f"{half_window}. Pass 0 for differences without smoothing."
            )
        types = (multiplier.activation, multiplier.weight)
        products = _by_value(multiplier.products(), types).astype(np.float64)
        by_pattern = np.ix_(*map(_order, types))
        by_activation = _slopes(products, half_window)[by_pattern]
        by_weight = _slopes(products.T, half_window).T[by_pattern]
        pairs = _pairs("Gradient.lut_difference", types, (by_activation, by_weight), tolerance)
        return cls(clip, *pairs, types)

    @classmethod
    def custom(
        cls,
        multiplier: Multiplier,
        by_activation: Any,
        by_weight: Any,
        *,
        tolerance: float = TOLERANCE,
        clip: bool = True,
    ) -> Gradient:
        """Slopes that the caller gives, in the unit of a product of codes.

        Args:
            multiplier: whose slopes they are; only its code types matter.
            by_activation: real, laid out as `Multiplier.products()`: slope along the
                activation. That of the exact product is the weight's code.
            by_weight: slope along the weight; of the exact product, the activation's code.
            tolerance, clip: as in `lut_difference`.
        Raises:
            ValueError: for slopes of another shape, or not finite, or a tolerance below 0 or
                above 1.

        >>> import axjax, numpy as np
        >>> mul = axjax.load("mul8u_trunc4")
        >>> x, w = np.meshgrid(mul.activation.values(), mul.weight.values(), indexing="ij")
        >>> axjax.Gradient.custom(mul, w & ~15, x)  # the low bits of a weight have no slope
        Gradient(terms=(1, 0), clip=True)
        """
        types = (multiplier.activation, multiplier.weight)
        expected = (1 << types[0].bits, 1 << types[1].bits)
        given = []
        for name, slopes in (("by_activation", by_activation), ("by_weight", by_weight)):
            slopes = np.asarray(slopes, np.float64)
            if slopes.shape != expected or not np.isfinite(slopes).all():
                raise ValueError(
                    f"Gradient.custom: slopes are finite numbers of shape {expected}, one for "
                    f"each product, got {name} of shape {slopes.shape}"
                    f"{'' if np.isfinite(slopes).all() else ' that is not finite'}. "
                    "Lay them out as Multiplier.products()."
                )
            given.append(slopes)
        pairs = _pairs("Gradient.custom", types, (given[0], given[1]), tolerance)
        return cls(clip, *pairs, types)

    @property
    def terms(self) -> tuple[int, int]:
        """Real convolutions that each backward pass takes beyond that of the exact product:
        for the activations, for the weights."""
        of_activation, of_weight = (
            0 if pair is None else pair[1].shape[-2]
            for pair in (self.by_activation, self.by_weight)
        )
        return of_activation, of_weight

    def slopes(self, multiplier: Multiplier) -> tuple[np.ndarray, np.ndarray]:
        """Slopes along the activation and along the weight, as the backward pass takes them.

        Args:
            multiplier: of the same code types.
        Returns:
            Two float64 arrays, laid out as `Multiplier.products()`.
        """
        types = (multiplier.activation, multiplier.weight)
        rows, columns = (1 << code_type.bits for code_type in types)
        found = []
        pairs = (self.by_activation, self.by_weight)
        for exact, pair in zip(_exact_slopes(types), pairs, strict=True):
            if pair is not None:
                u, v = (np.asarray(side, np.float64) for side in pair)
                exact = exact + (u @ v)[:rows, :columns]
            found.append(exact)
        return found[0], found[1]

    def __repr__(self) -> str:
        return f"Gradient(terms={self.terms}, clip={self.clip})"


def alike_gradients(gradients: Sequence[Gradient | None]) -> list[Gradient]:
    """The same gradients with equal room for terms: what is added is zero.

    Raises:
        ValueError: if some are clipped and some are not.
    """
    given = [Gradient() if g is None else g for g in gradients]
    if len({g.clip for g in given}) > 1:
        raise ValueError(
            "alike: gradients of one kind are all clipped or none is, got clip=True and "
            "clip=False. Make them with the same clip."
        )
    types = next((g.types for g in given if g.types is not None), None)
    if types is None:
        return given
    room = [max(terms) for terms in zip(*(g.terms for g in given), strict=True)]
    return [
        Gradient(
            g.clip,
            _with_room(g.by_activation, room[0]),
            _with_room(g.by_weight, room[1]),
            types,
        )
        for g in given
    ]


def _with_room(pair: Pair | None, terms: int) -> Pair:
    if pair is None:
        pair = np.zeros((256, 0), np.float32), np.zeros((0, 256), np.float32)
    u, v = pair
    extra = terms - v.shape[0]
    return np.pad(u, ((0, 0), (0, extra))), np.pad(v, ((0, extra), (0, 0)))


def _exact_slopes(types: tuple[CodeType, CodeType]) -> tuple[np.ndarray, np.ndarray]:
    x, w = np.meshgrid(*(t.values().astype(np.float64) for t in types), indexing="ij")
    return w, x


def _order(code_type: CodeType) -> np.ndarray:
    """The place of each bit pattern among the codes, from least to greatest."""
    return np.argsort(np.argsort(code_type.values()))


def _by_value(products: np.ndarray, types: tuple[CodeType, CodeType]) -> np.ndarray:
    return products[np.ix_(*(np.argsort(t.values()) for t in types))]


def _slopes(products: np.ndarray, half_window: int | None) -> np.ndarray:
    """Slopes along the first axis, codes from least to greatest: (12)."""
    codes = len(products)
    half = codes // 16 if half_window is None else half_window
    slopes = np.empty_like(products)
    slopes[:] = (products[-1] - products[0]) / (codes - 1)
    inner = codes - 2 * (half + 1)
    if inner > 0:
        window = 2 * half + 1
        sums = np.concatenate([np.zeros_like(products[:1]), products.cumsum(0)])
        averages = (sums[window:] - sums[:-window]) / window
        slopes[half + 1 : half + 1 + inner] = (averages[2:] - averages[:-2]) / 2
    return slopes


def _pairs(
    function: str,
    types: tuple[CodeType, CodeType],
    slopes: tuple[np.ndarray, np.ndarray],
    tolerance: float,
) -> tuple[Pair, Pair]:
    if not 0 <= tolerance <= 1:
        raise ValueError(
            f"{function}: a tolerance is a share from 0 to 1, got tolerance={tolerance}. "
            "Pass 0 for all terms."
        )
    exact = _exact_slopes(types)
    return (
        _factored(slopes[0], exact[0], types, tolerance),
        _factored(slopes[1], exact[1], types, tolerance),
    )


def _factored(
    slopes: np.ndarray,
    exact: np.ndarray,
    types: tuple[CodeType, CodeType],
    tolerance: float,
) -> Pair:
    """Slopes less those of the exact product, in as few terms as the tolerance lets: (13)."""
    u, sizes, v = np.linalg.svd(slopes - exact, full_matrices=False)
    left = np.sqrt((sizes[::-1] ** 2).cumsum()[::-1])  # Frobenius norm that so many terms leave
    # Beyond float32's own rounding there is nothing to keep.
    limit = max(tolerance, 1e-7) * np.sqrt((exact**2).sum())
    terms = int((left > limit).sum())
    weights = np.sqrt(sizes[:terms])
    rows, columns = (t.patterns_of_bytes() for t in types)
    return (
        (u[:, :terms] * weights)[rows].astype(np.float32),
        (weights[:, None] * v[:terms])[:, columns].astype(np.float32),
    )
