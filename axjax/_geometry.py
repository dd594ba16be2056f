# SPDX-License-Identifier: Apache-2.0
"""ConvGeometry: one grouped convolution in the canonical form that every engine takes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import jax

SPATIAL = 3
"""Spatial dimensions of the canonical form. Fewer get sizes of one in front."""

Triple = tuple[int, int, int]
Padding = str | Sequence[tuple[int, int]]


@dataclasses.dataclass(frozen=True)
class ConvGeometry:
    """Strides, padding, dilation and groups over three spatial dimensions.

    Engines take `lhs (N, D, H, W, C)` and `rhs (KD, KH, KW, C / groups, O)` and return
    `(N, D', H', W', O)`. A matrix product is the case where all spatial sizes are one.

    Attributes:
        window_strides: at least 1 each.
        padding_low: codes put in front of each dimension; negative values crop.
        padding_high: codes put behind each dimension; negative values crop.
        lhs_dilation: distance of neighbouring input codes after dilation, at least 1. The
            holes, like padding, are real zeros: they carry the pad code.
        rhs_dilation: distance of neighbouring kernel taps, at least 1. No product is taken
            in between.
        feature_group_count: groups of channels that are convolved apart.
    """

    window_strides: Triple = (1, 1, 1)
    padding_low: Triple = (0, 0, 0)
    padding_high: Triple = (0, 0, 0)
    lhs_dilation: Triple = (1, 1, 1)
    rhs_dilation: Triple = (1, 1, 1)
    feature_group_count: int = 1

    def padded_size(self, lhs_shape: Sequence[int]) -> Triple:
        """Spatial sizes after dilation and padding."""
        return tuple(  # type: ignore[return-value]
            max(0, low + (max(0, (size - 1) * dilation + 1) if size else 0) + high)
            for size, low, high, dilation in zip(
                lhs_shape[1:-1],
                self.padding_low,
                self.padding_high,
                self.lhs_dilation,
                strict=True,
            )
        )

    def window_size(self, rhs_shape: Sequence[int]) -> Triple:
        """Spatial sizes of the dilated kernel."""
        return tuple(  # type: ignore[return-value]
            (size - 1) * dilation + 1 if size else 0
            for size, dilation in zip(rhs_shape[:SPATIAL], self.rhs_dilation, strict=True)
        )

    def output_shape(
        self, lhs_shape: Sequence[int], rhs_shape: Sequence[int]
    ) -> tuple[int, ...]:
        """`(N, D', H', W', O)`."""
        spatial = (
            max(0, (padded - window) // stride + 1)
            for padded, window, stride in zip(
                self.padded_size(lhs_shape),
                self.window_size(rhs_shape),
                self.window_strides,
                strict=True,
            )
        )
        return (lhs_shape[0], *spatial, rhs_shape[-1])

    def without_padding(self) -> ConvGeometry:
        """The geometry for an input that is dilated and padded already."""
        return dataclasses.replace(
            self, padding_low=(0, 0, 0), padding_high=(0, 0, 0), lhs_dilation=(1, 1, 1)
        )

    def padding_config(self) -> list[tuple[int, int, int]]:
        """The argument of `lax.pad` that dilates and pads a canonical input."""
        spatial = zip(self.padding_low, self.padding_high, self.lhs_dilation, strict=True)
        return [(0, 0, 0), *((low, high, d - 1) for low, high, d in spatial), (0, 0, 0)]


def depth(rhs_shape: Sequence[int]) -> int:
    """Products per output: kernel taps times input channels of a group (K)."""
    return math.prod(rhs_shape[:-1])


def canonical_geometry(
    function: str,
    lhs_shape: Sequence[int],
    rhs_shape: Sequence[int],
    *,
    window_strides: Sequence[int] | int = 1,
    padding: Padding = "VALID",
    lhs_dilation: Sequence[int] | int | None = None,
    rhs_dilation: Sequence[int] | int | None = None,
    feature_group_count: int = 1,
) -> ConvGeometry:
    """Checks a convolution of channels-last operands and gives its canonical geometry.

    Args:
        function: name of the public function, for error messages.
        lhs_shape: `(N, *spatial, C)` with up to three spatial dimensions.
        rhs_shape: `(*window, C / groups, O)`.
        window_strides, padding, lhs_dilation, rhs_dilation, feature_group_count: as in
            `jax.lax.conv_general_dilated`.
    Raises:
        ValueError: for a combination that is no convolution.
    """
    spatial = len(rhs_shape) - 2
    if not 0 <= spatial <= SPATIAL or len(lhs_shape) != len(rhs_shape):
        raise ValueError(
            f"{function}: input and kernel have one batch or output dimension, one channel "
            f"dimension and 0 to 3 spatial ones, got input shape {tuple(lhs_shape)} and "
            f"kernel shape {tuple(rhs_shape)}. Check their ranks."
        )
    strides = _per_dimension(function, "window_strides", window_strides, spatial)
    lhs_dil = _per_dimension(function, "lhs_dilation", lhs_dilation, spatial)
    rhs_dil = _per_dimension(function, "rhs_dilation", rhs_dilation, spatial)
    _check_channels(function, lhs_shape, rhs_shape, feature_group_count)
    if isinstance(padding, str):
        window = [(k - 1) * d + 1 for k, d in zip(rhs_shape, rhs_dil, strict=False)]
        try:
            padding = jax.lax.padtype_to_pads(
                list(lhs_shape[1:-1]), window, strides, padding.upper()
            )
        except (RuntimeError, ValueError) as error:
            raise ValueError(
                f"{function}: padding is 'SAME', 'SAME_LOWER', 'VALID' or a pair for each "
                f"spatial dimension, got padding={padding!r}. Pass one of these."
            ) from error
    pairs = [tuple(int(p) for p in pair) for pair in padding]
    if len(pairs) != spatial or any(len(pair) != 2 for pair in pairs):
        raise ValueError(
            f"{function}: padding has a (low, high) pair for each spatial dimension, got "
            f"padding={padding!r} for {spatial} of them. Pass {spatial} pairs."
        )
    front = SPATIAL - spatial

    def full(values: Sequence[int], fill: int) -> Triple:
        return (*(fill,) * front, *values)  # type: ignore[return-value]

    return ConvGeometry(
        window_strides=full(strides, 1),
        padding_low=full([low for low, _ in pairs], 0),
        padding_high=full([high for _, high in pairs], 0),
        lhs_dilation=full(lhs_dil, 1),
        rhs_dilation=full(rhs_dil, 1),
        feature_group_count=int(feature_group_count),
    )


def canonical_lhs_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """`(N, *spatial, C)` with ones put in front of the spatial dimensions."""
    ones = (1,) * (SPATIAL + 2 - len(shape))
    return (shape[0], *ones, *shape[1:])


def canonical_rhs_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """`(*window, I, O)` with ones put in front."""
    return (*(1,) * (SPATIAL + 2 - len(shape)), *shape)


def _per_dimension(
    function: str, name: str, value: Sequence[int] | int | None, spatial: int
) -> tuple[int, ...]:
    if value is None:
        value = 1
    values = (int(value),) * spatial if isinstance(value, int) else tuple(int(v) for v in value)
    if len(values) != spatial or any(v < 1 for v in values):
        raise ValueError(
            f"{function}: {name} has a positive integer for each spatial dimension, got "
            f"{name}={value!r} for {spatial} of them. Pass {spatial} integers of 1 or more."
        )
    return values


def _check_channels(
    function: str, lhs_shape: Sequence[int], rhs_shape: Sequence[int], groups: int
) -> None:
    shapes = f"kernel {tuple(rhs_shape)} and input {tuple(lhs_shape)} (channels last)"
    if groups < 1:
        raise ValueError(
            f"{function}: feature_group_count is 1 or more, got feature_group_count={groups}. "
            "Pass 1 for an ordinary convolution, the number of channels for a depthwise one."
        )
    if rhs_shape[-2] * groups != lhs_shape[-1]:
        raise ValueError(
            f"{function}: kernel input channels times feature_group_count equal the input "
            f"channels, got {rhs_shape[-2]} * {groups} != {lhs_shape[-1]} for {shapes}. "
            "Change feature_group_count or check the layouts."
        )
    if rhs_shape[-1] % groups:
        raise ValueError(
            f"{function}: feature_group_count divides the output channels, got "
            f"{rhs_shape[-1]} output channels and feature_group_count={groups} for {shapes}. "
            "Change the number of output channels."
        )
