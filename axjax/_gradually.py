# SPDX-License-Identifier: Apache-2.0
"""From the exact multiplier to an approximate one in steps, for fine-tuning."""

from __future__ import annotations

import numpy as np

from axjax._multiplier import Multiplier, alike


def gradually(multiplier: Multiplier, steps: int) -> list[Multiplier]:
    """Multipliers that err more and more: a schedule that raises the approximation.

    Step k of n has the exact products plus k / n of the multiplier's errors, rounded to the
    nearest integer, halves to even. The last is the multiplier itself. They are `alike`, so
    that a jitted training step which takes the multiplier as an argument runs them all. They
    keep the multiplier's `gradient`, and have no factors: rounded errors have too many terms.

    Args:
        multiplier: the last of them.
        steps: how many, 1 or more.
    Raises:
        ValueError: for no step.

    >>> import axjax
    >>> [m.metrics().wce for m in axjax.gradually(axjax.load("mul8u_trunc4"), 4)]
    [12, 24, 37, 49]
    """
    if steps < 1:
        raise ValueError(
            f"gradually: a schedule has a step, got steps={steps}. Pass 1 or more."
        )
    errors = multiplier.errors()
    exact = multiplier.products() - errors
    types = multiplier.activation, multiplier.weight
    found = [
        Multiplier(
            exact + np.rint(errors * (k / steps)).astype(np.int64),
            bits=(types[0].bits, types[1].bits),
            signed=(types[0].signed, types[1].signed),
            name=f"{multiplier.name}, {k} of {steps}",
        ).with_gradient(multiplier.gradient)
        for k in range(1, steps)
    ]
    return alike([*found, multiplier])
