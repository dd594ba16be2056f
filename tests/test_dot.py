# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conv_cases import random_multiplier
from jax import lax

from axjax import CurrentRange, Multiplier, Quantization, dot_general

CASES = {
    "matrix": ((5, 7), (7, 3), (((1,), (0,)), ((), ()))),
    "vector": ((7,), (7,), (((0,), (0,)), ((), ()))),
    "outer": ((3,), (4,), (((), ()), ((), ()))),
    "transposed": ((7, 5), (3, 7), (((0,), (1,)), ((), ()))),
    "many dimensions": ((2, 3, 4, 5), (5, 6, 3), (((1, 3), (2, 0)), ((), ()))),
    "batch": ((2, 5, 7), (2, 7, 3), (((2,), (1,)), ((0,), (0,)))),
    "attention": ((2, 6, 3, 8), (2, 5, 3, 8), (((3,), (3,)), ((0, 2), (0, 2)))),
    "no rows": ((0, 7), (7, 3), (((1,), (0,)), ((), ()))),
}


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_fine_codes_approach_the_exact_product(rng, name, signed):
    lhs_shape, rhs_shape, numbers = CASES[name]
    lhs = jnp.asarray(rng.integers(-127, 128, lhs_shape), jnp.float32)
    rhs = jnp.asarray(rng.integers(-127, 128, rhs_shape), jnp.float32)
    if lhs.size:  # full ranges, so that every scale is one and every code exact
        lhs = lhs.at[(0,) * lhs.ndim].set(127)
    if not signed:
        lhs = jnp.abs(lhs)
        lhs = lhs.at[(0,) * lhs.ndim].set(255) if lhs.size else lhs
    quantization = (
        Quantization.unit()
        if signed
        else Quantization(lhs=Quantization.unit().lhs, rhs=CurrentRange(symmetric=True))
    )
    if not signed:
        rhs = rhs.at[(0,) * rhs.ndim].set(127)
    mul = Multiplier.exact(8, signed=signed)
    out, vjp = jax.vjp(
        lambda a, b: dot_general(a, b, numbers, multiplier=mul, quantization=quantization),
        lhs,
        rhs,
    )
    expected, expected_vjp = jax.vjp(lambda a, b: lax.dot_general(a, b, numbers), lhs, rhs)
    np.testing.assert_allclose(out, expected, rtol=1e-6)
    cotangent = jnp.ones_like(out)
    for ours, theirs in zip(vjp(cotangent), expected_vjp(cotangent), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize("name", ["batch", "attention", "many dimensions"])
def test_every_product_is_read_from_the_table(rng, name):
    """Codes at unit scale, a random table: NumPy's gather, in lax's layout."""
    lhs_shape, rhs_shape, numbers = CASES[name]
    mul = random_multiplier(rng)
    lhs, rhs = rng.integers(0, 256, lhs_shape), rng.integers(0, 256, rhs_shape)
    out = dot_general(
        lhs.astype(np.uint8),
        rhs.astype(np.uint8),
        numbers,
        multiplier=mul,
        quantization=Quantization.unit(),
    )
    flat = np.asarray(mul.table, np.int64).ravel()
    one_hot = np.eye(256, dtype=np.int64)
    # sum_k M[x, w] = sum_k onehot(x) M onehot(w): a product over one more contracted axis.
    (lhs_contract, rhs_contract), batch = numbers
    x = one_hot[lhs] @ flat.reshape(256, 256)
    expected = lax.dot_general(
        x.astype(np.int32),
        one_hot[rhs].astype(np.int32),
        (((*lhs_contract, lhs.ndim), (*rhs_contract, rhs.ndim)), batch),
    )
    np.testing.assert_array_equal(out, expected)


def test_scale_for_each_output_channel_of_a_batch(rng):
    """Kernels of a batch that differ by a factor give results that differ by it."""
    x = jnp.asarray(rng.normal(size=(2, 5, 7)), jnp.float32).at[1].set(0.0)
    x = x.at[1].set(x[0])
    w = jnp.asarray(rng.normal(size=(1, 7, 3)), jnp.float32) * jnp.asarray(
        [1.0, 1024.0]
    ).reshape(2, 1, 1)
    numbers = (((2,), (1,)), ((0,), (0,)))
    out = dot_general(x, w, numbers, multiplier=random_multiplier(rng))
    np.testing.assert_allclose(out[1], 1024 * out[0], rtol=1e-6)


def test_without_multiplier_it_is_lax():
    numbers = (((1,), (0,)), ((), ()))
    args = jnp.ones((5, 7)), jnp.ones((7, 3))
    ours = jax.make_jaxpr(lambda a, b: dot_general(a, b, numbers, multiplier=None))(*args)
    assert str(ours) == str(jax.make_jaxpr(lambda a, b: lax.dot_general(a, b, numbers))(*args))


def test_bad_dimension_numbers_are_refused():
    with pytest.raises(TypeError, match="contracting dimensions to have the same shape"):
        dot_general(
            jnp.ones((5, 7)),
            jnp.ones((6, 3)),
            (((1,), (0,)), ((), ())),
            multiplier=Multiplier.exact(8),
        )
