# SPDX-License-Identifier: Apache-2.0
"""The engines: every way to compute the one integer operation. All return the same bits."""

from axjax.engines._auto import RUN_NAME, choose, default_engine, resolve, run
from axjax.engines._cost import Work, gpu_seconds, work_of
from axjax.engines._ffi_call import attributes
from axjax.engines._partition import partitioned
from axjax.engines._registry import ENGINES, check

__all__ = [
    "ENGINES",
    "RUN_NAME",
    "Work",
    "attributes",
    "check",
    "choose",
    "default_engine",
    "gpu_seconds",
    "partitioned",
    "resolve",
    "run",
    "work_of",
]
