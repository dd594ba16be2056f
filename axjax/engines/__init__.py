# SPDX-License-Identifier: Apache-2.0
"""The engines: every way to compute the one integer operation. All return the same bits."""

from axjax.engines._registry import ENGINES, run

__all__ = ["ENGINES", "run"]
