# SPDX-License-Identifier: Apache-2.0
"""Engine `cpu`: the native handler of module `_cpu`, on XLA's own thread pool."""

from __future__ import annotations

import jax

from axjax._geometry import ConvGeometry
from axjax.engines._ffi_call import attributes, out_type, target


def lut_conv(
    lhs: jax.Array,
    rhs: jax.Array,
    table: jax.Array,
    pad_code: jax.Array,
    geometry: ConvGeometry,
) -> jax.Array:
    """As `axjax._reference.lut_conv`."""
    call = jax.ffi.ffi_call(target("cpu", table), out_type(lhs, rhs, geometry))
    return call(lhs, rhs, table, pad_code, **attributes(geometry))
