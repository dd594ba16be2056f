# SPDX-License-Identifier: Apache-2.0
"""Engine `cuda_texture`: TFApprox's method, every product a texture fetch from the table.

Source: Vaverka, Mrazek, Vasicek, Sekanina, TFApprox, DATE 2020. Unlike there, sums are integer,
the codes are read in place of an im2col buffer, and depth tails are skipped.
"""

from __future__ import annotations

import jax

from axjax._geometry import ConvGeometry
from axjax.engines._ffi_call import lookup_call


def lut_conv(
    lhs: jax.Array,
    rhs: jax.Array,
    table: jax.Array,
    pad_code: jax.Array,
    geometry: ConvGeometry,
) -> jax.Array:
    """As `axjax._reference.lut_conv`."""
    return lookup_call("cuda_texture", lhs, rhs, table, pad_code, geometry)
