# SPDX-License-Identifier: Apache-2.0
"""Engine `cuda_tensor_core`: the factored table as an int8 matrix product.

Eq. (2) of docs/factorization.md. Codes are expanded to the terms `u[x]` in registers, on the
way from shared memory to the tensor cores, and weights to `v[w]` once a call.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from axjax import _ffi
from axjax._geometry import SPATIAL, ConvGeometry
from axjax._manual_axes import result_type
from axjax.engines._ffi_call import attributes, out_type
from axjax.factorization import Factors


def lut_conv(
    lhs: jax.Array,
    rhs: jax.Array,
    factors: Factors,
    pad_code: jax.Array,
    geometry: ConvGeometry,
) -> jax.Array:
    """As `axjax._reference.lut_conv`, with the table's factors, `alpha` zero, in its place."""
    # A result, because a handler that allocates cannot be part of a CUDA graph.
    size = _ffi.tensor_core_workspace_bytes(
        taps=math.prod(rhs.shape[:SPATIAL]),
        in_c_per_group=rhs.shape[SPATIAL],
        out_c=rhs.shape[-1],
        groups=geometry.feature_group_count,
        plane_terms=factors.plane_terms,
    )
    workspace = result_type((size,), jnp.uint8, lhs)
    call = jax.ffi.ffi_call(
        "axjax_lut_conv_cuda_tensor_core", (out_type(lhs, rhs, geometry), workspace)
    )
    u, v, beta = (jnp.asarray(a) for a in (factors.u, factors.v, factors.beta))
    plane_terms = np.array(factors.plane_terms, np.int64)
    return call(
        lhs, rhs, u, v, beta, pad_code, **attributes(geometry), plane_terms=plane_terms
    )[0]
