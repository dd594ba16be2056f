# SPDX-License-Identifier: Apache-2.0
"""The choice of an engine, and its run."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import jax

from axjax import _ffi
from axjax._by_platform import by_platform
from axjax._geometry import ConvGeometry
from axjax._manual_axes import varies
from axjax.engines._cost import CPU_ROOM, Work, gpu_seconds, work_of
from axjax.engines._partition import partitioned
from axjax.engines._registry import ENGINES, check_name
from axjax.factorization import PackedFactors

_default = jax.make_user_context("auto")


def default_engine(engine: str) -> AbstractContextManager[None]:
    """A context in which `engine="auto"` means another engine.

    It takes part in the caches of `jax.jit`: a function that was compiled outside is compiled
    again inside. An engine that is given to a call or a layer goes before it.

    Args:
        engine: "auto", or a name from `axjax.ENGINES`.
    Raises:
        ValueError: for an unknown name.

    >>> import axjax, numpy as np
    >>> codes = np.ones((2, 2), np.uint8)
    >>> with axjax.default_engine("xla"):
    ...     sums = axjax.lut_dot(codes, codes, axjax.Multiplier.exact(8))
    """
    check_name("default_engine", engine)
    return _default(engine)


def resolve(engine: str) -> str:
    """What an engine's name means here: "auto" may be another's, by `default_engine`."""
    return _default.value if engine == "auto" else engine


def choose(platform: str, work: Work) -> str:
    """Name of the engine that "auto" runs on a platform: "cpu", "cuda", "tpu", ..."""
    if platform == "cpu":
        factored = work.room is not None and work.room <= CPU_ROOM and not work.depthwise
        return "cpu_factored" if factored else "cpu"
    if platform == "cuda" and _ffi.has_cuda_handlers():
        seconds = gpu_seconds(work, int8_tensor_cores=_ffi.has_int8_tensor_cores())
        return min(seconds, key=lambda name: seconds[name])
    return "xla" if work.terms is None else "xla_factored"


def axjax_run_engine(
    lhs: jax.Array,
    rhs: jax.Array,
    table: jax.Array,
    factors: PackedFactors | None,
    pad_code: jax.Array,
    *,
    geometry: ConvGeometry,
    engine: str,
) -> jax.Array:
    """Runs an engine: `axjax._reference.lut_conv` says what it returns.

    With engine "auto" the program holds the choice for each platform that it is compiled for.
    """
    if engine != "auto":
        return _run(engine, lhs, rhs, table, factors, pad_code, geometry=geometry)
    work = work_of(lhs.shape, rhs.shape, geometry, factors)
    chosen = {"cpu": choose("cpu", work), "default": choose("default", work)}
    if _ffi.has_cuda_handlers():
        chosen["cuda"] = choose("cuda", work)
    bound = {
        platform: functools.partial(_run, engine, geometry=geometry)
        for platform, engine in chosen.items()
    }
    return by_platform(lhs, rhs, table, factors, pad_code, **bound)


# Of a name of its own: what an engine multiplies is no layer of a network, and it is by this
# name in a trace that `axjax.emulate` knows it.
RUN_NAME = axjax_run_engine.__name__
run = jax.jit(axjax_run_engine, static_argnames=("geometry", "engine"))


def _run(
    engine: str,
    lhs: jax.Array,
    rhs: jax.Array,
    table: jax.Array,
    factors: PackedFactors | None,
    pad_code: jax.Array,
    *,
    geometry: ConvGeometry,
) -> jax.Array:
    found = ENGINES[engine]
    operand = factors if found.factored else table
    if not found.native or varies(lhs):  # inside shard_map all is partitioned already
        return found.lut_conv(lhs, rhs, operand, pad_code, geometry)
    leaves, structure = jax.tree.flatten(operand)
    roles = ("lhs", "rhs", 0, *(leaf.ndim for leaf in leaves))
    call = partitioned(_of_leaves(engine, structure, geometry), roles, geometry)
    return call(lhs, rhs, pad_code, *leaves)


@functools.cache
def _of_leaves(engine: str, structure: Any, geometry: ConvGeometry) -> Callable[..., jax.Array]:
    """An engine as a function of arrays: both operands' codes, pad code, then the leaves."""

    def run(lhs, rhs, pad_code, *leaves):
        operand = jax.tree.unflatten(structure, leaves)
        return ENGINES[engine].lut_conv(lhs, rhs, operand, pad_code, geometry)

    return run
