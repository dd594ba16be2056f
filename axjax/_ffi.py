# SPDX-License-Identifier: Apache-2.0
"""Registers the native handlers with JAX, once, at import. Nothing else imports native code."""

from __future__ import annotations

import importlib
import importlib.metadata
import pathlib
import re
import types
from typing import Any

import jax

from axjax import _cpu

_cuda: types.ModuleType | None
try:
    _cuda = importlib.import_module("axjax._cuda")
except ModuleNotFoundError:  # built without CUDA
    _cuda = None


def check_api_version(module: types.ModuleType, header: str) -> None:
    """Refuses a build that the installed jaxlib would refuse.

    JAX registers handlers when its backend starts, and one that was built for a newer
    interface takes the whole backend down with it. So look before registering.

    Args:
        module: a native module of axjax.
        header: text of the `c_api.h` that the installed jaxlib ships.
    Raises:
        ImportError: if the module was built for a newer interface.
    """
    have = tuple(
        int(match[1])
        for part in ("MAJOR", "MINOR")
        if (match := re.search(rf"#define XLA_FFI_API_{part} (\d+)", header))
    )
    built = tuple(module.xla_ffi_api_version)
    if built > have:
        raise ImportError(
            f"axjax: handlers run on an XLA FFI of their own version or newer, got version "
            f"{built} for {module.__name__} and {have} for jaxlib "
            f"{importlib.metadata.version('jaxlib')}. Upgrade jax, or build axjax against "
            "this jaxlib: pip install --no-build-isolation axjax."
        )


def _register(module: types.ModuleType, platform: str) -> None:
    for name, handler in module.targets().items():
        jax.ffi.register_ffi_target(name, handler, platform=platform)


_HEADER = pathlib.Path(jax.ffi.include_dir(), "xla/ffi/api/c_api.h").read_text()
check_api_version(_cpu, _HEADER)
_register(_cpu, "cpu")
if _cuda is not None:
    check_api_version(_cuda, _HEADER)
    _register(_cuda, "CUDA")  # waits until a CUDA plugin is loaded, if ever


def has_cuda_handlers() -> bool:
    """True if this build of axjax contains the CUDA handlers."""
    return _cuda is not None


def has_cuda_device() -> bool:
    """True if JAX sees an NVIDIA GPU. Starts JAX's backends."""
    try:
        return bool(jax.devices("cuda"))
    except RuntimeError:
        return False


def cuda_unusable_because() -> str | None:
    """Why the CUDA engines cannot run here, or None if they can. Starts JAX's backends."""
    if _cuda is None:
        return (
            "axjax was built without CUDA handlers: build it where nvcc is found, or with "
            "AXJAX_CUDA_WHEELS=1 pip install"
        )
    if not has_cuda_device():
        return "JAX has no CUDA device: install jax[cuda13] and check the driver (nvidia-smi)"
    return None


def tensor_core_workspace_bytes(**sizes: Any) -> int:
    """Bytes that the tensor-core handler needs; the arguments are those of `_cuda.pyi`."""
    if _cuda is None:
        raise RuntimeError(f"axjax: {cuda_unusable_because()}")
    return _cuda.tensor_core_workspace_bytes(**sizes)


def instruction_set() -> str:
    """What the CPU engines use on this machine, as AXJAX_CPU_ISA would name it."""
    return _cpu.build()["instruction_set"]


def cpu_form_of_factors(**sizes: int) -> str:
    """What engine `cpu_factored` does here with factors: "products", or "table"."""
    return _cpu.factored_form(**sizes)


def has_int8_tensor_cores() -> bool:
    """True unless JAX's first CUDA device is too old for them. Starts JAX's backends."""
    if not has_cuda_device():
        return True  # compiling for another machine
    return float(jax.devices("cuda")[0].compute_capability) >= 8.0


def custom_calls() -> tuple[str, ...]:
    """Names of all native handlers, by which XLA calls them."""
    modules = [module for module in (_cpu, _cuda) if module is not None]
    return tuple(sorted({name for module in modules for name in module.targets()}))


def native_build() -> dict[str, object]:
    """What the native modules say of themselves."""
    return {
        "cpu": _cpu.build(),
        "cuda": None if _cuda is None else _cuda.build(),
    }
