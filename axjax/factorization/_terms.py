# SPDX-License-Identifier: Apache-2.0
"""One product of integer vectors as few products of int8 vectors.

A function of one operand costs nothing (alpha, beta), so a vector matters only up to a
constant: it fits int8 if its *range*, greatest less least entry, is at most 255. A common
factor of the entries is split between the two vectors and the plane as it fits.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

RANGE = 255  # of an int8 vector
_FOLDED = RANGE + 127  # a range that one reflection brings down to RANGE


@dataclasses.dataclass(frozen=True)
class Term:
    """`256**plane * u[x] * v[w]`; `u` and `v` fit int8, or do once a constant is added."""

    plane: int
    u: np.ndarray
    v: np.ndarray


def costs(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Terms for each product of a column of `u` and a row of `v`: int64 `(rank,)`.

    Args:
        u: int64 `(activation codes, rank)`, zero in row 0.
        v: int64 `(rank, weight codes)`, zero in column 0.
    """
    shapes = zip(*_shapes(u, v), strict=True)
    return np.array([_plan(*(int(size) for size in shape))[0] for shape in shapes], np.int64)


def split(u: np.ndarray, v: np.ndarray) -> list[Term]:
    """The terms of one product: their sum is `u[x] * v[w]` up to functions of one operand.

    Args:
        u: int64 `(activation codes,)`, zero at 0.
        v: int64 `(weight codes,)`, zero at 0.
    """
    (range_u,), (range_v,), (factor,) = _shapes(u[:, None], v[None, :])
    if range_u == 0 or range_v == 0:
        return []
    u, v = u // np.gcd.reduce(u), v // np.gcd.reduce(v)
    return _split(u - u.min(), v - v.min(), (int(range_u), int(range_v), int(factor)))


