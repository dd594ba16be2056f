# SPDX-License-Identifier: Apache-2.0
"""Factors give the table back exactly, and are as few as is known to be possible."""

import importlib.util
import sys

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from axjax import Multiplier, circuits, load
from axjax.factorization import Factors, factorize
from axjax.factorization._balance import balanced
from axjax.factorization._terms import column_terms, costs, split

needs_flint = pytest.mark.skipif(
    importlib.util.find_spec("flint") is None,
    reason="python-flint (axjax[factor]) is not installed",
)


def rank(multiplier):
    """Rank of the table less its functions of one operand: no exact form has fewer terms."""
    from axjax.factorization._lattice import rank

    products = multiplier.products()
    return rank(products - products[:, :1] - products[:1] + products[0, 0])


def small(seed, bits, signed, low, high):
    shape = (1 << bits[0], 1 << bits[1])
    products = np.random.default_rng(seed).integers(low, high, shape)
    return Multiplier(products, bits=bits, signed=signed)


def assert_same_table(factors, multiplier):
    np.testing.assert_array_equal(
        np.asarray(factors.table()), np.asarray(multiplier.table, np.int32)
    )


@needs_flint
@pytest.mark.parametrize("bits", [8, 5, (8, 3), (2, 7)], ids=str)
@pytest.mark.parametrize("signed", [False, True, (True, False)], ids=str)
def test_exact_multipliers_take_one_term(bits, signed):
    multiplier = Multiplier.exact(bits, signed=signed)
    factors = factorize(multiplier)
    assert factors.plane_terms == (1,)
    assert_same_table(factors, multiplier)


@needs_flint
@pytest.mark.parametrize(
    ("multiplier", "terms"),
    [
        (circuits.truncated(8, columns=4), 5),
        (circuits.truncated(8, columns=8), 7),
        (circuits.truncated((8, 4), columns=4), 4),
        (circuits.truncated(8, columns=4, signed=True), 5),
        (circuits.broken_array(8, horizontal=1, vertical=4), 4),
        (circuits.drum(8, k=4), 1),
        (circuits.drum(8, k=6), 1),
        (circuits.kulkarni(8), 2),
        (circuits.mitchell(8, signed=True), 64),
    ],
    ids=str,
)
def test_classical_designs_take_as_few_terms_as_their_rank(multiplier, terms):
    factors = factorize(multiplier)
    assert factors.terms == terms == rank(multiplier)
    assert len(factors.plane_terms) == 1
    assert_same_table(factors, multiplier)


# Terms of real circuits; all but that of 17KS (18) are their rank.
REAL = {
    "mul8s_1KR3.npy": 1,
    "mul8s_1KV8.npy": 1,
    "mul8s_1L2H.npy": 1,
    "mul8u_125K.bin": 5,
    "mul8u_1446.bin": 2,
    "mul8u_17KS.bin": 21,
    "mul8u_185Q.bin": 150,
    "mul8u_1JFF.bin": 1,
    "mul8u_2AC.bin": 10,
    "mul8u_2HH.bin": 49,
    "mul8u_2P7.bin": 7,
    "mul8u_FTA.bin": 17,
    "mul8u_KEM.bin": 16,
    "mul8u_L40.bin": 193,
    "mul8u_YX7.bin": 128,
}


@needs_flint
@pytest.mark.parametrize("file", REAL)
def test_terms_of_real_circuits(shared_luts, file):
    multiplier = load(shared_luts / file)
    factors = factorize(multiplier)
    assert_same_table(factors, multiplier)
    assert factors.terms == REAL[file]
    if file != "mul8u_17KS.bin":
        assert factors.terms == rank(multiplier)


@needs_flint
@hypothesis.settings(max_examples=40)
@hypothesis.given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.tuples(st.integers(2, 4), st.integers(2, 5)),
    signed=st.tuples(st.booleans(), st.booleans()),
    limits=st.sampled_from(
        [(0, 2), (0, 256), (-300, 300), (0, 65536), (-(2**31), 2**31), (2**31 - 9, 2**31)]
    ),
)
def test_factors_give_any_table_back(seed, bits, signed, limits):
    multiplier = small(seed, bits, signed, *limits)
    factors = factorize(multiplier)
    assert_same_table(factors, multiplier)
    assert factors.terms >= rank(multiplier)
    folded = factors.fold_alpha()
    assert folded.alpha_is_zero
    assert not folded.alpha.any()
    assert_same_table(folded, multiplier)


