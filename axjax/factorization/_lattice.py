# SPDX-License-Identifier: Apache-2.0
"""Integer lattices: reduced bases, through python-flint, which only `factorize` needs.

A lattice is given by integer vectors, the rows of a matrix. Vectors begin with a zero: they
stand for functions up to a constant, and their length is measured about their mean.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def reduced(generators: np.ndarray) -> np.ndarray:
    """A basis of short vectors: int64 `(rank, n)`, by the method of Lenstra, Lenstra, Lovász.

    Args:
        generators: int64 `(any, n)`, zero in column 0.

    Source: A. K. Lenstra, H. W. Lenstra, L. Lovász, Factoring Polynomials with Rational
    Coefficients, Mathematische Annalen 261, 1982.
    """
    n = generators.shape[1]
    about_mean = n * generators - generators.sum(axis=1, keepdims=True)
    basis = _array(_flint_matrix(about_mean).lll())
    basis = basis[np.any(basis, axis=1)]
    return (basis - basis[:, :1]) // n


def saturated(basis: np.ndarray) -> np.ndarray:
    """A basis of all integer vectors in the real span of `basis`: int64 `(rank, n)`.

    The Hermite form of the transpose is `[h; 0]`, and `h^-T basis` is part of a unimodular
    matrix. Takes seconds from rank 150 up.
    """
    rank = len(basis)
    hermite = _array(_flint_matrix(basis.T).hnf(), object)[:rank].T
    quotient, denominator = _flint_matrix(hermite).solve(_flint_matrix(basis)).numer_denom()
    assert denominator == 1
    return _array(quotient)


def coordinates(rows: np.ndarray, basis: np.ndarray) -> np.ndarray | None:
    """Integer `u` with `rows = u @ basis`, or None if rounding errors hide it.

    Args:
        rows: int64 `(m, n)`, in the lattice.
        basis: int64 `(rank, n)`, reduced, hence well conditioned.
    """
    inverse = np.linalg.pinv(basis.astype(np.float64))
    u = np.zeros((len(rows), len(basis)), np.int64)
    rest = rows
    for _ in range(4):  # each round corrects the rounding errors of the one before
        step = np.rint(rest @ inverse)
        if np.abs(step).max(initial=0) > 2**40:
            return None
        u = u + step.astype(np.int64)
        rest = rows - u @ basis
        if not rest.any():
            return u
    return None


def rank(rows: np.ndarray) -> int:
    """Rank over the rationals."""
    return _flint_matrix(rows).rank()


def _flint_matrix(rows: np.ndarray) -> Any:
    return _flint().fmpz_mat([[int(entry) for entry in row] for row in rows])


def _array(matrix: Any, dtype: Any = np.int64) -> np.ndarray:
    return np.array([[int(entry) for entry in row] for row in matrix.tolist()], dtype)


def _flint() -> Any:
    try:
        import flint
    except ImportError as error:
        raise ImportError(
            "factorize: reducing integer lattices takes the package python-flint, got "
            f"{error}. Install it with pip install 'axjax[factor]'; factors that were saved "
            "need no such package."
        ) from error
    return flint
