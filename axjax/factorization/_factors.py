# SPDX-License-Identifier: Apache-2.0
"""Factors: a table as a sum of products of int8 vectors. Needs nothing but arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from axjax.factorization._terms import Term, column_terms

WORD = 4  # int8 terms of one code are fetched as 32-bit words

MAX_PLANES = 4  # a fifth plane would be shifted out of 32 bits


@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True, eq=False)
class Factors:
    """A table as a sum of products of int8 vectors, eq. (1) of docs/factorization.md:

        table[x, w] = alpha[x] + beta[w] + sum_d 256**d * sum_r u[d, x, r] * v[d, w, r]

    in int32 arithmetic, which wraps around: planes and partial sums may exceed 32 bits, and
    `alpha` and `beta` may be large where they cancel; the total is the table.

    A pytree: the arrays are leaves, the counts are structure. `PackedFactors` is the form in
    which engines take them.

    Attributes:
        u: int8 `(planes, 256, stride)`, rows are the bytes of activation codes. The stride is
            the greatest of `plane_terms`, rounded up to a multiple of 4; what lies beyond a
            plane's terms is zero.
        v: int8 `(planes, 256, stride)`, rows are the bytes of weight codes, likewise.
        alpha: int32 `(256,)`, by activation byte.
        beta: int32 `(256,)`, by weight byte.
        plane_terms: how many terms each plane has, lowest plane first.
        alpha_is_zero: whether `alpha` is zero throughout, known when compiling.
    """

    u: Any
    v: Any
    alpha: Any
    beta: Any
    plane_terms: tuple[int, ...]
    alpha_is_zero: bool

    @property
    def terms(self) -> int:
        """Number of int8 x int8 products that replace one look-up, over all planes."""
        return sum(self.plane_terms)

    @property
    def words(self) -> int:
        """Number of 32-bit words of four terms that a code expands to."""
        return sum(-(-terms // WORD) for terms in self.plane_terms)

    def table(self) -> Any:
        """The table, rebuilt: int32 `(256, 256)`, row = activation byte.

        By NumPy for factors that are NumPy's, so that no device is touched, else by JAX.
        """
        lib: Any = np if isinstance(self.u, np.ndarray) else jnp
        total = lib.zeros((256, 256), lib.int32)
        for u, v in zip(self.u[::-1], self.v[::-1], strict=True):
            total = total * 256 + u.astype(lib.int32) @ v.astype(lib.int32).T
        return total + self.alpha[:, None] + self.beta[None, :]

    def fold_alpha(self) -> Factors:
        """The same table with `alpha` zero, for engines that have no place for it.

        It becomes one to three more terms with a constant second factor, which are free where
        the last word of a plane has room for them. Needs the arrays themselves: not under jit.
        """
        if self.alpha_is_zero:
            return self
        alpha = np.asarray(self.alpha, np.int64)
        terms = [
            Term(plane, np.asarray(self.u)[plane, :, r], np.asarray(self.v)[plane, :, r])
            for plane, count in enumerate(self.plane_terms)
            for r in range(count)
        ]
        added = [
            Term(plane, column, np.full(256, factor))
            for plane, column, factor in column_terms(alpha - alpha[0])
        ]
        covered = sum(
            (term.u.astype(np.int64) * int(term.v[0]) << (8 * term.plane) for term in added),
            start=np.zeros(256, np.int64),
        )
        left = alpha - covered  # constant
        beta = np.asarray(self.beta, np.int64) + left[0]
        return from_terms(terms + added, left - left[0], beta)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Arrays for `numpy.savez_compressed`: `u`, `v`, `alpha`, `beta` and `plane_terms`."""
        named = {name: np.asarray(getattr(self, name)) for name in ("u", "v", "alpha", "beta")}
        return named | {"plane_terms": np.array(self.plane_terms, np.int32)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Factors:
        """Factors from what `to_arrays` gave. Needs no lattice reduction, hence no flint.

        Whether they belong to a table is for the caller to check: `table()` is cheap.

        Raises:
            ValueError: if an array is missing, or its shape or type does not fit.
        """
        missing = [name for name in _ARRAYS if name not in arrays]
        if missing:
            raise ValueError(
                f"Factors.from_arrays: factors are the arrays {', '.join(_ARRAYS)}, got no "
                f"{', '.join(missing)}. Pass what Factors.to_arrays returned."
            )
        counts = np.asarray(arrays["plane_terms"])
        if counts.ndim != 1 or not np.issubdtype(counts.dtype, np.integer):
            raise ValueError(
                "Factors.from_arrays: plane_terms counts the terms of each plane, got "
                f"plane_terms={counts!r}. Pass a vector of integers."
            )
        plane_terms = tuple(int(count) for count in counts)
        _check_planes("Factors.from_arrays", plane_terms)
        shape = (len(plane_terms), 256, _stride(plane_terms))
        for name, dtype, expected in (
            ("u", np.int8, shape),
            ("v", np.int8, shape),
            ("alpha", np.int32, (256,)),
            ("beta", np.int32, (256,)),
        ):
            array = np.asarray(arrays[name])
            if array.shape != expected or array.dtype != dtype:
                raise ValueError(
                    f"Factors.from_arrays: for plane_terms={plane_terms} {name} is "
                    f"{np.dtype(dtype)}{list(expected)}, got {name}={array.dtype}"
                    f"{list(array.shape)}. Pass what Factors.to_arrays returned."
                )
        u, v, alpha, beta = (np.asarray(arrays[name]) for name in _ARRAYS[:4])
        return cls(u, v, alpha, beta, plane_terms, not alpha.any())

    def tree_flatten(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        leaves = (self.u, self.v, self.alpha, self.beta)
        return leaves, (self.plane_terms, self.alpha_is_zero)

    @classmethod
    def tree_unflatten(cls, structure: tuple[Any, ...], leaves: Iterable[Any]) -> Factors:
        return cls(*leaves, *structure)

    def __repr__(self) -> str:
        return f"Factors(plane_terms={self.plane_terms}, alpha_is_zero={self.alpha_is_zero})"


_ARRAYS = ("u", "v", "alpha", "beta", "plane_terms")


def from_terms(terms: Iterable[Term], alpha: np.ndarray, beta: np.ndarray) -> Factors:
    """Lays out int8 terms over 256 bytes; `alpha` and `beta` are reduced modulo 2**32."""
    terms = list(terms)
    planes = max((term.plane for term in terms), default=0) + 1
    by_plane = [[term for term in terms if term.plane == plane] for plane in range(planes)]
    plane_terms = tuple(len(of_plane) for of_plane in by_plane)
    u, v = (np.zeros((planes, 256, _stride(plane_terms)), np.int8) for _ in "uv")
    for plane, of_plane in enumerate(by_plane):
        for r, term in enumerate(of_plane):
            u[plane, :, r] = term.u
            v[plane, :, r] = term.v
    alpha, beta = (np.asarray(side, np.int64).astype(np.int32) for side in (alpha, beta))
    return Factors(u, v, alpha, beta, plane_terms, not alpha.any())


def _stride(plane_terms: tuple[int, ...]) -> int:
    return -(-max(plane_terms) // WORD) * WORD


def _check_planes(function: str, plane_terms: tuple[int, ...]) -> None:
    if not 1 <= len(plane_terms) <= MAX_PLANES or min(plane_terms) < 0:
        raise ValueError(
            f"{function}: factors have 1 to {MAX_PLANES} planes of no or more terms, got "
            f"plane_terms={plane_terms}. Higher planes would be shifted out of 32 bits."
        )
