# SPDX-License-Identifier: Apache-2.0
"""Engines by name, and the choice among them."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax

from axjax import _ffi, _reference
from axjax._geometry import ConvGeometry
from axjax.engines import cpu, cuda_texture, xla

Engine = Callable[[jax.Array, jax.Array, jax.Array, jax.Array, ConvGeometry], jax.Array]

ENGINES: dict[str, Engine] = {
    "reference": _reference.lut_conv,
    "xla": xla.lut_conv,
    "cpu": cpu.lut_conv,
    "cuda_texture": cuda_texture.lut_conv,
}
"""Every engine by the name that `engine=` takes, beside "auto"."""


def _auto(
    lhs: jax.Array,
    rhs: jax.Array,
    table: jax.Array,
    pad_code: jax.Array,
    geometry: ConvGeometry,
) -> jax.Array:
    """The fastest engine of the platform that the program is compiled for."""
    engines = {"cpu": cpu.lut_conv}
    if _ffi.has_cuda_handlers():
        engines["cuda"] = cuda_texture.lut_conv
    bound = {
        platform: functools.partial(engine, geometry=geometry)
        for platform, engine in engines.items()
    }
    return jax.lax.platform_dependent(
        lhs,
        rhs,
        table,
        pad_code,
        default=functools.partial(xla.lut_conv, geometry=geometry),
        **bound,
    )


def check(function: str, engine: str) -> None:
    """Raises if no program can run this engine here.

    Raises:
        ValueError: for an unknown name.
        RuntimeError: for an engine that was not built or has no device.
    """
    if engine != "auto" and engine not in ENGINES:
        raise ValueError(
            f"{function}: an engine is one of {', '.join(['auto', *ENGINES])}, got "
            f"engine={engine!r}. Pass one of these."
        )
    if engine.startswith("cuda") and (reason := _ffi.cuda_unusable_because()):
        raise RuntimeError(
            f"{function}: engine {engine!r} cannot run, got: {reason}. Or pass engine='auto'."
        )


@functools.partial(jax.jit, static_argnames=("geometry", "engine"))
def run(
    lhs: jax.Array,
    rhs: jax.Array,
    table: jax.Array,
    pad_code: jax.Array,
    *,
    geometry: ConvGeometry,
    engine: str,
) -> jax.Array:
    """Runs an engine: `axjax._reference.lut_conv` says what it returns."""
    implementation = _auto if engine == "auto" else ENGINES[engine]
    return implementation(lhs, rhs, table, pad_code, geometry)
