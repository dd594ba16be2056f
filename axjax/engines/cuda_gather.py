# SPDX-License-Identifier: Apache-2.0
"""Engine `cuda_gather`: every product a load from the table, which stays in the L1 cache."""

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
    return lookup_call("cuda_gather", lhs, rhs, table, pad_code, geometry)
