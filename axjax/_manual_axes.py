# SPDX-License-Identifier: Apache-2.0
"""What `jax.shard_map` has to know: over which mesh axes a value varies.

A native call believes the type that it is given. Inside `shard_map` a plain result type counts
as equal on all devices, and a wrong `out_specs` would silently return one device's part.
"""

from __future__ import annotations

from typing import Any

import jax
from jax.sharding import ManualAxisType, NamedSharding, PartitionSpec


def _varying(array: Any) -> frozenset[str]:
    return jax.typeof(array).manual_axis_type.varying


def varies(array: Any) -> bool:
    """Whether a value belongs to one device of a `shard_map`."""
    return bool(_varying(array))


def vary_together(operands: Any) -> Any:
    """Casts all arrays of a pytree to vary over the axes over which any of them does.

    To be called outside a `custom_vjp`: the cast's transpose is the sum over devices that the
    gradient of a replicated operand needs. Outside `shard_map` nothing happens.
    """
    axes = frozenset().union(*map(_varying, jax.tree.leaves(operands)))
    if not axes:
        return operands

    def cast(array: Any) -> Any:
        missing = tuple(sorted(axes - _varying(array)))
        return jax.lax.pcast(array, missing, to="varying") if missing else array

    return jax.tree.map(cast, operands)


def result_type(shape: tuple[int, ...], dtype: Any, operand: jax.Array) -> jax.ShapeDtypeStruct:
    """Type of a native call's result that varies as its operand does."""
    axes = _varying(operand)
    if not axes:
        return jax.ShapeDtypeStruct(shape, dtype)
    mesh = jax.typeof(operand).sharding.mesh
    return jax.ShapeDtypeStruct(
        shape,
        dtype,
        sharding=NamedSharding(mesh, PartitionSpec(*(None,) * len(shape))),
        manual_axis_type=ManualAxisType(varying=axes),
    )
