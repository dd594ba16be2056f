# SPDX-License-Identifier: Apache-2.0
import functools
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import axjax
from axjax import GivenRange, MovingAverage, Quantization, linen

MUL = axjax.load("mul8u_trunc4")
MOVING = Quantization(lhs=MovingAverage(0.5))
NHWC = ("NHWC", "HWIO", "NHWC")


@pytest.fixture(autouse=True)
def users_jax():
    """Flax itself promotes ranks."""
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture
def images(rng):
    return jnp.asarray(rng.normal(size=(2, 6, 6, 3)), jnp.float32)


class Network(nn.Module):
    conv: Any = nn.Conv
    dense: Any = nn.Dense

    @nn.compact
    def __call__(self, x):
        x = nn.relu(self.conv(4, (3, 3))(x))
        x = nn.relu(self.conv(5, (3, 3), strides=2, use_bias=False)(x))
        return self.dense(3)(x.reshape(x.shape[0], -1))


def emulated(**options):
    return Network(
        functools.partial(linen.Conv, multiplier=MUL, **options),
        functools.partial(linen.Dense, multiplier=MUL, **options),
    )


def test_parameters_are_those_of_flax(images):
    theirs = Network().init(jax.random.key(0), images)
    ours = emulated().init(jax.random.key(0), images)
    jax.tree.map(np.testing.assert_array_equal, theirs, ours)
    restored = flax.serialization.from_bytes(ours, flax.serialization.to_bytes(theirs))
    out = emulated().apply(restored, images)
    np.testing.assert_allclose(out, Network().apply(theirs, images), atol=0.2)


def test_without_multiplier_a_layer_is_flax_own(images):
    for ours, theirs in (
        (linen.Conv(4, (3, 3)), nn.Conv(4, (3, 3))),
        (linen.Dense(4), nn.Dense(4)),
    ):
        variables = theirs.init(jax.random.key(0), images)
        programs = [str(jax.make_jaxpr(m.apply)(variables, images)) for m in (ours, theirs)]
        assert programs[0] == programs[1]


@pytest.mark.parametrize("padding", ["SAME", "VALID", "CIRCULAR", "REFLECT", 1, (1, 2)])
@pytest.mark.parametrize("groups", [1, 3])
def test_a_layer_is_the_function_on_its_kernel(images, padding, groups):
    options = dict(padding=padding, feature_group_count=groups, kernel_dilation=(1, 2))
    layer = linen.Conv(6, (3, 2), multiplier=MUL, **options)
    variables = layer.init(jax.random.key(0), images)
    calls = []

    def record(lhs, rhs, *args, **kwargs):
        calls.append((lhs, rhs, args, kwargs))
        return lax.conv_general_dilated(lhs, rhs, *args, **kwargs)

    nn.Conv(6, (3, 2), conv_general_dilated=record, **options).apply(variables, images)
    ((lhs, rhs, args, kwargs),) = calls
    expected = axjax.conv_general_dilated(lhs, rhs, *args, **kwargs, multiplier=MUL)
    np.testing.assert_array_equal(layer.apply(variables, images), expected)  # the bias is zero


def test_causal_padding_and_missing_batch_dimension(rng):
    x = jnp.asarray(rng.normal(size=(9, 3)), jnp.float32)
    layer = linen.Conv(4, (3,), padding="CAUSAL", multiplier=axjax.Multiplier.exact(8))
    variables = layer.init(jax.random.key(0), x)
    exact = nn.Conv(4, (3,), padding="CAUSAL").apply(variables, x)
    np.testing.assert_allclose(layer.apply(variables, x), exact, atol=0.05)
    batched = layer.apply(variables, jnp.stack([x, x])[None])
    np.testing.assert_array_equal(batched, jnp.stack([layer.apply(variables, x)] * 2)[None])


