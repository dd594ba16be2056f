# SPDX-License-Identifier: Apache-2.0
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import axjax
from axjax import MovingAverage, Quantization
from axjax import nnx as axnnx

MUL = axjax.load("mul8u_trunc4")
MOVING = Quantization(lhs=MovingAverage(0.5))


@pytest.fixture(autouse=True)
def users_jax():
    """Flax itself promotes ranks."""
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture
def images(rng):
    return jnp.asarray(rng.normal(size=(2, 6, 6, 3)), jnp.float32)


def conv(**options):
    return axnnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0), **options)


def test_state_is_that_of_flax(images):
    for ours, theirs in (
        (conv(multiplier=MUL), nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0))),
        (axnnx.Linear(3, 5, multiplier=MUL, rngs=nnx.Rngs(1)),
         nnx.Linear(3, 5, rngs=nnx.Rngs(1))),
    ):  # fmt: skip
        jax.tree.map(np.testing.assert_array_equal, nnx.state(ours), nnx.state(theirs))
        nnx.update(ours, jax.tree.map(lambda v: 2 * v, nnx.state(theirs)))
        np.testing.assert_array_equal(ours.kernel[...], 2 * theirs.kernel[...])
        np.testing.assert_allclose(ours(images), 2 * theirs(images), atol=0.2)


def test_without_multiplier_a_layer_is_flax_own(images):
    np.testing.assert_array_equal(
        conv()(images), nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0))(images)
    )


def test_a_layer_is_the_function_on_its_kernel(images):
    layer = conv(multiplier=MUL, strides=2, preferred_element_type=jnp.float32)
    expected = axjax.conv_general_dilated(
        images, layer.kernel[...], (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"),
        multiplier=MUL)  # fmt: skip
    np.testing.assert_array_equal(layer(images), expected)


def test_the_callers_convolution_goes_first(images):
    def mine(*args, **kwargs):
        return 0 * lax.conv_general_dilated(*args, **kwargs)

    assert (conv(multiplier=MUL, conv_general_dilated=mine)(images) == 0).all()
    typed = functools.partial(lax.conv_general_dilated, preferred_element_type=jnp.bfloat16)
    layer = conv(multiplier=MUL, conv_general_dilated=typed, use_bias=False)
    assert layer(images).dtype == jnp.bfloat16


def test_jit_grad_clone_split_and_merge(images):
    layer = conv(multiplier=MUL)
    out = layer(images)
    np.testing.assert_allclose(nnx.jit(lambda m, x: m(x))(layer, images), out, rtol=1e-6)
    np.testing.assert_array_equal(nnx.clone(layer)(images), out)
    np.testing.assert_array_equal(nnx.merge(*nnx.split(layer))(images), out)
    gradient = nnx.grad(lambda m, x: (m(x) ** 2).sum())(layer, images)
    assert gradient["kernel"][...].shape == (3, 3, 3, 4)
    assert float(jnp.abs(gradient["kernel"][...]).max()) > 0


def test_another_multiplier_may_be_set(images):
    layer, harsh = conv(multiplier=MUL), axjax.load("mul8u_trunc8")
    run = nnx.jit(lambda m, x: m(x))
    before = run(layer, images)
    layer.set_multiplier(harsh)
    np.testing.assert_allclose(run(layer, images), conv(multiplier=harsh)(images), rtol=1e-6)
    assert (run(layer, images) != before).any()


def test_moving_ranges_move_in_training_and_stand_at_evaluation(images):
    layer = conv(multiplier=MUL, quantization=MOVING)
    run = nnx.jit(lambda m, x: m(x))
    run(layer, images)
    np.testing.assert_allclose(layer.activation_range[...][1], images.max(), rtol=1e-6)
    run(layer, 3 * images)
    np.testing.assert_allclose(layer.activation_range[...][1], 2 * images.max(), rtol=1e-6)
    layer.eval()
    whole = run(layer, 9 * images)
    np.testing.assert_allclose(layer.activation_range[...][1], 2 * images.max(), rtol=1e-6)
    for i in range(2):
        np.testing.assert_array_equal(run(layer, 9 * images[i : i + 1])[0], whole[i])
    layer.train()
    run(layer, jnp.full_like(images, jnp.nan))  # a bad batch does not move the range
    np.testing.assert_allclose(layer.activation_range[...][1], 2 * images.max(), rtol=1e-6)


def test_a_range_that_no_batch_has_set_is_an_error(images):
    layer = conv(multiplier=MUL, quantization=MOVING)
    layer.eval()
    with pytest.raises(ValueError, match="Conv: a moving average needs a batch"):
        layer(images)


def test_a_training_step_moves_parameters_and_ranges(images):
    model = axnnx.Linear(3, 5, multiplier=MUL, quantization=MOVING, rngs=nnx.Rngs(0))

    @nnx.jit
    def step(model, x):
        loss, gradient = nnx.value_and_grad(lambda m: (m(x) ** 2).mean())(model)
        parameters = nnx.state(model, nnx.Param)
        nnx.update(model, jax.tree.map(lambda p, g: p - 0.1 * g, parameters, gradient))
        return loss

    losses = [float(step(model, images)) for _ in range(5)]
    assert losses[-1] < losses[0]
    assert jnp.isfinite(model.activation_range[...]).all()


def test_a_view_for_evaluation_leaves_the_range(images):
    model = nnx.Sequential(
        conv(multiplier=MUL, quantization=MOVING), nnx.BatchNorm(4, rngs=nnx.Rngs(0))
    )
    model(images)
    nnx.view(model, use_running_average=True)(9 * images)
    np.testing.assert_array_equal(model.layers[0].activation_range[...][1], images.max())


def test_one_program_serves_many_multipliers(images):
    model = nnx.Sequential(conv(multiplier=MUL), axnnx.Linear(
        4, 2, multiplier=MUL, rngs=nnx.Rngs(0)))  # fmt: skip
    traces = []

    @jax.jit
    def run(model, multiplier, x):
        traces.append(multiplier)
        return nnx.view(model, multiplier=multiplier)(x)

    for name in ("mul8u_exact", "mul8u_trunc4", "mul8u_drum3"):
        multiplier = axjax.load(name)
        expected = nnx.view(model, multiplier=multiplier)(images)
        np.testing.assert_allclose(run(model, multiplier, images), expected, atol=1e-5)
    assert len(traces) == 1
    assert model.layers[0].multiplier is MUL
    exact = nnx.view(model, multiplier=None).layers[0]
    np.testing.assert_array_equal(exact(images), conv()(images))


def test_layers_of_equal_settings_have_equal_graphs():
    first, second = (conv(multiplier=MUL, quantization=Quantization.unit()) for _ in range(2))
    assert nnx.graphdef(first) == nnx.graphdef(second)
    other = conv(multiplier=axjax.load("mul8u_trunc8"), quantization=Quantization.unit())
    assert nnx.graphdef(first) != nnx.graphdef(other)
    arrays = [Quantization(lhs=axjax.GivenRange(jnp.zeros(()), jnp.ones(()))) for _ in range(2)]
    graphs = [nnx.graphdef(conv(multiplier=MUL, quantization=q)) for q in (*arrays, arrays[0])]
    assert graphs[0] == graphs[2]
    assert graphs[0] != graphs[1]


def test_without_multiplier_there_is_no_range():
    layer = conv(quantization=MOVING)
    theirs = nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0))
    assert jax.tree.structure(nnx.state(layer)) == jax.tree.structure(nnx.state(theirs))
    layer.set_multiplier(MUL)
    assert jnp.isnan(layer.activation_range[...]).all()


