# SPDX-License-Identifier: Apache-2.0
"""What the calls of all native handlers have in common."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from axjax._geometry import ConvGeometry
from axjax._manual_axes import result_type
from axjax.factorization import PackedFactors

_ENTRY_NAMES = {"uint16": "u16", "int16": "s16", "int32": "s32"}


def target(engine: str, table: jax.Array) -> str:
    """Name under which XLA knows an engine's handler for the table's entry type."""
    return f"axjax_lut_conv_{engine}_{_ENTRY_NAMES[table.dtype.name]}"


def out_type(lhs: jax.Array, rhs: jax.Array, geometry: ConvGeometry) -> jax.ShapeDtypeStruct:
    """Type of the accumulators that a handler returns."""
    return result_type(geometry.output_shape(lhs.shape, rhs.shape), jnp.int32, lhs)


def attributes(geometry: ConvGeometry) -> dict[str, np.ndarray | int]:
    """The geometry as attributes of a custom call.

    `padding_high` is not among them: the output's shape tells it. Handlers declare int64,
    which is what a Python int becomes; a NumPy scalar would become another type.
    """

    def triple(values: tuple[int, int, int]) -> np.ndarray:
        return np.array(values, np.int64)

    return {
        "window_strides": triple(geometry.window_strides),
        "padding_low": triple(geometry.padding_low),
        "lhs_dilation": triple(geometry.lhs_dilation),
        "rhs_dilation": triple(geometry.rhs_dilation),
        "feature_group_count": int(geometry.feature_group_count),
    }


def factor_operands(factors: PackedFactors) -> tuple[jax.Array, ...]:
    """The factors as the native handlers take them: u, v, beta and words."""
    arrays = factors.u, factors.v, factors.beta, factors.words
    return tuple(map(jnp.asarray, arrays))


_TEXTURE_ALIGNMENT = 512
"""Bytes. A texture begins at a multiple of this; XLA's buffers do at smaller ones."""


def lookup_call(
    engine: str,
    lhs: jax.Array,
    rhs: jax.Array,
    table: jax.Array,
    pad_code: jax.Array,
    geometry: ConvGeometry,
) -> jax.Array:
    """Calls one of the CUDA engines that look every product up: `axjax._reference.lut_conv`."""
    # Where the handler lays the table out as its kernel reads it. A result, because a handler
    # that allocates cannot be part of a CUDA graph.
    workspace = result_type((table.nbytes + _TEXTURE_ALIGNMENT,), jnp.uint8, lhs)
    call = jax.ffi.ffi_call(target(engine, table), (out_type(lhs, rhs, geometry), workspace))
    return call(lhs, rhs, table, pad_code, **attributes(geometry))[0]
