# SPDX-License-Identifier: Apache-2.0
"""Quantise, sum table entries, correct, scale."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from axjax._backward import backward
from axjax._code_counts import counting, record
from axjax._codes import quantized
from axjax._lut_conv import sum_products
from axjax._manual_axes import vary_together
from axjax._multiplier import Multiplier
from axjax._operation import Operation
from axjax._quantization import Quantization
from axjax._zero_points import ZeroPoints


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _emulated_product(
    operation: Operation,
    dtype: Any,
    engine: str,
    lhs: jax.Array,
    rhs: jax.Array,
    multiplier: Multiplier,
    quantization: Quantization,
) -> jax.Array:
    x, w, lhs_codes, rhs_codes = _codes(operation, lhs, rhs, multiplier, quantization)
    geometry = operation.geometry(lhs.shape, rhs.shape)
    sums = sum_products(
        operation.name,
        lhs_codes,
        rhs_codes,
        multiplier,
        geometry,
        pad_code=jnp.reshape(x.zero_point, ()),
        engine=engine,
    )
    types = multiplier.activation, multiplier.weight
    present = not _is_zero(x.zero_point), not _is_zero(w.zero_point)
    zero_points = ZeroPoints(types, present, geometry)
    zeros = (jnp.asarray(side.zero_point, jnp.int32) for side in (x, w))
    x_zero, w_zero = (_per_output(operation, zero) for zero in zeros)
    codes = lhs_codes, rhs_codes, x_zero, w_zero.reshape(-1)
    if jnp.issubdtype(dtype, jnp.integer):
        out = sum(zero_points.terms(*codes), start=sums).astype(dtype)
    else:
        scale = jnp.reshape(x.real_scale, ()) * _per_output(operation, w.real_scale)
        out = (zero_points.corrected(sums, *codes) * scale).astype(dtype)
    return operation.restore(out, lhs.shape, rhs.shape)


def _codes(operation, lhs, rhs, multiplier, quantization):
    """Parameters of both operands, and their codes as bytes in canonical layout."""
    lhs_codes, x = quantized(lhs, quantization.lhs, multiplier.activation, ())
    channels = operation.rhs_channel_axes(rhs)
    rhs_codes, w = quantized(rhs, quantization.rhs, multiplier.weight, channels)
    return x, w, operation.canonical_lhs(lhs_codes), operation.canonical_rhs(rhs_codes)


def _forward(operation, dtype, engine, lhs, rhs, multiplier, quantization):
    out = _emulated_product(operation, dtype, engine, lhs, rhs, multiplier, quantization)
    return out, (lhs, rhs, multiplier, quantization)


def _backward(operation, dtype, engine, residuals, cotangent):
    """(10) of docs/arithmetic.md, as the multiplier's `gradient` has it."""
    lhs, rhs, multiplier, quantization = residuals
    none = jax.tree.map(_no_gradient, (multiplier, quantization))
    found = backward(operation, dtype, lhs, rhs, multiplier, quantization, cotangent)
    return *found, *none


_emulated_product.defvjp(_forward, _backward)

_compiled = jax.jit(_emulated_product, static_argnums=(0, 1, 2))


def emulated_product(
    operation: Operation,
    dtype: Any,
    engine: str,
    lhs: jax.Array,
    rhs: jax.Array,
    multiplier: Multiplier,
    quantization: Quantization,
) -> jax.Array:
    """The operation as the approximate hardware computes it: (6) of docs/arithmetic.md.

    Compiled as one program, also where the caller does not compile.

    Args:
        operation: what to compute.
        dtype: of the result. For an integer dtype both scales must be fixed at one.
        engine: for the sums of table entries.
        lhs: activations, real.
        rhs: kernel, real.
        multiplier: the table.
        quantization: how operands become codes.
    """
    operands = jax.tree.map(jnp.asarray, (lhs, rhs, multiplier, quantization))
    if counting():
        _count(operation, *operands)
    return _compiled(operation, dtype, engine, *vary_together(operands))


def _count(operation, lhs, rhs, multiplier, quantization):
    """Counts the codes that `_emulated_product` makes of the same operands."""
    lhs_codes, rhs_codes, pad_code = _codes_to_count(
        operation, lhs, rhs, multiplier, quantization
    )
    geometry = operation.geometry(lhs.shape, rhs.shape)
    kinds = (multiplier.activation, multiplier.weight)
    record(operation.name, *kinds, lhs_codes, rhs_codes, pad_code, geometry)


@functools.partial(jax.jit, static_argnums=0)
def _codes_to_count(operation, lhs, rhs, multiplier, quantization):
    x, _, lhs_codes, rhs_codes = _codes(operation, lhs, rhs, multiplier, quantization)
    return lhs_codes, rhs_codes, jnp.reshape(jnp.asarray(x.zero_point), ())


def _no_gradient(leaf: jax.Array) -> Any:
    leaf = jnp.asarray(leaf)
    if jnp.issubdtype(leaf.dtype, jnp.inexact):
        return jnp.zeros_like(leaf)
    return np.zeros(leaf.shape, jax.dtypes.float0)


def _is_zero(zero_point: jax.Array | int) -> bool:
    return isinstance(zero_point, int) and zero_point == 0


def _per_output(operation: Operation, values: jax.Array) -> jax.Array:
    """A scalar, or numbers for each output channel, as they broadcast against the sums."""
    return values.reshape(()) if values.size == 1 else operation.canonical_rhs(values)
