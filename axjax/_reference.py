# SPDX-License-Identifier: Apache-2.0
"""The specification: the emulated convolution in plain jax.numpy. It never gets fast."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
from jax import lax

from axjax._geometry import SPATIAL, ConvGeometry


def padded_codes(lhs: jax.Array, pad_code: jax.Array, geometry: ConvGeometry) -> jax.Array:
    """The codes with padding and with the holes of a dilated input, in memory of their own.

    The barrier keeps XLA from computing codes anew for every product. It also keeps XLA for
    GPUs (seen with jaxlib 0.11.2 on an H100) from fusing quantisation, padding and gather
    to a kernel that reads beyond the table.
    """
    return lax.optimization_barrier(lax.pad(lhs, pad_code, geometry.padding_config()))


def lut_conv(
    lhs: jax.Array,
    rhs: jax.Array,
    table: jax.Array,
    pad_code: jax.Array,
    geometry: ConvGeometry,
) -> jax.Array:
    """Convolves bytes of codes, taking every product from the table: (5) of docs/arithmetic.md.

    Every engine has this signature and returns these bits.

    Args:
        lhs: uint8 `(N, D, H, W, C)`, activation codes.
        rhs: uint8 `(KD, KH, KW, C / groups, O)`, weight codes.
        table: `(256, 256)`, uint16, int16 or int32, row = activation, column = weight.
        pad_code: uint8 scalar, the code of padded pixels and of holes of a dilated input.
        geometry: the rest.
    Returns:
        int32 `(N, D', H', W', O)`; sums wrap modulo 2**32.
    """
    groups = geometry.feature_group_count
    padded = padded_codes(lhs, pad_code, geometry)
    shape = geometry.output_shape(lhs.shape, rhs.shape)
    x = padded.reshape(*padded.shape[:-1], groups, rhs.shape[-2], 1)
    w = rhs.reshape(*rhs.shape[:-1], groups, rhs.shape[-1] // groups).swapaxes(-3, -2)
    total = jnp.zeros((*shape[:-1], groups, w.shape[-1]), jnp.int32)
    for tap in itertools.product(*map(range, rhs.shape[:SPATIAL])):
        window = tuple(
            slice(k * d, k * d + (size - 1) * s + 1 if size else 0, s)
            for k, d, s, size in zip(
                tap, geometry.rhs_dilation, geometry.window_strides, shape[1:-1], strict=True
            )
        )
        # (N, D', H', W', groups, C / groups, 1) with (groups, C / groups, O / groups)
        rows, columns = x[(slice(None), *window)].astype(jnp.int32), w[tap].astype(jnp.int32)
        total += table[rows, columns].astype(jnp.int32).sum(-2)
    return total.reshape(shape)
