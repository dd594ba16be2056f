# SPDX-License-Identifier: Apache-2.0
"""Is the function that a caller gave a Flax layer JAX's own?"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def keywords_of(original: Callable[..., Any], given: Any) -> dict[str, Any] | None:
    """Keywords that the caller bound to JAX's own function, or None for another function.

    `partial(lax.conv_general_dilated, preferred_element_type=...)` is Flax's way to ask for a
    result type: the emulated operation takes the same keywords. Any other function of the
    caller's is meant to run as it is.
    """
    if given is None or given is original:
        return {}
    if isinstance(given, functools.partial) and given.func is original and not given.args:
        return dict(given.keywords)
    return None
