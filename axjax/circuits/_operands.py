# SPDX-License-Identifier: Apache-2.0
"""What the families share: operand types, names, parameter checks, the leading one."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from axjax._code_type import CodeType
from axjax._multiplier import Pair


def code_types(bits: Pair, signed: bool) -> tuple[CodeType, CodeType]:
    """Types of the activation and the weight; `bits` is one width or a pair."""
    activation, weight = bits if isinstance(bits, tuple | list) else (bits, bits)
    return CodeType(activation, signed), CodeType(weight, signed)


def canonical_name(variant: str, activation: CodeType, weight: CodeType) -> str:
    """EvoApproxLib's scheme: `mul8u_drum6`; `mul8x4u_drum3` where the widths differ."""
    widths = f"{activation.bits}"
    if weight.bits != activation.bits:
        widths += f"x{weight.bits}"
    return f"mul{widths}{'s' if activation.signed else 'u'}_{variant}"


def checked(
    function: str, rule: str, name: str, value: Any, low: int, high: int, advice: str
) -> int:
    """`value` as an int.

    Raises:
        ValueError: unless `value` is an integer from `low` to `high`; the message is
            `<function>: <rule>, <low> to <high>, got <name>=<value>. <advice>`.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = low - 1
    if isinstance(value, bool) or not low <= number <= high:
        raise ValueError(f"{function}: {rule}, {low} to {high}, got {name}={value!r}. {advice}")
    return number


def checked_columns(function: str, rule: str, columns: Any, most: int) -> int:
    """`columns` as an int from 0, which stands for the exact multiplier, to `most`."""
    advice = "Pass 0 for the exact multiplier."
    return checked(function, f"columns is {rule}", "columns", columns, 0, most, advice)


def leading_one(operand: np.ndarray) -> np.ndarray:
    """Position of the highest bit that is set; -1 for zero.

    Exact below 2**53: the exponent of a float64, not a rounded logarithm.
    """
    return np.frexp(np.asarray(operand, dtype=np.float64))[1].astype(np.int64) - 1