@pytest.mark.parametrize("compile", [nnx.jit, lambda f: f], ids=["jit", "eager"])
def test_a_first_batch_that_is_not_finite_does_not_set_the_range(images, compile):
    layer = conv(multiplier=MUL, quantization=MOVING)
    out = compile(lambda m, x: m(x))(layer, images.at[0, 0, 0, 0].set(jnp.nan))
    assert jnp.isnan(out).all()
    assert jnp.isnan(layer.activation_range[...]).all()
    layer(images)
    np.testing.assert_array_equal(layer.activation_range[...][1], images.max())


def test_vmap_scan_and_remat(images):
    @nnx.vmap
    def make(key):
        return axnnx.Linear(3, 3, multiplier=MUL, quantization=MOVING, rngs=nnx.Rngs(key))

    keys = jax.random.split(jax.random.key(0), 2)
    x = images.reshape(-1, 3)
    run = nnx.remat(lambda layer, x: jnp.tanh(layer(x)))
    scanned = nnx.scan(
        lambda x, layer: run(layer, x), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry
    )(x, make(keys))
    expected = x
    layers = [
        axnnx.Linear(3, 3, multiplier=MUL, quantization=MOVING, rngs=nnx.Rngs(key))
        for key in keys
    ]
    for layer in layers:
        expected = jnp.tanh(nnx.clone(layer)(expected))
    np.testing.assert_allclose(scanned, expected, atol=1e-5)
    mapped = nnx.vmap(lambda layer, x: layer(x), in_axes=(0, None))(make(keys), x)
    for one, layer in zip(mapped, layers, strict=True):
        np.testing.assert_allclose(one, layer(x), atol=1e-5)
