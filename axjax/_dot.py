# SPDX-License-Identifier: Apache-2.0
"""dot_general with lax's signature, on approximate hardware."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from axjax._emulated_product import emulated_product
from axjax._geometry import ConvGeometry
from axjax._multiplier import Multiplier
from axjax._operands import operands, result_dtype
from axjax._operation import Operation
from axjax._quantization import Quantization

Axes = tuple[int, ...]


def dot_general(
    lhs: jax.typing.ArrayLike,
    rhs: jax.typing.ArrayLike,
    dimension_numbers: Any,
    precision: Any = None,
    preferred_element_type: Any = None,
    out_sharding: Any = None,
    *,
    multiplier: Multiplier | None,
    quantization: Quantization | None = None,
    engine: str = "auto",
) -> jax.Array:
    """`jax.lax.dot_general` as approximate hardware computes it.

    `lhs` holds the activations, the rows of the table; `rhs` the weights, its columns. For
    the rest see `axjax.conv_general_dilated`.

    Args:
        lhs: real.
        rhs: real. Its output channels are its batch and free dimensions.
        dimension_numbers: as in lax: ((lhs contracting, rhs contracting), (lhs batch, rhs
            batch)).
        precision: of the backward pass's exact products.
        preferred_element_type: dtype of the result.
        out_sharding: as in lax; for the exact products.
        multiplier: the approximate multiplier. None is exactly lax's product.
        quantization: how operands become codes, `Quantization()` by default.
        engine: "auto", or a name from `axjax.ENGINES`.
    Returns:
        The product, laid out as lax does: batch, free dimensions of lhs, then those of rhs.
    Raises:
        As `axjax.conv_general_dilated`.

    >>> import axjax, jax.numpy as jnp
    >>> x, w = jnp.ones((5, 4)), jnp.ones((4, 3))
    >>> mul = axjax.Multiplier.exact(8)
    >>> axjax.dot_general(x, w, (((1,), (0,)), ((), ())), multiplier=mul).shape
    (5, 3)
    """
    if multiplier is None:
        sharding = {} if out_sharding is None else {"out_sharding": out_sharding}
        return lax.dot_general(
            lhs, rhs, dimension_numbers, precision, preferred_element_type, **sharding
        )
    quantization = Quantization() if quantization is None else quantization
    lhs, rhs = operands("dot_general", lhs, rhs, quantization)
    (lhs_contract, rhs_contract), (lhs_batch, rhs_batch) = dimension_numbers
    operation = _Product(
        lhs_contract=_axes(lhs_contract, lhs.ndim),
        rhs_contract=_axes(rhs_contract, rhs.ndim),
        lhs_batch=_axes(lhs_batch, lhs.ndim),
        rhs_batch=_axes(rhs_batch, rhs.ndim),
        precision=tuple(precision) if isinstance(precision, list) else precision,
        out_sharding=out_sharding,
    )
    # lax checks the dimension numbers against the shapes, with messages of its own.
    jax.eval_shape(operation.exact, lhs, rhs)
    dtype = result_dtype("dot_general", lhs, preferred_element_type, quantization)
    return emulated_product(operation, dtype, engine, lhs, rhs, multiplier, quantization)


def _axes(axes: Any, ndim: int) -> Axes:
    return tuple(int(axis) % max(ndim, 1) for axis in axes)


@dataclasses.dataclass(frozen=True)
class _Product(Operation):
    """A matrix product is a convolution of one pixel; its batch dimensions are groups."""

    lhs_contract: Axes
    rhs_contract: Axes
    lhs_batch: Axes
    rhs_batch: Axes
    precision: Any
    out_sharding: Any

    name = "dot_general"

    def exact(self, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
        numbers = ((self.lhs_contract, self.rhs_contract), (self.lhs_batch, self.rhs_batch))
        return dot_general(
            lhs, rhs, numbers, self.precision, out_sharding=self.out_sharding, multiplier=None
        )

    def rhs_channel_axes(self, rhs: jax.Array) -> tuple[int, ...]:
        return (*self.rhs_batch, *self._rhs_free(rhs.ndim))

    def geometry(self, lhs_shape: tuple[int, ...], rhs_shape: tuple[int, ...]) -> ConvGeometry:
        groups = math.prod(lhs_shape[axis] for axis in self.lhs_batch)
        return ConvGeometry(feature_group_count=max(1, groups))

    def canonical_lhs(self, lhs: jax.Array) -> jax.Array:
        free = self._lhs_free(lhs.ndim)
        rows = math.prod(lhs.shape[axis] for axis in free)
        lhs = jnp.transpose(lhs, (*free, *self.lhs_batch, *self.lhs_contract))
        return lhs.reshape(rows, 1, 1, 1, math.prod(lhs.shape[len(free) :]))

    def canonical_rhs(self, rhs: jax.Array) -> jax.Array:
        depth = math.prod(rhs.shape[axis] for axis in self.rhs_contract)
        order = (*self.rhs_contract, *self.rhs_batch, *self._rhs_free(rhs.ndim))
        rhs = jnp.transpose(rhs, order)
        return rhs.reshape(1, 1, 1, depth, math.prod(rhs.shape[len(self.rhs_contract) :]))

    def restore(self, out: jax.Array, lhs_shape: Any, rhs_shape: Any) -> jax.Array:
        lhs_free = [lhs_shape[axis] for axis in self._lhs_free(len(lhs_shape))]
        rhs_free = [rhs_shape[axis] for axis in self._rhs_free(len(rhs_shape))]
        batch = [lhs_shape[axis] for axis in self.lhs_batch]
        out = out.reshape(*lhs_free, *batch, *rhs_free)
        first = len(lhs_free)
        return jnp.moveaxis(out, range(first, first + len(batch)), range(len(batch)))

    def _lhs_free(self, ndim: int) -> Axes:
        taken = {*self.lhs_contract, *self.lhs_batch}
        return tuple(axis for axis in range(ndim) if axis not in taken)

    def _rhs_free(self, ndim: int) -> Axes:
        taken = {*self.rhs_contract, *self.rhs_batch}
        return tuple(axis for axis in range(ndim) if axis not in taken)
