# SPDX-License-Identifier: Apache-2.0
"""conv_general_dilated with lax's signature, on approximate hardware."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from axjax._emulated_product import emulated_product
from axjax._geometry import (
    ConvGeometry,
    Padding,
    canonical_geometry,
    canonical_lhs_shape,
    canonical_rhs_shape,
)
from axjax._multiplier import Multiplier
from axjax._operands import operands, result_dtype
from axjax._operation import Operation
from axjax._quantization import Quantization


def conv_general_dilated(
    lhs: jax.typing.ArrayLike,
    rhs: jax.typing.ArrayLike,
    window_strides: Sequence[int],
    padding: Padding,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
    out_sharding: Any = None,
    *,
    multiplier: Multiplier | None,
    quantization: Quantization | None = None,
    engine: str = "auto",
) -> jax.Array:
    """`jax.lax.conv_general_dilated` as approximate hardware computes it.

    Both operands are quantised, every product is read from the multiplier's table, padded
    pixels (real zeros) included, and sums are exact: (6) of docs/arithmetic.md. The gradient
    is that of the exact convolution of the quantised operands, straight through rounding,
    and zero where a value was clipped.

    Args:
        lhs: activations, real; one to three spatial dimensions, laid out as
            `dimension_numbers` says (NCHW by default, as in lax).
        rhs: kernel, real (OIHW by default).
        window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers,
            feature_group_count, batch_group_count: as in lax.
        precision: of the backward pass's exact convolutions.
        preferred_element_type: dtype of the result; by default that of the operands, int32
            for integers.
        out_sharding: as in lax; for the exact convolutions.
        multiplier: the approximate multiplier. None is exactly lax's convolution.
        quantization: how operands become codes, `Quantization()` by default.
        engine: "auto", or a name from `axjax.ENGINES`.
    Returns:
        The convolution, in the operands' dtype. NaN where an operand or its range is not
        finite, except that `GivenRange` and `FixedScale` saturate infinities.
    Raises:
        TypeError: for operands that are neither floating point nor, with
            `Quantization.unit()`, integers.
        ValueError: for shapes that make no convolution, or sums that could leave int32.
        RuntimeError: for an engine that cannot run here.

    >>> import axjax, jax.numpy as jnp
    >>> x, w = jnp.ones((1, 8, 8, 3)), jnp.ones((3, 3, 3, 16))
    >>> mul = axjax.Multiplier.exact(8)
    >>> y = axjax.conv_general_dilated(
    ...     x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), multiplier=mul)
    >>> y.shape, round(float(y[0, 4, 4, 0]), 4)
    ((1, 8, 8, 16), 27.0)
    """
    if multiplier is None:
        sharding = {} if out_sharding is None else {"out_sharding": out_sharding}
        return lax.conv_general_dilated(
            lhs,  # type: ignore[arg-type]  # lax takes what it does not declare
            rhs,  # type: ignore[arg-type]
            window_strides,
            padding,
            lhs_dilation,
            rhs_dilation,
            dimension_numbers,
            feature_group_count,
            batch_group_count,
            precision,
            preferred_element_type,
            **sharding,
        )
    quantization = Quantization() if quantization is None else quantization
    lhs, rhs = operands("conv_general_dilated", lhs, rhs, quantization)
    numbers = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    operation = _Convolution(
        window_strides=_static(window_strides),
        padding=padding if isinstance(padding, str) else tuple(map(_static, padding)),
        lhs_dilation=_static(lhs_dilation),
        rhs_dilation=_static(rhs_dilation),
        dimension_numbers=numbers,
        feature_group_count=int(feature_group_count),
        batch_group_count=int(batch_group_count),
        precision=_hashable_precision(precision),
        out_sharding=out_sharding,
    )
    operation.check(lhs.shape, rhs.shape)
    dtype = result_dtype("conv_general_dilated", lhs, preferred_element_type, quantization)
    return emulated_product(operation, dtype, engine, lhs, rhs, multiplier, quantization)


def _static(values: Sequence[int] | None) -> tuple[int, ...] | None:
    return None if values is None else tuple(int(v) for v in values)


def _hashable_precision(precision: Any) -> Any:
    return tuple(precision) if isinstance(precision, list) else precision


@dataclasses.dataclass(frozen=True)
class _Convolution(Operation):
    """lax's general convolution. Batch groups are feature groups of a regrouped input."""

    window_strides: tuple[int, ...] | None
    padding: str | tuple[tuple[int, ...] | None, ...]
    lhs_dilation: tuple[int, ...] | None
    rhs_dilation: tuple[int, ...] | None
    dimension_numbers: lax.ConvDimensionNumbers
    feature_group_count: int
    batch_group_count: int
    precision: Any
    out_sharding: Any

    name = "conv_general_dilated"

    def check(self, lhs_shape: tuple[int, ...], rhs_shape: tuple[int, ...]) -> None:
        """Raises ValueError for groups that do not divide what they group."""
        batch, features = self.feature_group_count, self.batch_group_count
        if batch > 1 and features > 1:
            raise ValueError(
                "conv_general_dilated: at most one of feature_group_count and "
                f"batch_group_count exceeds 1, got {batch} and {features}. Pass 1 for one."
            )
        images = lhs_shape[self.dimension_numbers.lhs_spec[0]]
        if self.batch_group_count < 1 or images % self.batch_group_count:
            raise ValueError(
                "conv_general_dilated: batch_group_count divides the batch, got "
                f"batch_group_count={self.batch_group_count} for input {lhs_shape}. "
                "Change the batch size."
            )
        self.geometry(lhs_shape, rhs_shape)

    def exact(self, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
        return conv_general_dilated(
            lhs,
            rhs,
            self.window_strides,  # type: ignore[arg-type]
            self.padding,  # type: ignore[arg-type]
            self.lhs_dilation,
            self.rhs_dilation,
            self.dimension_numbers,
            self.feature_group_count,
            self.batch_group_count,
            self.precision,
            out_sharding=self.out_sharding,
            multiplier=None,
        )

    def rhs_channel_axes(self, rhs: jax.Array) -> tuple[int, ...]:
        return (self.dimension_numbers.rhs_spec[0],)

    def geometry(self, lhs_shape: tuple[int, ...], rhs_shape: tuple[int, ...]) -> ConvGeometry:
        return canonical_geometry(
            self.name,
            self._channels_last(lhs_shape),
            [rhs_shape[axis] for axis in self._rhs_order()],
            window_strides=1 if self.window_strides is None else self.window_strides,
            padding=self.padding,  # type: ignore[arg-type]
            lhs_dilation=self.lhs_dilation,
            rhs_dilation=self.rhs_dilation,
            feature_group_count=self.feature_group_count * self.batch_group_count,
        )

    def canonical_lhs(self, lhs: jax.Array) -> jax.Array:
        batch, channel, *spatial = self.dimension_numbers.lhs_spec
        lhs = jnp.transpose(lhs, (batch, *spatial, channel))
        if self.batch_group_count > 1:
            groups = self.batch_group_count
            lhs = lhs.reshape(groups, -1, *lhs.shape[1:])
            lhs = jnp.moveaxis(lhs, 0, -2)
            lhs = lhs.reshape(*lhs.shape[:-2], -1)
        return lhs.reshape(canonical_lhs_shape(lhs.shape))

    def canonical_rhs(self, rhs: jax.Array) -> jax.Array:
        rhs = jnp.transpose(rhs, self._rhs_order())
        return rhs.reshape(canonical_rhs_shape(rhs.shape))

    def restore(self, out: jax.Array, lhs_shape: Any, rhs_shape: Any) -> jax.Array:
        batch, channel, *spatial = self.dimension_numbers.out_spec
        kept = out.shape[out.ndim - 1 - len(spatial) : -1]
        out = out.reshape(out.shape[0], *kept, out.shape[-1])
        order = (batch, *spatial, channel)
        return jnp.transpose(out, [order.index(axis) for axis in range(out.ndim)])

    def _channels_last(self, lhs_shape: tuple[int, ...]) -> list[int]:
        batch, channel, *spatial = self.dimension_numbers.lhs_spec
        groups = self.batch_group_count
        sizes = [lhs_shape[axis] for axis in spatial]
        return [lhs_shape[batch] // groups, *sizes, lhs_shape[channel] * groups]

    def _rhs_order(self) -> tuple[int, ...]:
        out, channel, *window = self.dimension_numbers.rhs_spec
        return (*window, channel, out)