def column_terms(column: np.ndarray) -> list[tuple[int, np.ndarray, int]]:
    """A function of one operand as `sum 256**plane * entries * factor`, up to a constant.

    Args:
        column: int64, any length, zero at 0.
    Returns:
        (plane, int8 entries, factor in -128..127) each.
    """
    common = int(np.gcd.reduce(column))
    if common == 0:
        return []
    column = (column - column.min()) % 2**32  # sums wrap
    size = int(column.max()) // common
    if _fit(size, 1, common, limit=128) is not None:
        return [_column_term(column // common, common)]
    # 128 keeps to plane 0, as far as it goes.
    digit = 128 if size * common < 128 * (RANGE + 1) else 256
    found = []
    place = 1
    while column.any():
        low = column if column.max() <= RANGE else column % digit
        if low.any():
            found.append(_column_term(low, place))
        column, place = (column - low) // digit, place * digit
    return found


def _column_term(column: np.ndarray, place: int) -> tuple[int, np.ndarray, int]:
    plane, a, b = _checked_fit(int(column.max()), 1, place, limit=128)
    if b == 128:  # fits int8 only as -128
        return plane, _centred(-a * column), -b
    return plane, _centred(a * column), b


def _shapes(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ranges once the common factors are taken out, and the product of these factors."""
    gcd_u, gcd_v = np.gcd.reduce(u, axis=0), np.gcd.reduce(v, axis=1)
    one = np.int64(1)
    range_u = np.ptp(u, axis=0) // np.maximum(gcd_u, one)
    range_v = np.ptp(v, axis=1) // np.maximum(gcd_v, one)
    return range_u, range_v, gcd_u * gcd_v


@functools.lru_cache(maxsize=1 << 16)
def _fit(range_u: int, range_v: int, factor: int, limit: int = RANGE):
    """(plane, a, b) with `factor = 256**plane * a * b` and both ranges within bounds, or None.

    The lowest plane that serves: planes of few terms waste part of a word.
    """
    if range_u > RANGE or range_v > limit:
        return None
    for plane in range(4):
        if factor % (1 << 8 * plane):
            return None
        rest = factor >> 8 * plane
        for b in range(min(limit // range_v, rest), 0, -1):
            if rest % b == 0 and rest // b * range_u <= RANGE:
                return plane, rest // b, b
    return None


def _checked_fit(range_u: int, range_v: int, factor: int, limit: int = RANGE):
    fit = _fit(range_u, range_v, factor, limit)
    assert fit is not None
    return fit


@functools.lru_cache(maxsize=1 << 16)
def _plan(range_u: int, range_v: int, factor: int) -> tuple[int, str, int]:
    """(terms, way, digit): how to split a product of these ranges and this common factor."""
    if range_u == 0 or range_v == 0 or factor % (1 << 32) == 0:  # shifted out of 32 bits
        return 0, "none", 0
    if _fit(range_u, range_v, factor) is not None:
        return 1, "fits", 0
    ways = []
    if min(range_u, range_v) > RANGE and max(range_u, range_v) <= _FOLDED and factor == 1:
        ways.append((3, "fold", 0))
    for side in "uv":
        ways += _digit_ways(side, range_u, range_v, factor)
    rest = _beside_planes(factor)
    if rest > 1:
        place = factor // rest
        ways.append((_plan(range_u * rest, range_v, place)[0], "scale u", rest))
        ways.append((_plan(range_u, range_v * rest, place)[0], "scale v", rest))
    return min(ways, key=lambda way: way[0])


def _beside_planes(factor: int) -> int:
    while factor % 256 == 0:
        factor //= 256
    return factor


def _digit_ways(side: str, range_u: int, range_v: int, factor: int):
    """Ways that write one side as `digit * high + low`: in two terms, else by bytes."""
    size, other = (range_u, range_v) if side == "u" else (range_v, range_u)
    if other <= RANGE:
        for digit in range(max(2, size // 256 + 1), min(256, size) + 1):  # both digits fit
            low, high = _digit_shapes(side, digit, range_u, range_v, factor)
            if _fit(*low) is not None and _fit(*high) is not None:
                return [(2, side, digit)]
    if size < 256 or _beside_planes(factor) > 1:
        return []
    low, high = _digit_shapes(side, 256, range_u, range_v, factor)
    return [(_plan(*low)[0] + _plan(*high)[0], side, 256)]


def _digit_shapes(side: str, digit: int, range_u: int, range_v: int, factor: int):
    if side == "u":
        low, high = (digit - 1, range_v), (range_u // digit, range_v)
    else:
        low, high = (range_u, digit - 1), (range_u, range_v // digit)
    return (*low, factor), (*high, factor * digit)


def _split(u: np.ndarray, v: np.ndarray, shape: tuple[int, int, int]) -> list[Term]:
    """Carries out the plan; `u` and `v` begin at zero and have at most the planned ranges."""
    _, way, digit = _plan(*shape)
    if way == "none":
        return []
    if way == "fits":
        plane, a, b = _checked_fit(*shape)
        return [Term(plane, _centred(a * u), _centred(b * v))]
    if way == "fold":
        return _fold(u, v)
    range_u, range_v, factor = shape
    if way == "scale u":
        return _split(u * digit, v, (range_u * digit, range_v, factor // digit))
    if way == "scale v":
        return _split(u, v * digit, (range_u, range_v * digit, factor // digit))
    low, high = _digit_shapes(way, digit, *shape)
    if way == "u":
        return _split(u % digit, v, low) + _split(u // digit, v, high)
    return _split(u, v % digit, low) + _split(u, v // digit, high)


def _fold(u: np.ndarray, v: np.ndarray) -> list[Term]:
    """Three terms for two vectors that both exceed the range by less than half.

    With s the vector cut off at the range and t the rest,
    `(s + t)(s' + t') = (s - t)(s' - t') + 2 s t' + 2 t s'`: entries beyond the range are
    reflected into it. Digits would take four terms.
    """
    s_u, s_v = np.minimum(u, RANGE), np.minimum(v, RANGE)
    t_u, t_v = u - s_u, v - s_v
    pairs = ((s_u - t_u, s_v - t_v), (s_u, 2 * t_v), (2 * t_u, s_v))
    return [Term(0, _centred(a), _centred(b)) for a, b in pairs]


def _centred(entries: np.ndarray) -> np.ndarray:
    """The entries as int8, less a constant if need be."""
    low, high = int(entries.min()), int(entries.max())
    if low < -128 or high > 127:
        entries = entries - (low + 128)
    return entries.astype(np.int8)
