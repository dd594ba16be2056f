# SPDX-License-Identifier: Apache-2.0
"""PackedFactors: factors as engines take them, so that many tables share one program."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from axjax.factorization._factors import MAX_PLANES, WORD, Factors

CAPACITIES = (16, 64, 256, 512)
"""Terms that a plane has room for. Few sizes, so that most tables have the same."""


@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True, eq=False)
class PackedFactors:
    """A table as a sum of products of int8 vectors, with room for more of them:

        table[x, w] = beta[w] + sum_d 256**d * sum_r u[d, x, r] * v[d, w, r]

    in int32 arithmetic, which wraps around. A pytree with nothing but leaves: how many terms
    there are is data, which engines read on the device, and only the room for them is shape.

    Attributes:
        u: int8 `(planes, 256, capacity)`, rows are the bytes of activation codes; zero beyond
            the plane's words.
        v: int8 `(planes, 256, capacity)`, rows are the bytes of weight codes, likewise.
        beta: int32 `(256,)`, by weight byte.
        words: int32 `(planes,)`, groups of four terms that each plane has, lowest plane first.
    """

    u: Any
    v: Any
    beta: Any
    words: Any

    @classmethod
    def of(cls, factors: Factors) -> PackedFactors:
        """Packs factors; what they have in `alpha` becomes terms.

        Raises:
            ValueError: if a plane has over 512 terms. No table needs so many.
        """
        folded = factors.fold_alpha()
        most = max(folded.plane_terms)
        capacity = next((c for c in CAPACITIES if c >= most), None)
        if capacity is None:
            raise ValueError(
                f"PackedFactors.of: a plane has at most {CAPACITIES[-1]} terms, got "
                f"plane_terms={folded.plane_terms}. Distribute them over planes."
            )
        words = np.array([-(-terms // WORD) for terms in folded.plane_terms], np.int32)
        packed = cls(np.asarray(folded.u), np.asarray(folded.v), np.asarray(folded.beta), words)
        return packed.with_room(len(words), capacity)

    @property
    def capacity(self) -> int:
        """Terms that each plane has room for."""
        return self.u.shape[-1]

    @property
    def planes(self) -> int:
        """Planes that there is room for."""
        return self.u.shape[-3]

    @property
    def terms(self) -> int | None:
        """int8 products that replace a look-up, in whole words; None while that is traced."""
        if isinstance(self.words, jax.core.Tracer):
            return None
        return WORD * int(np.asarray(self.words).sum())

    def with_room(self, planes: int, capacity: int) -> PackedFactors:
        """The same factors with room for at least so many planes and terms."""
        planes, capacity = max(planes, self.planes), max(capacity, self.capacity)
        extra = ((0, planes - self.planes), (0, 0), (0, capacity - self.capacity))
        return PackedFactors(
            np.pad(self.u, extra),
            np.pad(self.v, extra),
            self.beta,
            np.pad(self.words, (0, planes - self.planes)),
        )

    def factors(self) -> Factors:
        """The factors, unpacked, with whole words of terms."""
        plane_terms = tuple(WORD * int(words) for words in np.asarray(self.words))
        stride = max(plane_terms)
        u, v = (np.asarray(side)[..., :stride] for side in (self.u, self.v))
        return Factors(u, v, np.zeros(256, np.int32), np.asarray(self.beta), plane_terms, True)

    def tree_flatten(self) -> tuple[tuple[Any, ...], None]:
        return (self.u, self.v, self.beta, self.words), None

    @classmethod
    def tree_unflatten(cls, structure: None, leaves: Iterable[Any]) -> PackedFactors:
        return cls(*leaves)

    def __repr__(self) -> str:
        return (
            f"PackedFactors(terms={self.terms}, planes={self.planes}, capacity={self.capacity})"
        )


assert MAX_PLANES * CAPACITIES[-1] < 2**15  # what kernels count in 16 bits
