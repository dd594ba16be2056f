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
from axjax.engines._taps import Taps


def lut_conv(
    lhs: jax.Array,
    rhs: jax.Array,
    table: jax.Array,
    pad_code: jax.Array,
    geometry: ConvGeometry,
) -> jax.Array:
    """As `axjax._reference.lut_conv`."""
    taps = Taps(lhs, rhs.shape, pad_code, geometry)
    steps = depth(rhs.shape)
    flat_table = table.reshape(-1)
    w = rhs.reshape(steps, 1, 1, 1, 1, taps.groups, -1).astype(jnp.int32)

    def add_products(total: jax.Array, step: tuple[jax.Array, jax.Array]):
        k, weights = step
        codes = taps.codes(k // taps.channels, k % taps.channels, 1)
        index = (codes.astype(jnp.int32) << 8) + weights
        products = flat_table.at[index].get(mode="promise_in_bounds")
        return total + products.astype(jnp.int32), None

    total, _ = lax.scan(add_products, taps.zeros(), (jnp.arange(steps, dtype=jnp.int32), w))
    return total.reshape(taps.out_shape)
