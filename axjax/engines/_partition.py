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
_FACTORS = {"lhs": _LHS, "rhs": _RHS, "out": ("n", *_OUT, "o"), "channels": ("o",)}

Role = str | int
"""What an operand is: "lhs", "rhs", "out" (as the result), "channels" (a number for each output
channel), or the rank of one that every device needs as a whole."""


def partitioned(
    function: Callable[..., jax.Array], roles: tuple[Role, ...], geometry: ConvGeometry
) -> Callable[..., jax.Array]:
    """A function of arrays that XLA can partition. It returns `(N, D', H', W', O)`.

    Args:
        function: hashable, so that equal calls are traced once.
        roles: of its operands, "lhs" and "rhs" among them: these tell how all are divided.
        geometry: of the convolution.
    """
    call = _partitioned(function, roles, geometry)

    def run(*operands: jax.Array) -> jax.Array:
        return call(*(a.reshape(1) if a.ndim == 0 else a for a in operands))

    return run


@functools.cache
def _partitioned(
    function: Callable[..., jax.Array], roles: tuple[Role, ...], geometry: ConvGeometry
) -> Callable[..., jax.Array]:
    # One for whole operands and one for parts: the geometry holds no sizes. JAX reads the
    # signature and refuses `functools.partial`. A sharding rule has no word for scalars, which
    # are arrays of one here.
    def local(*operands):
        return function(
            *(
                a.reshape(()) if role == 0 else a
                for a, role in zip(operands, roles, strict=True)
            )
        )

    by_channel = geometry.feature_group_count == 1
    divided = {"n", "o"} if by_channel else {"n"}
    result = _FACTORS["out"]
    operands = [
        _FACTORS[role]
        if isinstance(role, str)
        else tuple(f"t{n}x{axis}" for axis in range(max(1, role)))
        for n, role in enumerate(roles)
    ]

    def partition(mesh, arg_shapes, result_shape):
        at = {role: arg_shapes[n].sharding for n, role in enumerate(roles)}
        axes = {"n": _axis(at["lhs"], 0), "o": _axis(at["rhs"], 4) if by_channel else None}

        def place(factors):
            return NamedSharding(mesh, PartitionSpec(*(axes.get(f) for f in factors)))

        return mesh, local, place(result), tuple(map(place, operands))

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
