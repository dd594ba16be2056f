# SPDX-License-Identifier: Apache-2.0
"""factorize: the search for the fewest int8 terms."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from axjax._multiplier import Multiplier
from axjax.factorization._balance import balanced
from axjax.factorization._factors import Factors, from_terms
from axjax.factorization._lattice import coordinates, reduced, saturated
from axjax.factorization._terms import Term, costs, split

Pair = tuple[np.ndarray, np.ndarray]
"""u `(m, rank)` and v `(rank, n)`, int64, zero in row 0 of u and in column 0 of v."""

_SMALL_RANK = 64  # up to here all starts of the search together take about a second


def factorize(multiplier: Multiplier) -> Factors:
    """Exact integer factors of a table, with as few int8 terms as the search can find.

    Eq. (1) of docs/factorization.md, checked on every pair of codes before it is returned.
    Exact multipliers have one term; no table has more than 255 terms for each byte of its
    greatest difference, so 510 for 16-bit entries. Whether so many terms are worth their
    while is for the caller to judge. Deterministic.

    Takes well under a second for tables of few terms and a few seconds for hundreds. Keep
    the result: `Factors.to_arrays`.

    Args:
        multiplier: its table; its factors do not depend on anything else.
    Raises:
        ImportError: without python-flint, which `pip install 'axjax[factor]'` brings.

    >>> from axjax import circuits
    >>> factorize(circuits.truncated(8, columns=4)).terms
    5
    """
    products = multiplier.products()
    terms = _fewest_terms(products, multiplier)
    left = products - _total(terms, products.shape)
    alpha, beta = left[:, 0], left[0] - left[0, 0]
    terms, alpha, beta = _less_alpha(terms, alpha, beta)
    rows = multiplier.activation.patterns_of_bytes()
    columns = multiplier.weight.patterns_of_bytes()
    factors = from_terms(
        (Term(term.plane, term.u[rows], term.v[columns]) for term in terms),
        alpha[rows],
        beta[columns],
    )
    if not np.array_equal(factors.table(), np.asarray(multiplier.table, np.int32)):
        raise AssertionError("factorize: the factors do not give the table")
    return factors


def _fewest_terms(products: np.ndarray, multiplier: Multiplier) -> list[Term]:
    """The terms of the best start, the first of them if several are equally good."""
    about_zero = _about_zero(products)
    if not about_zero.any():
        return []
    x, w = multiplier.activation.values(), multiplier.weight.values()
    errors = products - np.multiply.outer(x, w)
    best = _Best()
    for u, v in _trivial(about_zero), _unit(products), _with((x, w), _unit(errors)):
        best.offer(u, v, int(costs(u, v).sum()))
    trivial = best.terms
    for u, v in _starts(about_zero, (x, w)):
        best.rank = best.rank or len(v)
        for exponent in (1, 2):
            best.offer(*balanced(u, v, exponent))
            if best.terms <= best.rank:
                break
        # Nothing to find: optimal, or as good as random.
        if best.terms <= best.rank or (best.terms == trivial and best.rank > _SMALL_RANK):
            break
    return [term for k in range(len(best.v)) for term in split(best.u[:, k], best.v[k])]


class _Best:
    """The best factors so far."""

    terms = 1 << 30
    rank = 0  # no exact form has fewer terms
    u: np.ndarray
    v: np.ndarray

    def offer(self, u: np.ndarray, v: np.ndarray, terms: int) -> None:
        if terms < self.terms:
            self.u, self.v, self.terms = u, v, terms


def _starts(about_zero: np.ndarray, exact: Pair) -> Iterator[Pair]:
    """Factors to begin with, those that serve most tables first; the first has least rank.

    Args:
        about_zero: the table less its functions of one operand: zero in row 0, column 0.
        exact: the values of the codes, the factors of the exact product.
    """
    by_rows = _reduced_pair(about_zero)
    yield by_rows
    by_columns = _transposed(_reduced_pair(about_zero.T))
    yield by_columns
    errors = about_zero - np.multiply.outer(*exact)
    if errors.any():
        yield _with(exact, _reduced_pair(errors))
        yield _with(exact, _transposed(_reduced_pair(errors.T)))
    if len(by_rows[1]) <= _SMALL_RANK:
        yield from _between(about_zero, by_rows[1])
        yield from map(_transposed, _between(about_zero.T, by_columns[0].T))


def _reduced_pair(matrix: np.ndarray) -> Pair:
    """Short rows v, and what u they leave."""
    return _over(matrix, reduced(matrix)) or _trivial(matrix)


def _between(matrix: np.ndarray, basis: np.ndarray) -> Iterator[Pair]:
    """v in lattices between that of the rows of `matrix` and all integers in its span."""
    whole = reduced(saturated(basis))
    for scale in (1 << k for k in range(11)):
        pair = _over(matrix, reduced(np.concatenate([basis, scale * whole])))
        if pair is not None:
            yield pair


def _over(matrix: np.ndarray, basis: np.ndarray) -> Pair | None:
    u = coordinates(matrix, basis)
    return None if u is None else (u, basis)


def _trivial(matrix: np.ndarray) -> Pair:
    """The matrix itself and unit vectors, on the side that has fewer codes."""
    m, n = matrix.shape
    if m < n:
        return np.eye(m, dtype=np.int64)[:, 1:], matrix[1:]
    return matrix[:, 1:], np.eye(n, dtype=np.int64)[1:]


def _unit(matrix: np.ndarray) -> Pair:
    """As `_trivial` with one row more: digits of the entries, not of their differences."""
    m, n = matrix.shape
    if m < n:
        return _transposed(_unit(matrix.T))
    v = np.eye(n, dtype=np.int64)
    return matrix - matrix[0], v - v[:, :1]


def _about_zero(matrix: np.ndarray) -> np.ndarray:
    return matrix - matrix[:, :1] - matrix[:1] + matrix[0, 0]


def _with(exact: Pair, errors: Pair) -> Pair:
    (x, w), (u, v) = exact, errors
    return np.column_stack([x, u]), np.vstack([w, v])


def _transposed(pair: Pair) -> Pair:
    u, v = pair
    return v.T, u.T


def _total(terms, shape: tuple[int, int]) -> np.ndarray:
    """The sum of terms: int64, may wrap around like int32 arithmetic does."""
    total = np.zeros(shape, np.int64)
    for term in terms:
        product = np.multiply.outer(term.u.astype(np.int64), term.v.astype(np.int64))
        total += product << (8 * term.plane)
    return total


def _less_alpha(
    terms: list[Term], alpha: np.ndarray, beta: np.ndarray
) -> tuple[list[Term], np.ndarray, np.ndarray]:
    """Adds constants to the terms' v, as far as they fit int8, so that alpha varies less.

    Often it vanishes: engines can leave it out, and it takes no term where they cannot.
    """
    alpha, beta = alpha - alpha[0], beta + alpha[0]
    if not terms or not alpha.any():
        return terms, alpha, beta
    u = np.stack([term.u.astype(np.int64) << 8 * term.plane for term in terms], axis=1)
    v = np.stack([term.v.astype(np.int64) for term in terms])
    wanted = np.rint(np.linalg.lstsq(u - u[0], alpha)[0])
    shifts = np.clip(wanted, -128 - v.min(axis=1), 127 - v.max(axis=1)).astype(np.int64)
    left = alpha - u @ shifts
    if np.ptp(left) >= np.ptp(alpha):
        return terms, alpha, beta
    shifted = (v + shifts[:, None]).astype(np.int8)
    terms = [Term(t.plane, t.u, moved) for t, moved in zip(terms, shifted, strict=True)]
    return terms, left - left[0], beta + left[0]
