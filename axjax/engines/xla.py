# SPDX-License-Identifier: Apache-2.0
"""Engine `xla`: a gather in plain JAX, for every backend that XLA has. No native code.

One step of a scan adds the products of one depth position to all outputs. XLA fuses the
gather with the addition, so that memory stays at the padded input and two copies of the
output, whatever the depth. (Several positions a step compile slower and, on a CPU, run at
half the speed.)
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from axjax._geometry import ConvGeometry, depth


def lut_conv(
    lhs: jax.Array,
    rhs: jax.Array,
    table: jax.Array,
    pad_code: jax.Array,
    geometry: ConvGeometry,
) -> jax.Array:
    """As `axjax._reference.lut_conv`."""
    groups = geometry.feature_group_count
    shape = geometry.output_shape(lhs.shape, rhs.shape)
    steps = depth(rhs.shape)
    padded = lax.pad(lhs, pad_code, geometry.padding_config())
    x = padded.reshape(*padded.shape[:-1], groups, rhs.shape[-2])
    # A window read at tap k and channel c: every stride-th code from k * dilation on.
    extent = [
        (size - 1) * s + 1 for size, s in zip(shape[1:-1], geometry.window_strides, strict=True)
    ]
    strides = (1, *geometry.window_strides, 1, 1)
    dilation = jnp.asarray(geometry.rhs_dilation, jnp.int32)
    flat_table = table.reshape(-1)
    w = rhs.reshape(steps, 1, 1, 1, 1, groups, -1).astype(jnp.int32)

    def add_products(total: jax.Array, step: tuple[jax.Array, jax.Array]):
        k, weights = step
        *tap, channel = jnp.unravel_index(k, rhs.shape[:-1])
        start = jnp.stack([jnp.int32(0), *(jnp.stack(tap) * dilation), jnp.int32(0), channel])
        codes = lax.dynamic_slice(x, tuple(start), (shape[0], *extent, groups, 1))
        codes = lax.slice(codes, (0,) * codes.ndim, codes.shape, strides)
        index = (codes.astype(jnp.int32) << 8) + weights
        products = flat_table.at[index].get(mode="promise_in_bounds")
        return total + products.astype(jnp.int32), None

    # Varies over the mesh axes of the operands, as the sums will.
    zero = jnp.zeros_like(x, jnp.int32, shape=(*shape[:-1], groups, rhs.shape[-1] // groups))
    total, _ = lax.scan(add_products, zero, (jnp.arange(steps, dtype=jnp.int32), w))
    return total.reshape(shape)
