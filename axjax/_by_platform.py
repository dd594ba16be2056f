# SPDX-License-Identifier: Apache-2.0
"""One function for each platform, of which only those that a program needs are traced.

`lax.platform_dependent` traces every one of its functions wherever it stands. Here the function
for JAX's default platform is traced at once, since its results have types; the others when, and
if, a program is lowered for their platform. That is a third of the time to trace a network
whose operations have native code on one platform and plain JAX on the others.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.custom_partitioning import custom_partitioning
from jax.extend.core import ClosedJaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import mlir

_primitive = Primitive("axjax_by_platform")
_primitive.multiple_results = True

_DEFAULT = "default"
_PLATFORMS = ("cpu", "cuda", "tpu")
"""Those that have functions of their own somewhere in axjax, as XLA calls them."""


def _name(platform: str) -> str:
    """As XLA calls it."""
    return {"gpu": "cuda"}.get(platform, platform)


def by_platform(
    *operands: Any, default: Callable[..., Any], **functions: Callable[..., Any]
) -> Any:
    """The result of the function for the platform that the program is compiled for.

    Cannot be mapped or differentiated: it belongs inside a `custom_vmap`.

    Args:
        operands: pytrees of arrays.
        default: for all platforms that have none of their own.
        functions: by the platform's name, "cpu", "cuda" or "tpu". All return the same type.
    """
    leaves, structure = jax.tree.flatten(operands)
    every = {_DEFAULT: default, **functions}
    here = _name(jax.default_backend())
    here = here if here in functions else _DEFAULT
    results: list[Any] = []

    def flat(function: Callable[..., Any]) -> Callable[..., list[Any]]:
        def run(*leaves: Any) -> list[Any]:
            out = jax.tree.flatten(function(*jax.tree.unflatten(structure, leaves)))
            results.append(out[1])
            return out[0]

        return run

    traced = jax.make_jaxpr(flat(every[here]))(*leaves)
    out = _primitive.bind(
        *leaves,
        here=here,
        traced=traced,
        others=tuple((name, flat(f)) for name, f in every.items() if name != here),
        needs_devices=_partitioned(),
    )
    return jax.tree.unflatten(results[0], out)


@functools.cache
def _partitioned() -> ClosedJaxpr:
    """A program that XLA partitions as it is told, which does nothing.

    JAX tells such a function the devices only if it finds one in the program beforehand, and
    those of other platforms are not traced by then.
    """
    nothing = custom_partitioning(lambda x: x)
    nothing.def_partition(
        partition=lambda mesh, args, result: (
            mesh,
            lambda x: x,
            args[0].sharding,
            [args[0].sharding],
        ),
        sharding_rule="i -> i",
    )
    return jax.make_jaxpr(nothing)(jax.ShapeDtypeStruct((1,), jnp.float32))


def _function(
    platform: str, here: str, traced: ClosedJaxpr, others: Any, needs_devices: ClosedJaxpr
) -> Any:
    del needs_devices
    functions = {here: jaxpr_as_fun(traced), **dict(others)}
    return functions.get(platform, functions[_DEFAULT])


@_primitive.def_abstract_eval
def _types(*_: Any, traced: ClosedJaxpr, **__: Any) -> Any:
    return traced.out_avals


@_primitive.def_impl
def _run(*operands: Any, here: str, **params: Any) -> Any:
    platforms = {device.platform for x in operands for device in jnp.asarray(x).devices()}
    platform = _name(platforms.pop()) if len(platforms) == 1 else here
    return _function(platform, here, **params)(*operands)


def _lower(platform: str) -> Callable[..., Any]:
    def rule(context: Any, *operands: Any, **params: Any) -> Any:
        function = _function(platform, **params)
        return mlir.lower_fun(function, multiple_results=True)(context, *operands)

    return rule


mlir.register_lowering(_primitive, _lower(_DEFAULT))
for _platform in _PLATFORMS:
    mlir.register_lowering(_primitive, _lower(_platform), platform=_platform)