def test_gradient_is_that_of_the_fake_quantised_layer(images):
    layer = linen.Conv(4, (3, 3), multiplier=axjax.Multiplier.exact(8, signed=True))
    variables = layer.init(jax.random.key(0), images)

    def fake_quantised(variables, x):
        def fake(v, axes):
            scale = jnp.abs(v).max(axes, keepdims=True) / 127
            return v + lax.stop_gradient(jnp.floor(v / scale + 0.5) * scale - v)

        kernel = fake(variables["params"]["kernel"], (0, 1, 2))
        y = lax.conv_general_dilated(
            fake(x, None), kernel, (1, 1), "SAME", dimension_numbers=NHWC)  # fmt: skip
        return y + variables["params"]["bias"]

    gradients = [
        jax.grad(lambda v, x: (f(v, x) ** 2).sum(), (0, 1))(variables, images)
        for f in (layer.apply, fake_quantised)
    ]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * jnp.abs(b).max()), *gradients
    )


def test_a_subclass_may_override_param(images):
    """As weight-standardising convolutions do."""

    class StdConv(linen.Conv):
        def param(self, name, *args, **kwargs):
            value = super().param(name, *args, **kwargs)
            if name == "kernel":
                value = value - value.mean((0, 1, 2))
                value = value / (jnp.sqrt(jnp.square(value).mean((0, 1, 2))) + 1e-5)
            return value

    layer = StdConv(4, (3, 3), multiplier=MUL)
    variables = layer.init(jax.random.key(0), images)
    kernel = variables["params"]["kernel"]
    kernel = kernel - kernel.mean((0, 1, 2))
    kernel = kernel / (jnp.sqrt(jnp.square(kernel).mean((0, 1, 2))) + 1e-5)
    expected = axjax.conv_general_dilated(
        images, kernel, (1, 1), "SAME", dimension_numbers=NHWC, multiplier=MUL
    )
    np.testing.assert_allclose(layer.apply(variables, images), expected, rtol=1e-5)


def test_mask_dtype_and_precision_are_flax_own(images):
    mask = jnp.zeros((3, 3, 3, 4)).at[1, 1].set(1)
    layer = linen.Conv(4, (3, 3), mask=mask, multiplier=MUL, dtype=jnp.bfloat16,
                       precision="highest")  # fmt: skip
    variables = layer.init(jax.random.key(0), images)
    assert variables["params"]["kernel"].dtype == jnp.float32
    assert layer.apply(variables, images).dtype == jnp.bfloat16


def test_the_callers_convolution_goes_first(images):
    calls = []

    def mine(*args, **kwargs):
        calls.append(args)
        return lax.conv_general_dilated(*args, **kwargs)

    layer = linen.Conv(4, (3, 3), multiplier=MUL, conv_general_dilated=mine)
    variables = layer.init(jax.random.key(0), images)
    assert calls
    np.testing.assert_array_equal(
        layer.apply(variables, images), nn.Conv(4, (3, 3)).apply(variables, images)
    )
    layer = linen.Conv(4, (3, 3), multiplier=MUL, conv_general_dilated_cls=lambda: mine)
    count = len(calls)
    layer.apply(variables, images)
    assert len(calls) > count


def test_a_clone_follows_its_fields(images):
    layer = linen.Conv(4, (3, 3), multiplier=MUL)
    variables = layer.init(jax.random.key(0), images)
    exact = layer.clone(multiplier=None).apply(variables, images)
    np.testing.assert_array_equal(exact, nn.Conv(4, (3, 3)).apply(variables, images))
    harsh = axjax.load("mul8u_trunc8")
    changed = layer.clone(multiplier=harsh).apply(variables, images)
    expected = linen.Conv(4, (3, 3), multiplier=harsh).apply(variables, images)
    np.testing.assert_array_equal(changed, expected)


@pytest.mark.parametrize("lift", [nn.jit, nn.remat], ids=["jit", "remat"])
def test_lifted_layers_keep_their_results(images, lift):
    layer = lift(linen.Conv)(4, (3, 3), multiplier=MUL)
    variables = layer.init(jax.random.key(0), images)
    plain = linen.Conv(4, (3, 3), multiplier=MUL)
    np.testing.assert_allclose(
        layer.apply(variables, images), plain.apply(variables, images), rtol=1e-6
    )
    gradient = jax.grad(lambda v: (layer.apply(v, images) ** 2).sum())(variables)
    assert jnp.isfinite(gradient["params"]["kernel"]).all()


