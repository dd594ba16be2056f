# SPDX-License-Identifier: Apache-2.0
"""Quantise, sum table entries, correct, scale."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from axjax._backward import backward
from axjax._code_counts import counting, record
from axjax._code_type import CodeType
from axjax._geometry import SPATIAL, ConvGeometry, depth
from axjax._lut_conv import sum_products
from axjax._manual_axes import vary_together
from axjax._multiplier import Multiplier
from axjax._operation import Operation
from axjax._quantization import Quantization, QuantizationParameters


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
    terms = [sums, *_zero_point_terms(operation, x, w, lhs_codes, rhs_codes, geometry)]
    if jnp.issubdtype(dtype, jnp.integer):
        out = sum(terms[1:], start=sums).astype(dtype)
    else:
        scale = jnp.reshape(x.real_scale, ()) * _per_output(operation, w.real_scale)
        out = (_sum_to_float(terms) * scale).astype(dtype)
    return operation.restore(out, lhs.shape, rhs.shape)


def _codes(operation, lhs, rhs, multiplier, quantization):
    """Parameters of both operands, and their codes in canonical layout."""
    x, w = operation.parameters(lhs, rhs, multiplier, quantization)
    lhs_codes = operation.canonical_lhs(_as_bytes(x.quantize(lhs), multiplier.activation))
    rhs_codes = operation.canonical_rhs(_as_bytes(w.quantize(rhs), multiplier.weight))
    return x, w, lhs_codes, rhs_codes


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


def _as_bytes(codes: jax.Array, code_type: CodeType) -> jax.Array:
    return codes.astype(jnp.int8 if code_type.signed else jnp.uint8)


def _per_output(operation: Operation, values: jax.Array | int) -> jax.Array:
    """A scalar, or numbers for each output channel, as they broadcast against the sums."""
    values = jnp.asarray(values)
    return values.reshape(()) if values.size == 1 else operation.canonical_rhs(values)


def _zero_point_terms(
    operation: Operation,
    x: QuantizationParameters,
    w: QuantizationParameters,
    lhs_codes: jax.Array,
    rhs_codes: jax.Array,
    geometry: ConvGeometry,
) -> list[jax.Array]:
    """The exact corrections of (6): `-z_w sum x`, `-z_x sum w` and `K z_x z_w`.

    Each fits int32 wherever the sum of products does; their sum with it may not.
    """
    terms = []
    w_zero = _per_output(operation, w.zero_point)
    x_zero = jnp.reshape(x.zero_point, ())
    if not _is_zero(w.zero_point):
        sums = _window_sums(lhs_codes, x_zero, rhs_codes.shape, geometry)
        terms.append(-w_zero * sums)
    if not _is_zero(x.zero_point):
        sums = rhs_codes.sum((0, 1, 2, 3), dtype=jnp.int32, keepdims=True)
        terms.append(-x_zero * sums)
    if len(terms) == 2:
        terms.append(depth(rhs_codes.shape) * x_zero * w_zero)
    return terms


def _is_zero(zero_point: jax.Array | int) -> bool:
    return isinstance(zero_point, int) and zero_point == 0


def _window_sums(
    codes: jax.Array, pad_code: jax.Array, rhs_shape: tuple[int, ...], geometry: ConvGeometry
) -> jax.Array:
    """Sum of the codes that each output reads: int32 `(N, D', H', W', O)`.

    A reduction over windows pads with nothing, so that it adds how far codes are from the pad
    code. XLA fuses it with nothing: each sum is computed once and not for every channel.
    """
    groups = geometry.feature_group_count
    shape = geometry.output_shape(codes.shape, rhs_shape)
    if 0 in (*shape, *rhs_shape):
        return jnp.zeros(shape, jnp.int32)
    pad_code = pad_code.astype(jnp.int32)
    per_group = codes.reshape(*codes.shape[:-1], groups, rhs_shape[-2])
    sums = per_group.sum(-1, dtype=jnp.int32) - pad_code * rhs_shape[-2]
    sums = lax.reduce_window(
        sums,
        np.int32(0),
        lax.add,
        (1, *rhs_shape[:SPATIAL], 1),
        (1, *geometry.window_strides, 1),
        ((0, 0), *zip(geometry.padding_low, geometry.padding_high, strict=True), (0, 0)),
        (1, *geometry.lhs_dilation, 1),
        (1, *geometry.rhs_dilation, 1),
    )
    sums += pad_code * depth(rhs_shape)
    return jnp.repeat(sums, rhs_shape[-1] // groups, axis=-1)


def _sum_to_float(terms: list[jax.Array]) -> jax.Array:
    """The sum of int32 arrays as the nearest float32, also where it leaves int32.

    High and low halves are summed apart. Both sums, and the high one times 2**16, are exact
    in float32 for up to 128 terms, so that the last addition alone rounds.
    """
    if len(terms) == 1:
        return terms[0].astype(jnp.float32)
    high = sum((t >> 16 for t in terms[1:]), start=terms[0] >> 16)
    low = sum((t & 0xFFFF for t in terms[1:]), start=terms[0] & 0xFFFF)
    return high.astype(jnp.float32) * 65536.0 + low.astype(jnp.float32)
