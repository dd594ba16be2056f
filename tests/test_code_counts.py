# SPDX-License-Identifier: Apache-2.0
"""Counts of pairs are those of the products that the operation takes from the table."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conv_cases import CASES, random_codes

import axjax
from axjax import linen
from axjax._code_counts import counted_as, pair_counts
from axjax._geometry import canonical_geometry, canonical_lhs_shape, canonical_rhs_shape


@pytest.mark.parametrize("case", CASES)
def test_counts_times_any_table_are_the_sum_of_all_outputs(rng, case):
    shapes = CASES[case]
    mul = axjax.Multiplier(rng.integers(0, 100, (256, 256)))
    lhs, rhs = random_codes(rng, shapes.lhs, False), random_codes(rng, shapes.rhs, False)
    out = axjax.lut_conv(lhs, rhs, mul, pad_code=7, engine="reference", **shapes.options)
    lhs = np.asarray(lhs).reshape(
        math.prod(lhs.shape[: 1 - rhs.ndim]), *lhs.shape[1 - rhs.ndim :]
    )
    geometry = canonical_geometry("test", lhs.shape, rhs.shape, **shapes.options)
    counts = pair_counts(
        lhs.reshape(canonical_lhs_shape(lhs.shape)),
        np.asarray(rhs).reshape(canonical_rhs_shape(rhs.shape)),
        7,
        geometry,
    )
    assert (counts * mul.products()).sum() == np.asarray(out, np.int64).sum()
    products = np.asarray(out).size * int(np.prod(rhs.shape[:-1]))
    assert counts.sum() == products


class Network(nn.Module):
    multiplier: axjax.Multiplier

    @nn.compact
    def __call__(self, x):
        x = nn.relu(linen.Conv(4, (3, 3), multiplier=self.multiplier, name="first")(x))
        x = linen.Conv(5, (3, 3), strides=2, multiplier=self.multiplier, name="second")(x)
        return linen.Dense(3, multiplier=self.multiplier, name="last")(x.mean((1, 2)))


@pytest.fixture
def network():
    model = Network(axjax.load("mul8s_trunc4"))
    images = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    return model, model.init(jax.random.key(1), images), images


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_layers_of_linen_count_under_their_paths(network, wrap):
    model, variables, images = network
    with axjax.count_codes() as counts:
        wrap(lambda *a: model.apply(*a))(variables, images)
    sums = {name: int(pairs.sum()) for name, pairs in counts.items()}
    assert sums == {"first": 2 * 64 * 4 * 27, "second": 2 * 16 * 5 * 36, "last": 2 * 3 * 5}
    assert int(counts.total().sum()) == sum(sums.values())


def test_weighted_error_is_the_mean_error_of_the_products_that_were_taken(network):
    """Sum of approximate outputs less sum of exact ones, from codes, is bias times products."""
    mul = axjax.load("mul8u_drum3")
    x = jax.random.uniform(jax.random.key(0), (2, 9, 9, 3))
    w = jax.random.normal(jax.random.key(1), (3, 3, 3, 4))
    quantization = axjax.Quantization(rhs=axjax.CurrentRange(per_channel=False))

    def outputs(multiplier):
        return axjax.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"),
            multiplier=multiplier, quantization=quantization,
        )  # fmt: skip

    with axjax.count_codes() as counts:
        approximate = outputs(mul)
    exact = outputs(axjax.load("mul8u_exact"))
    ((_, pairs),) = counts.items()
    scale = 1.0
    for operand, quantizer in ((x, quantization.lhs), (w, quantization.rhs)):
        scale *= quantizer.parameters(operand, mul.activation, ()).scale.item()
    difference = np.asarray(approximate - exact, np.float64).sum()
    expected = mul.metrics(pairs).bias * int(pairs.sum()) * scale
    assert difference == pytest.approx(expected, rel=1e-5)


def test_counts_add_up_over_calls_and_gradients_do_not_disturb(network):
    model, variables, images = network
    with axjax.count_codes() as counts:
        model.apply(variables, images)
        jax.grad(lambda v: model.apply(v, images).sum())(variables)
    with axjax.count_codes() as once:
        model.apply(variables, images)
    for name in once:
        np.testing.assert_array_equal(counts[name], 2 * once[name])


def test_operations_without_a_module_are_named_by_kernel_shape_or_by_the_caller():
    mul = axjax.Multiplier.exact((4, 3))
    x, w = jnp.ones((2, 3)), jnp.ones((3, 4))
    numbers = (((1,), (0,)), ((), ()))
    with axjax.count_codes() as counts:
        axjax.dot_general(x, w, numbers, multiplier=mul)
        with counted_as("mine"):
            axjax.dot_general(x, w, numbers, multiplier=mul)
    first, second = counts
    assert first.startswith("dot_general (")
    assert second == "mine"
    assert counts["mine"].shape == (16, 8)
    assert counts["mine"].sum() == 24


def test_a_program_compiled_before_does_not_count_and_says_so(network):
    model, variables, images = network
    apply = jax.jit(lambda *a: model.apply(*a))
    apply(variables, images)
    with (
        pytest.raises(RuntimeError, match="count_codes: an operation of axjax runs inside"),
        axjax.count_codes(),
    ):
        apply(variables, images)


def test_a_program_compiled_inside_stops_counting_outside(network):
    model, variables, images = network
    apply = jax.jit(lambda *a: model.apply(*a))
    with axjax.count_codes() as counts:
        apply(variables, images)
    before = counts.total()
    apply(variables, images)
    jax.effects_barrier()
    np.testing.assert_array_equal(counts.total(), before)


def test_one_layer_with_two_kinds_of_codes_is_refused():
    x, w = jnp.ones((2, 3)), jnp.ones((3, 4))
    numbers = (((1,), (0,)), ((), ()))
    with axjax.count_codes():
        axjax.dot_general(x, w, numbers, multiplier=axjax.Multiplier.exact(4))
        with pytest.raises(ValueError, match="a layer has one kind of codes, got layer='dot_"):
            axjax.dot_general(x, w, numbers, multiplier=axjax.Multiplier.exact(5))
