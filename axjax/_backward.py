# SPDX-License-Identifier: Apache-2.0
"""The backward pass: straight through, and what the slopes of a table add.

Slopes are those of the exact product plus terms `u[x] v[w]`, (13) of docs/arithmetic.md. A term
turns the sum over products into an exact operation on reals, which JAX transposes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from axjax._codes import quantized, quantized_and_back
from axjax._gradient import Gradient
from axjax._multiplier import Multiplier
from axjax._operation import Operation
from axjax._quantization import Quantization

_TOGETHER = 8  # terms, and values that they may take up: 256 MB
_TOGETHER_VALUES = 1 << 26


def backward(
    operation: Operation,
    dtype: Any,
    lhs: jax.Array,
    rhs: jax.Array,
    multiplier: Multiplier,
    quantization: Quantization,
    cotangent: jax.Array,
) -> tuple[Any, Any]:
    """Cotangents of both operands, from that of the result, which has this dtype."""
    gradient = Gradient() if multiplier.gradient is None else multiplier.gradient
    sides = (
        (lhs, quantization.lhs, multiplier.activation, ()),
        (rhs, quantization.rhs, multiplier.weight, operation.rhs_channel_axes(rhs)),
    )

    def exact(lhs: jax.Array, rhs: jax.Array) -> jax.Array:
        return operation.exact(lhs, rhs).astype(dtype)

    (rounded_lhs, lhs_inside), (rounded_rhs, rhs_inside) = (
        quantized_and_back(*side) for side in sides
    )

    def unless_clipped(cotangent: Any, inside: jax.Array) -> Any:
        if not gradient.clip or cotangent.dtype == jax.dtypes.float0:
            return cotangent
        return jnp.where(inside, cotangent, 0)

    _, vjp = jax.vjp(exact, rounded_lhs, rounded_rhs)
    cotangents = vjp(cotangent)
    lhs_cotangent = unless_clipped(cotangents[0], lhs_inside)
    rhs_cotangent = unless_clipped(cotangents[1], rhs_inside)
    if not any(gradient.terms):
        return lhs_cotangent, rhs_cotangent

    (x_bytes, x), (w_bytes, w) = (quantized(*side) for side in sides)

    if gradient.terms[0] and jnp.issubdtype(lhs.dtype, jnp.inexact):

        def of_activations(u: jax.Array, v: jax.Array) -> jax.Array:
            kernel = (w.real_scale * v[w_bytes]).astype(rhs.dtype)
            _, vjp = jax.vjp(lambda lhs: exact(lhs, kernel), lhs)
            return u[x_bytes] * vjp(cotangent)[0].astype(jnp.float32)

        added = _sum_of_terms(of_activations, gradient.by_activation)
        lhs_cotangent += unless_clipped(added, lhs_inside).astype(lhs.dtype)

    if gradient.terms[1] and jnp.issubdtype(rhs.dtype, jnp.inexact):
        u, v = map(jnp.asarray, gradient.by_weight)  # type: ignore[arg-type]
        zero = jnp.reshape(x.zero_point, ()) & 0xFF
        scale = jnp.reshape(x.real_scale, ())

        # A padded pixel is no zero here: it has the slope of its code. JAX's operation pads
        # with zeros, so the slope of that code is taken from all pixels, and added for all.
        def of_weights(u: jax.Array, v: jax.Array) -> jax.Array:
            pixels = (scale * (u[x_bytes] - u[zero])).astype(lhs.dtype)
            _, vjp = jax.vjp(lambda rhs: exact(pixels, rhs), rhs)
            return v[w_bytes] * vjp(cotangent)[0].astype(jnp.float32)

        added = _sum_of_terms(of_weights, (u, v))
        at_zero = jnp.einsum("r,rw->w", u[zero], v, precision="highest")
        added += scale * at_zero[w_bytes] * _channel_sums(operation, lhs, rhs, cotangent)
        rhs_cotangent += unless_clipped(added, rhs_inside).astype(rhs.dtype)
    return lhs_cotangent, rhs_cotangent


def _sum_of_terms(term: Callable[[jax.Array, jax.Array], jax.Array], pair: Any) -> jax.Array:
    """The sum of `term(u, v)` over the terms of a pair.

    Several at a time, as one larger operation, and not in a loop of the program: inside one,
    XLA's convolutions are 10 to 30 times slower on CPUs.
    """
    u, v = (jnp.asarray(side) for side in pair)
    size = math.prod(jax.eval_shape(term, u[:, 0], v[0]).shape)
    together = max(1, min(_TOGETHER, _TOGETHER_VALUES // max(1, size)))
    return sum(
        jax.vmap(term)(u.T[first : first + together], v[first : first + together]).sum(0)
        for first in range(0, len(v), together)
    )  # type: ignore[return-value]


def _channel_sums(
    operation: Operation, lhs: jax.Array, rhs: jax.Array, cotangent: jax.Array
) -> jax.Array:
    """The sum of the cotangent over each output channel, for each weight that it meets."""
    kernel, to_rhs = jax.vjp(operation.canonical_rhs, rhs)
    geometry = operation.geometry(lhs.shape, rhs.shape)
    lhs_shape = jax.eval_shape(operation.canonical_lhs, lhs).shape
    shape = geometry.output_shape(lhs_shape, kernel.shape)

    def spread(biases: jax.Array) -> jax.Array:
        out = jnp.broadcast_to(biases, shape)
        return operation.restore(out, lhs.shape, rhs.shape)

    biases = jnp.zeros_like(kernel[:1, :1, :1, :1], cotangent.dtype)
    _, vjp = jax.vjp(spread, biases)
    return to_rhs(jnp.broadcast_to(vjp(cotangent)[0], kernel.shape).astype(rhs.dtype))[
        0
    ].astype(jnp.float32)
