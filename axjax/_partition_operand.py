# SPDX-License-Identifier: Apache-2.0
"""Quantisation over several devices: each takes its part of the operand, whatever it is.

A range is that of the whole operand: devices exchange the ends of theirs, and nothing else.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding, PartitionSpec

from axjax._quantization import ScaleRule, ends, has_nan

Native = Callable[..., tuple[jax.Array, ...]]
"""`(rule, operand, *given)` to results of the operand's shape or of its scales'."""


@functools.cache
def partitioned(
    native: Native, rule: ScaleRule, ndim: int, ranks: tuple[int, ...], whole: tuple[bool, ...]
) -> Callable[..., tuple[jax.Array, ...]]:
    """The function `(operand, *given)` that XLA can partition.

    Args:
        native: what computes it on one device.
        rule: of the operand's scale.
        ndim: of the operand.
        ranks: of what is given for the scale: 0, or the operand's.
        whole: of each result, whether it has the operand's shape.
    """

    # JAX reads the signature and refuses `functools.partial`. A sharding rule has no word for
    # scalars, which become arrays of one.
    def on_one_device(x, *given):
        return native(rule, x, *map(_of_rank, given, ranks))

    def partition(mesh, arg_shapes, result_shapes):
        spec = tuple(arg_shapes[0].sharding.spec)
        spec += (None,) * (ndim - len(spec))
        of_scale = tuple(axes if rule.is_kept(axis) else None for axis, axes in enumerate(spec))
        over = _mesh_axes(spec[axis] for axis in rule.spoiled(ndim))

        def part(x, *given):
            operands = x, *map(_of_rank, given, ranks)
            return _of_part(native, rule, over, *operands) if over else native(rule, *operands)

        place = lambda spec: NamedSharding(mesh, PartitionSpec(*spec))
        results = tuple(place(spec if is_whole else of_scale) for is_whole in whole)
        operands = place(spec), *(place(of_scale if rank else ()) for rank in ranks)
        return mesh, part, results, operands

    factors = [f"x{axis}" for axis in range(ndim)]
    scale = lambda name: [
        factor if rule.is_kept(axis) else f"{name}{axis}" for axis, factor in enumerate(factors)
    ]
    given = [scale(f"g{n}x") if rank else [f"g{n}"] for n, rank in enumerate(ranks)]
    results = [factors if is_whole else scale(f"r{n}x") for n, is_whole in enumerate(whole)]
    sides = (", ".join(map(" ".join, side)) for side in ([factors, *given], results))
    call = custom_partitioning(on_one_device)
    call.def_partition(partition=partition, sharding_rule=" -> ".join(sides))

    def run(x, *given):
        return call(x, *(g.reshape(1) if g.ndim == 0 else g for g in given))

    return run


def _of_part(
    native: Native, rule: ScaleRule, over: tuple[str, ...], x: jax.Array, *given: jax.Array
) -> tuple[jax.Array, ...]:
    """The results for a device's part of an operand, divided over some axes of the mesh."""
    axes = rule.spoiled(x.ndim)
    bad = lax.pmax(has_nan(x, axes).astype(jnp.int32), over) > 0
    if rule.source == "numbers":
        low, high = ends(x.astype(jnp.float32), axes)
        given = lax.pmin(low, over), lax.pmax(high, over)
        rule = dataclasses.replace(rule, source="range")
    out = native(rule, x, *given)
    return tuple(jnp.where(bad, jnp.nan, r) if r.dtype == jnp.float32 else r for r in out)


def _of_rank(array: jax.Array, rank: int) -> jax.Array:
    return array if rank else array.reshape(())


def _mesh_axes(specs: Any) -> tuple[str, ...]:
    """All mesh axes of some entries of a partition specification."""
    entries = (axes if isinstance(axes, tuple) else (axes,) for axes in specs if axes)
    return tuple(axis for axes in entries for axis in axes)
