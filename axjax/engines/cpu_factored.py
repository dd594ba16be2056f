# SPDX-License-Identifier: Apache-2.0
"""Engine `cpu_factored`: the factored table as int8 products, on AMX tiles or VNNI.

Eq. (2) of docs/factorization.md, by the native handler of module `_cpu`. It reads at every call
how many terms there are, and multiplies the table out for engine `cpu` where that is faster.
"""

from __future__ import annotations

import jax

from axjax._geometry import ConvGeometry
from axjax.engines._ffi_call import attributes, factor_operands, out_type
from axjax.factorization import PackedFactors


def lut_conv(
    lhs: jax.Array,
    rhs: jax.Array,
    factors: PackedFactors,
    pad_code: jax.Array,
    geometry: ConvGeometry,
) -> jax.Array:
    """As `axjax._reference.lut_conv`, with the table's factors in its place."""
    call = jax.ffi.ffi_call("axjax_lut_conv_cpu_factored", out_type(lhs, rhs, geometry))
    return call(lhs, rhs, *factor_operands(factors), pad_code, **attributes(geometry))
