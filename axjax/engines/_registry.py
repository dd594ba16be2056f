# SPDX-License-Identifier: Apache-2.0
"""Engines by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax

from axjax import _ffi, _reference
from axjax.engines import (
    cpu,
    cpu_factored,
    cuda_gather,
    cuda_tensor_core,
    cuda_texture,
    xla,
    xla_factored,
)


@dataclasses.dataclass(frozen=True)
class Engine:
    """One way to compute the integer operation.

    Attributes:
        lut_conv: `(lhs, rhs, table, pad_code, geometry)` to sums, as
            `axjax._reference.lut_conv` says; `(lhs, rhs, factors, pad_code, geometry)` of an
            engine that is factored.
        factored: whether it takes the table's factors in place of the table.
        native: whether it is a custom call, which XLA cannot partition by itself.
    """

    lut_conv: Callable[..., jax.Array]
    factored: bool = False
    native: bool = False


ENGINES: dict[str, Engine] = {
    "reference": Engine(_reference.lut_conv),
    "xla": Engine(xla.lut_conv),
    "xla_factored": Engine(xla_factored.lut_conv, factored=True),
    "cpu": Engine(cpu.lut_conv, native=True),
    "cpu_factored": Engine(cpu_factored.lut_conv, factored=True, native=True),
    "cuda_texture": Engine(cuda_texture.lut_conv, native=True),
    "cuda_gather": Engine(cuda_gather.lut_conv, native=True),
    "cuda_tensor_core": Engine(cuda_tensor_core.lut_conv, factored=True, native=True),
}
"""Every engine by the name that `engine=` takes, beside "auto"."""


def check(function: str, engine: str, *, has_factors: bool) -> None:
    """Raises if no program can run this engine here.

    Args:
        function: name of the public function, for error messages.
        engine: a name, or "auto".
        has_factors: whether the multiplier has factors.
    Raises:
        ValueError: for an unknown name, or an engine that takes factors which are not there.
        RuntimeError: for an engine that was not built or has no device.
    """
    check_name(function, engine)
    if engine == "auto":
        return
    if ENGINES[engine].factored and not has_factors:
        raise ValueError(
            f"{function}: engine {engine!r} takes the factors of a table, got a multiplier "
            "that has none. Pass multiplier.factorized(), or engine='auto'."
        )
    if engine.startswith("cuda") and (reason := _ffi.cuda_unusable_because()):
        raise RuntimeError(
            f"{function}: engine {engine!r} cannot run, got: {reason}. Or pass engine='auto'."
        )


def check_name(function: str, engine: str) -> None:
    """Raises ValueError for a name that is neither "auto" nor an engine's."""
    if engine != "auto" and engine not in ENGINES:
        raise ValueError(
            f"{function}: an engine is one of {', '.join(['auto', *ENGINES])}, got "
            f"engine={engine!r}. Pass one of these."
        )