def test_layers_in_scan_and_vmap(images):
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return jnp.tanh(linen.Conv(3, (3, 3), multiplier=MUL, quantization=MOVING)(x)), None

    stack = nn.scan(
        Block, variable_axes={"params": 0, "quantization": 0}, split_rngs={"params": True},
        length=2)()  # fmt: skip
    variables = stack.init(jax.random.key(0), images, None)
    assert variables["quantization"]["Conv_0"]["activation_range"]["low"].shape == (2,)
    y, _ = jax.jit(stack.apply)(variables, images, None)
    for i in range(2):
        one = jax.tree.map(lambda v, i=i: v[i], variables)
        images, _ = Block().apply(one, images, None)
    np.testing.assert_allclose(y, images, atol=1e-5)

    mapped = nn.vmap(
        linen.Dense, variable_axes={"params": 0}, split_rngs={"params": True}
    )(5, multiplier=MUL)  # fmt: skip
    x = images.reshape(2, -1, 3)
    variables = mapped.init(jax.random.key(0), x)
    expected = [
        linen.Dense(5, multiplier=MUL).apply(jax.tree.map(lambda v, i=i: v[i], variables), x[i])
        for i in range(2)
    ]
    np.testing.assert_allclose(mapped.apply(variables, x), jnp.stack(expected), rtol=1e-6)


def test_moving_ranges_move_in_training_and_stand_at_evaluation(images):
    network = emulated(quantization=MOVING)
    variables = network.init(jax.random.key(0), images)
    first = variables["quantization"]["Conv_0"]["activation_range"]
    np.testing.assert_allclose(first["high"], images.max(), rtol=1e-6)

    _, state = network.apply(variables, 3 * images, mutable=["quantization"])
    moved = state["quantization"]["Conv_0"]["activation_range"]
    np.testing.assert_allclose(moved["high"], 2 * images.max(), rtol=1e-6)

    variables = {"params": variables["params"], **state}
    apply = jax.jit(network.apply)
    whole = apply(variables, images)
    for i in range(2):  # an image's result does not depend on what shares its batch
        np.testing.assert_array_equal(apply(variables, images[i : i + 1])[0], whole[i])

    layer = linen.Conv(4, (3, 3), multiplier=MUL, quantization=MOVING)
    variables = layer.init(jax.random.key(0), images)
    given = Quantization(lhs=GivenRange(float(images.min()), float(images.max())))
    expected = linen.Conv(4, (3, 3), multiplier=MUL, quantization=given)
    np.testing.assert_array_equal(
        layer.apply(variables, images),
        expected.apply({"params": variables["params"]}, images),
    )


def test_a_batch_that_is_not_finite_leaves_the_range_and_shows(images):
    layer = linen.Conv(4, (3, 3), multiplier=MUL, quantization=MOVING)
    variables = layer.init(jax.random.key(0), images)
    bad = images.at[0, 0, 0, 0].set(jnp.nan)
    out, state = layer.apply(variables, bad, mutable=["quantization"])
    jax.tree.map(
        np.testing.assert_array_equal, state["quantization"], variables["quantization"]
    )
    assert jnp.isnan(out).all()


def test_missing_ranges_are_an_error_that_names_the_layer(images):
    network = emulated(quantization=MOVING)
    variables = Network().init(jax.random.key(0), images)
    with pytest.raises(ValueError, match="got variables without it for 'Conv_0'"):
        network.apply(variables, images)
    _, state = network.apply(variables, images, mutable=["quantization"])
    assert set(state["quantization"]) == {"Conv_0", "Conv_1", "Dense_0"}


