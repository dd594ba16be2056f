# SPDX-License-Identifier: Apache-2.0
"""Makes the factors of a product of integer matrices small, both of them at once.

`u @ v` stays as it is while

- pair moves `v[i] += k v[j]`, `u[:, j] -= k u[:, i]` change the basis of the lattice, and
- halvings take a sum of rows of v that is even, halve it, and double the column of u: they
  change the lattice itself, where one factor is large and the other small.

Lattice reduction alone makes v small at the expense of u.
"""

from __future__ import annotations

import numpy as np

from axjax.factorization._terms import RANGE, costs

_MOVES = 4000  # in one go; a few hundred are common


def balanced(u: np.ndarray, v: np.ndarray, exponent: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Factors of the same product that take fewer int8 terms, and how many.

    Args:
        u: int64 `(m, rank)`, zero in row 0.
        v: int64 `(rank, n)`, zero in column 0.
        exponent: of the mean squares whose sum is lowered. 1 shortens the vectors on the
            whole, 2 minds the longest; neither is better on all tables.
    """
    best = u, v, int(costs(u, v).sum())
    fewest = len(v)
    while True:
        u, v = _move_pairs(u, v, exponent)
        used = np.any(u, axis=0) & np.any(v, axis=1)
        u, v = u[:, used], v[used]
        terms = int(costs(u, v).sum())
        if terms < best[2]:
            best = u, v, terms
        if best[2] <= fewest:
            return best
        u, v, some = _halve_rows(u, v)
        v_t, u_t, more = _halve_rows(v.T, u.T)
        u, v = u_t.T, v_t.T
        if not some and not more:
            return best


def _move_pairs(u: np.ndarray, v: np.ndarray, exponent: int) -> tuple[np.ndarray, np.ndarray]:
    """Applies the best pair move until none lowers the sum of mean squares ** exponent."""
    u, v = u.copy(), v.copy()
    gram_u, gram_v = _gram(u.T), _gram(v)
    n = len(v)
    gain, factor = np.zeros((n, n)), np.zeros((n, n))
    everything = np.arange(n)

    def update(i: np.ndarray, j: np.ndarray) -> None:
        gain[i, j], factor[i, j] = _gains(gram_u, gram_v, i, j, exponent)

    update(np.repeat(everything, n), np.tile(everything, n))
    for _ in range(_MOVES if n > 1 else 0):
        i, j = divmod(int(gain.argmax()), n)
        if gain[i, j] <= 1e-9:
            break
        k = int(factor[i, j])
        v[i] += k * v[j]
        u[:, j] -= k * u[:, i]
        gram_v[i] += k * gram_v[j]
        gram_v[:, i] += k * gram_v[:, j]
        gram_u[j] -= k * gram_u[i]
        gram_u[:, j] -= k * gram_u[:, i]
        changed = np.repeat([i, j], n)
        others = np.tile(everything, 2)
        update(np.append(changed, others), np.append(others, changed))
    return u, v


def _gram(vectors: np.ndarray) -> np.ndarray:
    """Inner products of rows about their means; 1 for a full-range int8 vector."""
    about_mean = vectors - vectors.mean(axis=1, keepdims=True)
    return about_mean @ about_mean.T / (vectors.shape[1] * RANGE**2 / 12)


def _gains(
    gram_u: np.ndarray, gram_v: np.ndarray, i: np.ndarray, j: np.ndarray, exponent: int
) -> tuple[np.ndarray, np.ndarray]:
    """For the moves (i, j): the best gain, 0 if there is none, and its factor k."""
    square_u, square_v = gram_u.diagonal(), gram_v.diagonal()
    inner_u, inner_v = gram_u[i, j], gram_v[i, j]
    old_v, by_v, old_u, by_u = square_v[i], square_v[j], square_u[j], square_u[i]
    k = np.empty((5, len(i)))
    k[0] = -inner_v / np.maximum(by_v, 1e-9)  # makes v[i] as short as possible
    k[1] = inner_u / np.maximum(by_u, 1e-9)  # makes u[:, j] as short as possible
    k[2] = (k[0] + k[1]) / 2
    k[3], k[4] = 1, -1
    k = np.rint(k)
    new_v = np.maximum(old_v + k * (2 * inner_v + k * by_v), 0)
    new_u = np.maximum(old_u + k * (k * by_u - 2 * inner_u), 0)
    old = old_v**exponent + old_u**exponent
    gains = old - new_v**exponent - new_u**exponent
    best = gains.argmax(axis=0)
    at = best, np.arange(len(i))
    gain = gains[at]
    # Relative, so that rounding errors of large squares are not taken for gains.
    gain[(gain <= 1e-9 * old) | (i == j)] = 0
    return gain, k[at]


def _halve_rows(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Halves even sums of those rows of `v` that are longer than their columns of `u`.

    Returns:
        u, v, and how many sums were halved.
    """
    u, v = u.copy(), v.copy()
    square_u, square_v = u.var(axis=0), v.var(axis=1)
    long = np.flatnonzero(square_v > 4 * square_u)  # half of it pays for twice the other
    long = long[np.argsort(-square_v[long], kind="stable")]
    sums = _even_sums(v[long])
    for members in sums:
        first, *rest = long[np.flatnonzero(members)]  # the longest is replaced
        v[first] = (v[first] + v[rest].sum(axis=0)) // 2
        u[:, rest] -= u[:, [first]]
        u[:, first] *= 2
    return u, v, len(sums)


def _even_sums(rows: np.ndarray) -> np.ndarray:
    """All sets of rows with an even sum, as a basis modulo 2: bool `(sets, len(rows))`.

    The first row of each set is in no other set.
    """
    odd = (rows & 1).astype(bool)
    members = np.eye(len(rows), dtype=bool)
    done = _eliminate(odd, members)
    members = members[done:]
    _eliminate(members, np.zeros((len(members), 0), bool))
    return members


def _eliminate(matrix: np.ndarray, companion: np.ndarray) -> int:
    """Gauss-Jordan elimination modulo 2 in place, on both alike; the rank of `matrix`."""
    pivot = 0
    for column in range(matrix.shape[1]):
        below = np.flatnonzero(matrix[pivot:, column])
        if below.size == 0:
            continue
        swap = [pivot, pivot + below[0]]
        for array in (matrix, companion):
            array[swap] = array[swap[::-1]]
        others = matrix[:, column].copy()
        others[pivot] = False
        for array in (matrix, companion):
            array[others] ^= array[pivot]
        pivot += 1
        if pivot == len(matrix):
            break
    return pivot