@needs_flint
def test_functions_of_one_operand_take_no_term():
    byte = np.arange(256)
    multiplier = Multiplier(1001 * byte[:, None] - byte**2 + 3)
    factors = factorize(multiplier)
    assert factors.terms == factors.words == 0
    assert_same_table(factors, multiplier)
    assert_same_table(factors.fold_alpha(), multiplier)


@needs_flint
def test_a_random_table_has_at_most_512_terms(rng):
    multiplier = Multiplier(rng.integers(0, 65536, (256, 256)))
    factors = factorize(multiplier)
    assert rank(multiplier) == 255
    assert factors.terms <= 512
    assert_same_table(factors, multiplier)


@needs_flint
def test_small_random_errors_take_one_term_a_code(rng):
    exact = Multiplier.exact().products()
    multiplier = Multiplier(exact + rng.integers(0, 200, exact.shape))
    factors = factorize(multiplier)
    assert factors.terms <= 257
    assert_same_table(factors, multiplier)


@needs_flint
def test_factors_are_the_same_in_every_run():
    multiplier = circuits.broken_array(8, horizontal=2, vertical=6)
    first, second = (factorize(multiplier).to_arrays() for _ in range(2))
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


@needs_flint
def test_a_factored_dot_product_equals_look_ups(rng):
    multiplier = circuits.truncated((8, 6), columns=5, signed=True)
    factors = factorize(multiplier)
    x, w = rng.integers(0, 256, (5, 37)), rng.integers(0, 256, (37, 4))
    expected = np.asarray(multiplier.table)[x[:, :, None], w[None]].sum(axis=1)
    total = np.zeros((5, 4), np.int32)
    for u, v in zip(factors.u[::-1], factors.v[::-1], strict=True):
        total = total * 256 + np.einsum("pkr,kor->po", u[x].astype(np.int32), v[w])
    total += factors.alpha[x].sum(axis=1)[:, None] + factors.beta[w].sum(axis=0)
    np.testing.assert_array_equal(total, expected)


@needs_flint
def test_saved_factors_need_no_flint(tmp_path, monkeypatch):
    multiplier = circuits.drum(8, k=4, signed=True)
    np.savez_compressed(tmp_path / "factors.npz", **factorize(multiplier).to_arrays())
    monkeypatch.setitem(sys.modules, "flint", None)
    with np.load(tmp_path / "factors.npz") as arrays:
        loaded = Factors.from_arrays(arrays)
    assert_same_table(loaded, multiplier)
    assert loaded.terms == 3
    assert not loaded.alpha_is_zero


def test_without_flint_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "flint", None)
    with pytest.raises(ImportError, match=r"factorize: .* pip install 'axjax\[factor\]'"):
        factorize(Multiplier.exact())


def two_planes():
    """Two terms in plane 0 and one in plane 1, made by hand."""
    u, v = np.zeros((2, 256, 4), np.int8), np.zeros((2, 256, 4), np.int8)
    byte = np.arange(256).astype(np.uint8).view(np.int8)
    u[0, :, 0], v[0, :, 0] = byte, byte
    u[0, :, 1], v[0, :, 1] = byte >> 2, -(byte >> 3)
    u[1, :, 0], v[1, :, 0] = byte & 15, 5
    alpha, beta = np.arange(256, dtype=np.int32), np.full(256, -7, np.int32)
    return Factors(u, v, alpha, beta, (2, 1), False)


def test_planes_are_digits_to_base_256():
    factors = two_planes()
    byte = np.arange(256).astype(np.uint8).view(np.int8).astype(np.int64)
    x, w = byte[:, None], byte[None, :]
    expected = x * w - (x >> 2) * (w >> 3) + 256 * 5 * (x & 15) + (x & 255) - 7
    np.testing.assert_array_equal(np.asarray(factors.table()), expected)
    assert factors.terms == 3
    assert factors.words == 2


def test_folding_keeps_the_table():
    factors = two_planes()
    folded = factors.fold_alpha()
    assert folded.plane_terms == (3, 1)
    assert folded.alpha_is_zero
    assert not folded.alpha.any()
    assert folded.fold_alpha() is folded
    np.testing.assert_array_equal(folded.table(), factors.table())


