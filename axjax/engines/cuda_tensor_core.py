# SPDX-License-Identifier: Apache-2.0
"""Engine `cuda_tensor_core`: the factored table as an int8 matrix product.

Eq. (2) of docs/factorization.md. Codes are expanded to the terms `u[x]` in registers, on the
way from shared memory to the tensor cores, and weights to `v[w]` once a call.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from axjax import _ffi
from axjax._geometry import SPATIAL, ConvGeometry
from axjax._manual_axes import result_type
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
    lhs = _whole_words(lhs, geometry.feature_group_count)
    # A result, because a handler that allocates cannot be part of a CUDA graph.
    size = _ffi.tensor_core_workspace_bytes(
        taps=math.prod(rhs.shape[:SPATIAL]),
        in_c_per_group=lhs.shape[-1] // geometry.feature_group_count,
        out_c=rhs.shape[-1],
        groups=geometry.feature_group_count,
        planes=factors.planes,
        capacity=factors.capacity,
    )
    workspace = result_type((size,), jnp.uint8, lhs)
    call = jax.ffi.ffi_call(
        "axjax_lut_conv_cuda_tensor_core", (out_type(lhs, rhs, geometry), workspace)
    )
    return call(lhs, rhs, *factor_operands(factors), pad_code, **attributes(geometry))[0]


def _whole_words(lhs: jax.Array, groups: int) -> jax.Array:
    """The input with channels added up to a multiple of four in each group.

    The kernel copies words, and gives channels without weights no products. XLA fuses the
    addition with the quantisation.
    """
    channels = lhs.shape[-1] // groups
    missing = -channels % 4
    if not missing:
        return lhs
    grouped = lhs.reshape(*lhs.shape[:-1], groups, channels)
    padded = jnp.pad(grouped, [(0, 0)] * (grouped.ndim - 1) + [(0, missing)])
    return padded.reshape(*lhs.shape[:-1], groups * (channels + missing))
