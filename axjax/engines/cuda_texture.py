# SPDX-License-Identifier: Apache-2.0
"""Engine `cuda_texture`: TFApprox's method, every product a texture fetch from the table.

Source: Vaverka, Mrazek, Vasicek, Sekanina, TFApprox, DATE 2020. Unlike there, sums are integer,
the codes are read in place of an im2col buffer, and depth tails are skipped.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from axjax._geometry import ConvGeometry
from axjax._manual_axes import result_type
from axjax.engines._ffi_call import attributes, out_type, target

_TEXTURE_ALIGNMENT = 512
"""Bytes. A texture begins at a multiple of this; XLA's buffers do at smaller ones."""


def lut_conv(
    lhs: jax.Array,
    rhs: jax.Array,
    table: jax.Array,
    pad_code: jax.Array,
    geometry: ConvGeometry,
) -> jax.Array:
    """As `axjax._reference.lut_conv`."""
    # Where the handler lays the table out for its texture. A result, because a handler that
    # allocates cannot be part of a CUDA graph.
    workspace = result_type((table.nbytes + _TEXTURE_ALIGNMENT,), jnp.uint8, lhs)
    call = jax.ffi.ffi_call(
        target("cuda_texture", table), (out_type(lhs, rhs, geometry), workspace)
    )
    return call(lhs, rhs, table, pad_code, **attributes(geometry))[0]
