# SPDX-License-Identifier: Apache-2.0
"""What was built, what can run here, and why not."""

from __future__ import annotations

from axjax import _ffi
from axjax.engines import ENGINES


def build_info() -> dict[str, object]:
    """Says what this installation of axjax can do on this machine.

    Returns:
        `version`; `native`, what the CPU and CUDA modules say of their build; `engines`,
        for every engine either "usable" or the reason why it is not; `custom_calls`, the names
        by which compiled programs call the native code, for `jax.export`.

    >>> import axjax
    >>> axjax.build_info()["engines"]["cpu"]
    'usable'
    """
    import axjax

    reason = _ffi.cuda_unusable_because()
    return {
        "version": axjax.__version__,
        "native": _ffi.native_build(),
        "engines": {
            name: reason if name.startswith("cuda") and reason else "usable" for name in ENGINES
        },
        "custom_calls": _ffi.custom_calls(),
    }
