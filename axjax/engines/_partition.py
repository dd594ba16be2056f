# SPDX-License-Identifier: Apache-2.0
"""A native call over several devices: each takes its images, or its output channels.

XLA knows nothing of a custom call, and gathers the operands of one on every device. The
sharding rule says what the call would do with parts of them: images are independent of each
other, and so are output channels where there is one group.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding, PartitionSpec

from axjax._geometry import ConvGeometry

_LHS, _RHS, _OUT = ("n", "d", "h", "w", "c"), ("kd", "kh", "kw", "i", "o"), ("p", "q", "r")


def partitioned(
    lut_conv: Callable[..., jax.Array], operand: Any, geometry: ConvGeometry
) -> Callable[[jax.Array, jax.Array, Any, jax.Array], jax.Array]:
    """An engine's function that XLA can partition: `(lhs, rhs, operand, pad_code)` to sums.

    Args:
        lut_conv: of a native engine.
        operand: the table or factors that it will take: their structure counts.
        geometry: of the convolution.
    """
    leaves, structure = jax.tree.flatten(operand)
    call = _partitioned(lut_conv, structure, tuple(leaf.ndim for leaf in leaves), geometry)

    def run(lhs: jax.Array, rhs: jax.Array, operand: Any, pad_code: jax.Array) -> jax.Array:
        return call(lhs, rhs, pad_code.reshape(1), *jax.tree.leaves(operand))

    return run


@functools.cache
def _partitioned(
    lut_conv: Callable[..., jax.Array],
    structure: Any,
    ranks: tuple[int, ...],
    geometry: ConvGeometry,
) -> Callable[..., jax.Array]:
    # One for whole operands and one for parts: the geometry holds no sizes. JAX reads the
    # signature and refuses `functools.partial`.
    def local(lhs, rhs, pad_code, *leaves):
        operand = jax.tree.unflatten(structure, leaves)
        return lut_conv(lhs, rhs, operand, pad_code.reshape(()), geometry)

    by_channel = geometry.feature_group_count == 1

    def partition(mesh, arg_shapes, result_shape):
        images, channels = (_axis(arg_shapes[n].sharding, axis) for n, axis in ((0, 0), (1, 4)))
        channels = channels if by_channel else None
        spec = lambda *axes: NamedSharding(mesh, PartitionSpec(*axes))
        whole = [spec(*(None,) * rank) for rank in (1, *ranks)]
        operands = spec(images, *(None,) * 4), spec(*(None,) * 4, channels), *whole
        return mesh, local, spec(images, None, None, None, channels), operands

    others = [tuple(f"t{n}x{axis}" for axis in range(rank)) for n, rank in enumerate(ranks)]
    operands = [_LHS, _RHS, ("z",), *others]
    result = ("n", *_OUT, "o")
    divided = {"n", "o"} if by_channel else {"n"}
    rule = ", ".join(map(" ".join, operands)) + " -> " + " ".join(result)
    call = custom_partitioning(local)
    call.def_partition(
        partition=partition,
        sharding_rule=rule,
        need_replication_factors=tuple(
            dict.fromkeys(
                factor
                for factors in (*operands, result)
                for factor in factors
                if factor not in divided
            )
        ),
    )
    return call


def _axis(sharding: Any, axis: int) -> Any:
    """Mesh axes over which an array's axis is divided."""
    spec = tuple(sharding.spec)
    return spec[axis] if axis < len(spec) else None
