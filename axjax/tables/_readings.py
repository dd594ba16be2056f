# SPDX-License-Identifier: Apache-2.0
"""Whether a table makes more sense when it is read in another way.

Published tables come with rows and columns exchanged, with signed codes in either order, and
with negative products stored as large unsigned numbers. An approximate multiplier is close to
the exact one in the right reading, and far from it in all others.
"""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from typing import Any

import numpy as np

from axjax._code_type import CodeType
from axjax._multiplier import Multiplier
from axjax.tables._raw_table import Order, by_value

# Of the two mean errors. The table that is always zero has 3.97 between unsigned and signed;
# a wrong reading of a multiplier of use has from ten to infinity.
_FAR_BETTER = 8


@dataclasses.dataclass(frozen=True)
class Reading:
    """One way to read an array of products, and how far from exact it is then.

    Attributes:
        signed: signedness of the operands (activation, weight).
        order: of rows and columns in the array, as in `axjax.load`.
        products_signed: whether entries are taken as two's complement patterns that are as
            wide as both operands together (True), as unsigned ones (False), or as they are
            (None).
        mae: mean absolute error in this reading.
    """

    signed: tuple[bool, bool]
    order: Order
    products_signed: bool | None
    mae: float

    def __str__(self) -> str:
        operands = " x ".join("signed" if s else "unsigned" for s in self.signed)
        order = "" if not any(self.signed) else f", codes in order of {self.order}"
        entries = {None: "", True: ", products as signed patterns",
                   False: ", products as unsigned patterns"}  # fmt: skip
        return f"{operands}{order}{entries[self.products_signed]}"


def readings(multiplier: Multiplier) -> list[Reading]:
    """All ways to read the multiplier's table, with the mean absolute error of each.

    The first is the multiplier as it is; the others follow, best first. Exchanging the
    operands of a multiplier with operands of one type leaves its errors as they are: that a
    table of such a one was transposed cannot be told from its errors, only from its source.

    >>> import axjax
    >>> first, best, *_ = axjax.readings(axjax.load("mul8s_trunc4"))
    >>> first.mae, str(best), best.mae > 1000
    (12.25, 'signed x signed, codes in order of value', True)
    """
    signed = (multiplier.activation.signed, multiplier.weight.signed)
    return all_readings(multiplier.products(), signed, "pattern")


def all_readings(
    products: np.ndarray, signed: tuple[bool, bool], order: Order
) -> list[Reading]:
    """As `readings`, of an array that is read as `signed` and `order` say."""
    bits = [size.bit_length() - 1 for size in products.shape]
    products = products.astype(np.int64)
    entries: dict[bool | None, np.ndarray] = {None: products}
    pattern = products & ((1 << sum(bits)) - 1)
    sign = 1 << (sum(bits) - 1)
    for kind, changed in ((True, (pattern ^ sign) - sign), (False, pattern)):
        if not np.array_equal(changed, products):
            entries[kind] = changed
    orders: tuple[Order, ...] = ("pattern", "value")
    found = []
    for first, second in itertools.product((False, True), repeat=2):
        signs = (first, second)
        exact = np.multiply.outer(
            *(CodeType(b, s).values() for b, s in zip(bits, signs, strict=True))
        )
        for way in orders if any(signs) else orders[:1]:
            expected = exact if way == "pattern" else by_value(exact, signs)
            for products_signed, values in entries.items():
                mae = float(np.abs(values - expected).mean())
                found.append(Reading(signs, way, products_signed, mae))
    if not any(signed):
        order = "pattern"  # the same as by value
    as_it_is = next(
        r for r in found if (r.signed, r.order, r.products_signed) == (signed, order, None)
    )
    found.remove(as_it_is)
    return [as_it_is, *sorted(found, key=lambda reading: reading.mae)]


def warn_of_better_reading(
    products: np.ndarray, signed: tuple[bool, bool], order: Order, source: str
) -> None:
    """Warns if a table fits the exact product far better in another reading.

    Warns:
        UserWarning: which names the reading and the arguments of `axjax.load` that give it.
    """
    first, best = all_readings(products, signed, order)[:2]
    if first.mae <= _FAR_BETTER * best.mae or first.mae == 0:
        return
    advice: dict[str, Any] = {"signed": best.signed, "order": best.order}
    if best.products_signed is not None:
        advice["products_signed"] = best.products_signed
    if best.signed == signed[::-1] and len(set(signed)) == 2:
        advice = {"transpose": True}
    passed = ", ".join(f"{key}={value!r}" for key, value in advice.items())
    warnings.warn(
        f"load: another reading fits far better, got a mean error of {first.mae:.5g} as "
        f"{first}, against {best.mae:.5g} as {best}, in {source!r}. Pass {passed}, or "
        "filter this warning if the table is meant so.",
        stacklevel=3,
    )
