# SPDX-License-Identifier: Apache-2.0
"""CodeType: the integers that one input of a multiplier can take."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class CodeType:
    """Width and signedness of one multiplier input.

    A code travels as one byte whatever its type: an unsigned code as itself, a signed code
    as the low eight bits of its two's complement. Kernels see only the byte.

    Args:
        bits: 2 to 8.
        signed: two's complement if true.
    Raises:
        ValueError: if `bits` is not in 2 to 8.
    """

    bits: int = 8
    signed: bool = False

    def __post_init__(self) -> None:
        if not (isinstance(self.bits, int) and 2 <= self.bits <= 8):
            raise ValueError(
                f"CodeType: an operand has 2 to 8 bits, got bits={self.bits!r}. "
                "Wider multipliers do not fit a 256 x 256 table."
            )

    @property
    def min(self) -> int:
        """Least code."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def max(self) -> int:
        """Greatest code."""
        return (1 << (self.bits - self.signed)) - 1

    @property
    def magnitude(self) -> int:
        """Greatest absolute value of a code."""
        return max(-self.min, self.max)

    def values(self) -> np.ndarray:
        """All codes in the order of their bit patterns: int64 `(2**bits,)`."""
        patterns = np.arange(1 << self.bits)
        return np.where(patterns > self.max, patterns - (1 << self.bits), patterns)

    def patterns_of_bytes(self) -> np.ndarray:
        """The bit pattern that each byte puts on the input's wires, its low bits: `(256,)`."""
        return np.arange(256) & ((1 << self.bits) - 1)

    def __str__(self) -> str:
        return f"{'int' if self.signed else 'uint'}{self.bits}"
