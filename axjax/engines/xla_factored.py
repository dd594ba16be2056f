# SPDX-License-Identifier: Apache-2.0
"""Engine `xla_factored`: the factored table as matrix products in plain JAX. No native code.

Eq. (2) of docs/factorization.md, four terms at a time, as many times as the table has them. A
step of a scan expands the codes of one kernel tap and some channels to these terms, and
multiplies matrices. Two representations of terms are exact:

- int8 with int32 sums, where XLA's int8 matrix products are fast: on TPUs.
- float32 at the highest precision, elsewhere. Terms are at most 128 in magnitude, products of
  two at most 2**14, so that sums of 1024 of them stay within 2**24, up to which float32 holds
  every integer and adds without rounding, in any order. A step has no more; steps are added
  in int32.

Memory: the padded input, two copies of the output, and an expanded step of up to 64 MB, or of
one channel if that is more.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

from axjax._by_platform import by_platform
from axjax._geometry import SPATIAL, ConvGeometry
from axjax.engines._taps import Taps
from axjax.factorization import WORD, PackedFactors

EXACT_PRODUCTS = 2**24 // 2**14
"""So many products of two int8 terms add up exactly in float32."""

_STEP_BYTES = 1 << 26


def lut_conv(
    lhs: jax.Array,
    rhs: jax.Array,
    factors: PackedFactors,
    pad_code: jax.Array,
    geometry: ConvGeometry,
) -> jax.Array:
    """As `axjax._reference.lut_conv`, with the table's factors in its place."""
    as_int8, as_float32 = (
        functools.partial(lut_conv_by, geometry=geometry, dtype=dtype)
        for dtype in (jnp.int8, jnp.float32)
    )
    return by_platform(lhs, rhs, factors, pad_code, tpu=as_int8, default=as_float32)


def lut_conv_by(
    lhs: jax.Array,
    rhs: jax.Array,
    factors: PackedFactors,
    pad_code: jax.Array,
    *,
    geometry: ConvGeometry,
    dtype: type,
) -> jax.Array:
    """As `lut_conv`, with terms of type int8 or float32."""
    taps = Taps(lhs, rhs.shape, pad_code, geometry)
    beta = jnp.asarray(factors.beta)[rhs.astype(jnp.int32)]
    total = taps.zeros()
    for plane in reversed(range(factors.planes)):
        total = _add_plane(total << 8, taps, rhs, factors, plane, dtype)
    return total.reshape(taps.out_shape) + beta.sum(
        (0, 1, 2, 3), dtype=jnp.int32, keepdims=True
    )


def _add_plane(
    total: jax.Array,
    taps: Taps,
    rhs: jax.Array,
    factors: PackedFactors,
    plane: int,
    dtype: type,
) -> jax.Array:
    """Adds `sum over depth and terms of u[x] v[w]`, int32."""

    def add_word(word: jax.Array, total: jax.Array) -> jax.Array:
        u, v = (
            lax.dynamic_slice_in_dim(jnp.asarray(side)[plane], word * WORD, WORD, axis=1)
            for side in (factors.u, factors.v)
        )
        return _add_terms(total, taps, rhs, u.astype(dtype), v.astype(dtype))

    return lax.fori_loop(0, jnp.asarray(factors.words)[plane], add_word, total)


def _add_terms(
    total: jax.Array, taps: Taps, rhs: jax.Array, u: jax.Array, v: jax.Array
) -> jax.Array:
    """Adds `sum over depth and these terms`; `u` and `v` are `(256, WORD)`."""
    channels = min(taps.channels, _channels_of_step(total, taps, u))
    parts = -(-taps.channels // channels)
    window = math.prod(taps.window)
    # The last part begins early enough to be whole; what it has in common with the part
    # before is zero in v.
    starts = [min(p * channels, taps.channels - channels) for p in range(parts)]
    kernel = v[rhs.astype(jnp.int32)].reshape(window, taps.channels, taps.groups, -1, WORD)
    pieces = [kernel[:, start : start + channels] for start in starts]
    overlap = parts * channels - taps.channels
    pieces[-1] = pieces[-1].at[:, :overlap].set(0)
    steps = jnp.stack(pieces, axis=1).reshape(window * parts, *pieces[0].shape[1:])
    tap, part = jnp.divmod(jnp.arange(window * parts, dtype=jnp.int32), parts)
    sums_type = jnp.int32 if u.dtype == jnp.int8 else u.dtype

    def add_products(total: jax.Array, step: tuple[jax.Array, ...]):
        tap, start, weights = step
        codes = taps.codes(tap, start, channels).astype(jnp.int32)
        x = u.at[codes].get(mode="promise_in_bounds")
        sums = jnp.einsum(
            "ndhwgcr,cgor->ndhwgo",
            x,
            weights,
            precision=lax.Precision.HIGHEST,
            preferred_element_type=sums_type,
        )
        return total + sums.astype(jnp.int32), None

    total, _ = lax.scan(add_products, total, (tap, jnp.asarray(starts, jnp.int32)[part], steps))
    return total


def _channels_of_step(total: jax.Array, taps: Taps, u: jax.Array) -> int:
    pixels = math.prod(taps.out_shape[: SPATIAL + 1])
    fit = _STEP_BYTES // max(1, pixels * taps.groups * WORD * u.dtype.itemsize)
    if u.dtype != jnp.int8:
        fit = min(fit, EXACT_PRODUCTS // WORD)
    return max(1, fit)