def test_factors_are_a_pytree_and_equal_counts_share_a_program():
    factors = two_planes()
    traces = []

    @jax.jit
    def table(factors):
        traces.append(factors.terms)  # static while tracing
        return factors.table()

    np.testing.assert_array_equal(np.asarray(table(factors)), np.asarray(factors.table()))
    other = jax.tree.map(lambda leaf: leaf + (leaf == 1).astype(leaf.dtype), factors)
    np.testing.assert_array_equal(np.asarray(table(other)), np.asarray(other.table()))
    assert traces == [3]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), factors, other)
    tables = jax.vmap(table)(stacked)
    np.testing.assert_array_equal(np.asarray(tables[1]), np.asarray(other.table()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"u": None}, "got no u. Pass what"),
        ({"plane_terms": np.array([[1]])}, "counts the terms of each plane, got"),
        ({"plane_terms": np.array([0.5])}, "counts the terms of each plane, got"),
        ({"plane_terms": np.zeros(5, int)}, "1 to 4 planes .* got plane_terms="),
        ({"plane_terms": np.array([-1])}, "1 to 4 planes .* got plane_terms="),
        (
            {"plane_terms": np.array([9, 1])},
            r"u is int8\[2, 256, 12\], got u=int8\[2, 256, 4\]",
        ),
        ({"v": np.zeros((2, 256, 4), np.int16)}, r"got v=int16\[2, 256, 4\]"),
        ({"beta": np.zeros(255, np.int32)}, r"beta is int32\[256\], got beta=int32\[255\]"),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_broken_arrays_are_refused(change, message):
    arrays = two_planes().to_arrays() | change
    arrays = {name: array for name, array in arrays.items() if array is not None}
    with pytest.raises(ValueError, match=f"^Factors.from_arrays: .*{message}"):
        Factors.from_arrays(arrays)


@pytest.mark.parametrize(
    ("scale_u", "range_u", "scale_v", "range_v", "terms"),
    [
        (1, 255, 1, 255, 1),
        (3, 85, 7, 36, 1),
        (3, 86, 7, 36, 2),  # neither 3 * 86 nor 21 * 36 fits
        (256, 255, 1, 255, 1),
        (1, 256, 1, 255, 2),
        (1, 65535, 1, 255, 2),
        (1, 300, 1, 382, 3),
        (1, 300, 1, 383, 4),
        (1, 65536, 1, 255, 3),
        (1, 65535, 1, 65535, 4),
        (1009, 1, 1, 255, 2),
        (2**32, 200, 1, 200, 0),
    ],
)
def test_one_product_in_the_fewest_terms(scale_u, range_u, scale_v, range_v, terms, rng):
    def vector(size, scale):
        entries = rng.integers(0, size + 1, 64)
        entries[:3] = 0, size, 1
        return scale * entries

    u, v = vector(range_u, scale_u), vector(range_v, scale_v)
    found = split(u, v)
    assert len(found) == costs(u[:, None], v[None, :]).sum() == terms
    total = sum(
        (np.multiply.outer(t.u.astype(np.int64), t.v.astype(np.int64)) << 8 * t.plane)
        for t in found
    ) - np.multiply.outer(u, v)
    left = np.asarray(total - total[:, :1] - total[:1] + total[0, 0])
    np.testing.assert_array_equal(left % 2**32, 0)


@pytest.mark.parametrize("size", [1, 255, 256, 32640, 32767, 32768, 65535, 2**24 + 1, 2**31])
@pytest.mark.parametrize("common", [1, 128, 1009], ids="x{}".format)
def test_a_column_in_terms(size, common, rng):
    column = common * rng.integers(0, size + 1, 64)
    column[:3] = 0, common * size, common
    total = np.zeros(64, np.int64)
    for plane, entries, factor in column_terms(column):
        assert entries.dtype == np.int8
        assert -128 <= factor <= 127
        total += entries.astype(np.int64) * factor << 8 * plane
    assert len(set((total - column) % 2**32)) == 1


def test_balancing_keeps_the_product(rng):
    small_u, small_v = rng.integers(-9, 10, (20, 6)), rng.integers(-9, 10, (6, 30))
    small_u[0], small_v[:, 0] = 0, 0
    mixed = np.triu(rng.integers(-3, 4, (6, 6)), 1) + np.eye(6, dtype=np.int64)
    inverse = np.rint(np.linalg.inv(mixed)).astype(np.int64)
    u, v = small_u @ inverse, 16 * mixed @ small_v  # 16: the lattice is not the best either
    for exponent in (1, 2):
        new_u, new_v, terms = balanced(u, v, exponent)
        np.testing.assert_array_equal(new_u @ new_v, u @ v)
        assert terms == costs(new_u, new_v).sum() == 6
    assert costs(u, v).sum() > 6
