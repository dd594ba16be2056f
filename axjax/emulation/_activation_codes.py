# SPDX-License-Identifier: Apache-2.0
"""activation_codes: how often each code goes into a layer's multipliers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from axjax.emulation._pass import Codes, Pass, arguments_of, total
from axjax.emulation._product import Ranges
from axjax.emulation._rule import Rule, check_rules


def activation_codes(
    fn: Callable[..., Any],
    rules: Sequence[Rule],
    batches: Iterable[Any],
    ranges: Ranges | None = None,
    *,
    fold_batch_norm: bool = False,
) -> dict[str, np.ndarray]:
    """Counts of the activation codes that go into the layers which the rules emulate.

    For `axjax.remap`, and for error metrics that weigh operands as a network uses them.

    Args:
        fn, rules, ranges, fold_batch_norm: as for `axjax.emulate`.
        batches: as for `axjax.calibrate`; one pass.
    Returns:
        By the layer's key int64 `(2**bits,)`, in the order of the table's rows. Of a product
        of two activations, those of the first.
    Raises:
        TypeError, ValueError: as `axjax.calibrate`.
    """
    check_rules("activation_codes", rules)
    run = Pass("activation_codes", fn, rules, Codes(), None, ranges, fold=fold_batch_norm)
    counts = total(map(run, arguments_of("activation_codes", batches)))
    found = {}
    for key, (_, rule) in run.found.items():
        assert rule.multiplier is not None
        found[key] = counts[key][0, : 1 << rule.multiplier.activation.bits]
    return found