def test_one_program_serves_many_multipliers(images):
    variables = Network().init(jax.random.key(0), images)
    traces = []

    @jax.jit
    def apply(variables, images, multiplier):
        traces.append(multiplier)
        conv = functools.partial(linen.Conv, multiplier=multiplier)
        return Network(conv).apply(variables, images)

    for name in ("mul8u_exact", "mul8u_trunc4", "mul8u_drum3"):
        multiplier = axjax.load(name)
        conv = functools.partial(linen.Conv, multiplier=multiplier)
        expected = Network(conv).apply(variables, images)
        np.testing.assert_allclose(apply(variables, images, multiplier), expected, atol=1e-5)
    assert len(traces) == 1


def test_layers_can_be_printed_and_tabulated(images):
    layer = linen.Conv(4, (3, 3), multiplier=MUL)
    assert "mul8u_trunc4" in repr(layer)
    assert "Conv" in emulated().tabulate(jax.random.key(0), images)


def test_equal_layers_are_equal_and_share_a_compiled_program(images):
    """`nn.jit` compiles once for layers that are equal, as Flax's own are."""
    assert linen.Conv(4, (3, 3), multiplier=MUL) == linen.Conv(4, (3, 3), multiplier=MUL)
    assert hash(linen.Dense(4, multiplier=MUL)) == hash(linen.Dense(4, multiplier=MUL))
    traces = []

    class Traced(linen.Conv):
        def param(self, *args, **kwargs):
            traces.append(args)
            return super().param(*args, **kwargs)

    compiled = nn.jit(Traced)
    variables = compiled(4, (3, 3), use_bias=False, multiplier=MUL).init(
        jax.random.key(0), images
    )
    traces.clear()
    for _ in range(3):
        compiled(4, (3, 3), use_bias=False, multiplier=MUL).apply(variables, images)
    assert len(traces) == 1


def test_a_lifted_layer_takes_a_traced_multiplier(images):
    variables = nn.Conv(4, (3, 3)).init(jax.random.key(0), images)

    @jax.jit
    def apply(variables, images, multiplier):
        return nn.jit(linen.Conv)(4, (3, 3), multiplier=multiplier).apply(variables, images)

    expected = linen.Conv(4, (3, 3), multiplier=MUL).apply(variables, images)
    np.testing.assert_allclose(apply(variables, images, MUL), expected, rtol=1e-6)


def test_init_sets_the_range_once_for_a_layer_that_runs_twice(images):
    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x):
            layer = linen.Conv(3, (3, 3), multiplier=MUL, quantization=MOVING)
            layer(x)
            return layer(3 * x)

    variables = Twice().init(jax.random.key(0), images)
    found = variables["quantization"]["Conv_0"]["activation_range"]
    np.testing.assert_array_equal(found["high"], images.max())


@pytest.mark.parametrize("compile", [jax.jit, lambda f: f], ids=["jit", "eager"])
def test_a_first_batch_that_is_not_finite_does_not_set_the_range(images, compile):
    layer = linen.Conv(4, (3, 3), multiplier=MUL, quantization=MOVING)
    bad = images.at[0, 0, 0, 0].set(jnp.inf)
    out, variables = compile(layer.init_with_output)(jax.random.key(0), bad)
    assert jnp.isnan(out).all()
    _, state = layer.apply(variables, images, mutable=["quantization"])
    found = state["quantization"]["activation_range"]
    np.testing.assert_array_equal(found["high"], images.max())


def test_an_empty_batch_leaves_the_range(images):
    layer = linen.Conv(4, (3, 3), multiplier=MUL, quantization=MOVING)
    variables = layer.init(jax.random.key(0), images)
    out, state = layer.apply(variables, images[:0], mutable=["quantization"])
    assert out.shape == (0, 6, 6, 4)
    jax.tree.map(
        np.testing.assert_array_equal, state["quantization"], variables["quantization"]
    )


def test_intermediates_are_those_of_flax(images):
    layer = linen.Conv(4, (3, 3), multiplier=MUL, quantization=MOVING)
    variables = layer.init(jax.random.key(0), images)
    _, state = layer.apply(variables, images, capture_intermediates=True)
    assert set(state["intermediates"]) == {"__call__"}
