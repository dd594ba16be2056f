# SPDX-License-Identifier: Apache-2.0
"""Transposed convolutions, general products and attention, in linen and nnx; convert."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from flax import nnx
from jax.flatten_util import ravel_pytree
from networks import SIGNED, assert_close

import axjax
from axjax import Rule, emulate
from axjax import linen as axnn
from axjax import nnx as axnnx

MUL = axjax.load("mul8s_trunc4")
ALL = [Rule(".*", MUL)]

LINEN = {
    "ConvTranspose": ((5, (3, 3)), dict(strides=(2, 2))),
    "ConvTranspose transposed": ((5, (3, 3)), dict(transpose_kernel=True, use_bias=False)),
    "DenseGeneral": (((2, 3),), dict(axis=(-2, -1))),
    "MultiHeadDotProductAttention": ((2,), {}),
}


@pytest.fixture
def inputs(rng):
    return jnp.asarray(rng.normal(size=(2, 6, 5, 4)), jnp.float32)


def linen_pair(name, **options):
    name, (args, kwargs) = name.split()[0], LINEN[name]
    return getattr(nn, name)(*args, **kwargs), getattr(axnn, name)(*args, **kwargs, **options)


@pytest.mark.parametrize("name", LINEN)
def test_linen_layer_has_flaxs_parameters_and_is_flaxs_without_a_multiplier(inputs, name):
    flax_layer, layer = linen_pair(name)
    expected = flax_layer.init(jax.random.key(0), inputs)
    for candidate in (layer, linen_pair(name, multiplier=MUL)[1]):
        variables = candidate.init(jax.random.key(0), inputs)
        jax.tree.map(np.testing.assert_array_equal, variables, expected)
    out = layer.apply(expected, inputs)
    np.testing.assert_array_equal(out, flax_layer.apply(expected, inputs))


@pytest.mark.parametrize("name", LINEN)
def test_linen_layer_computes_what_emulation_does(inputs, name):
    flax_layer, layer = linen_pair(name, multiplier=MUL)
    variables = flax_layer.init(jax.random.key(0), inputs)
    emulated = jax.jit(emulate(flax_layer.apply, ALL))
    out = jax.jit(layer.apply)(variables, inputs)
    assert_close(out, emulated(variables, inputs), 1e-6)
    assert (out != flax_layer.apply(variables, inputs)).any()
    loss = lambda f: jax.grad(lambda v: (f(v, inputs) ** 2).sum())(variables)
    flat = lambda tree: ravel_pytree(tree)[0]
    assert_close(flat(loss(layer.apply)), flat(loss(emulate(flax_layer.apply, ALL))))


@pytest.mark.parametrize("name", LINEN)
def test_linen_layer_in_a_module_keeps_its_moving_range(inputs, name):
    moving = axjax.Quantization(lhs=axjax.MovingAverage(momentum=0.5))
    _, layer = linen_pair(name, multiplier=MUL, quantization=moving)
    variables = layer.init(jax.random.key(0), inputs)
    ranges = jax.tree.leaves(variables["quantization"])
    assert len(ranges) == (8 if "Attention" in name else 2)
    _, moved = layer.apply(variables, 3.0 * inputs, mutable=["quantization"])
    assert any(
        (a != b).any()
        for a, b in zip(ranges, jax.tree.leaves(moved["quantization"]), strict=True)
    )
    assert jnp.isfinite(layer.apply({**variables, **moved}, inputs)).all()


def test_a_callers_attention_runs_as_it_is(inputs):
    marked = lambda query, key, value, **kwargs: jnp.full_like(query, 7.0)
    layer = axnn.MultiHeadDotProductAttention(2, attention_fn=marked, multiplier=SIGNED)
    flax_layer = nn.MultiHeadDotProductAttention(2, attention_fn=marked)
    variables = layer.init(jax.random.key(0), inputs)
    expected = flax_layer.apply(variables, inputs)
    assert_close(layer.apply(variables, inputs), expected, 0.02)


def nnx_pair(name, **options):
    rngs = lambda: nnx.Rngs(0)
    make = {
        "ConvTranspose": lambda module, **k: module.ConvTranspose(
            4, 5, (3, 3), (2, 2), rngs=rngs(), **k
        ),
        "LinearGeneral": lambda module, **k: module.LinearGeneral(
            (5, 4), (2, 3), axis=(-2, -1), rngs=rngs(), **k
        ),
        "MultiHeadAttention": lambda module, **k: module.MultiHeadAttention(
            2, 4, decode=False, rngs=rngs(), **k
        ),
    }[name]
    return make(nnx), make(axnnx, **options)


NNX = ["ConvTranspose", "LinearGeneral", "MultiHeadAttention"]


@pytest.mark.parametrize("name", NNX)
def test_nnx_layer_is_flaxs_without_a_multiplier(inputs, name):
    flax_layer, layer = nnx_pair(name)
    jax.tree.map(np.testing.assert_array_equal, nnx.state(layer), nnx.state(flax_layer))
    np.testing.assert_array_equal(layer(inputs), flax_layer(inputs))


@pytest.mark.parametrize("name", NNX)
def test_nnx_layer_computes_what_emulation_does(inputs, name):
    flax_layer, layer = nnx_pair(name, multiplier=MUL)
    expected = emulate(flax_layer, ALL)(inputs)
    np.testing.assert_array_equal(layer(inputs), expected)
    assert (layer(inputs) != flax_layer(inputs)).any()
    gradient = nnx.grad(lambda m: (m(inputs) ** 2).sum())(layer)
    wanted = nnx.grad(lambda m: (emulate(lambda m, x: m(x), ALL)(m, inputs) ** 2).sum())
    # Together: the bias of attention's keys has the gradient zero, but for rounding.
    flat = lambda tree: ravel_pytree(jax.tree.leaves(nnx.state(tree)))[0]
    assert_close(flat(gradient), flat(wanted(flax_layer)))


def test_nnx_attention_whose_weights_are_asked_for_is_an_error(inputs):
    _, layer = nnx_pair("MultiHeadAttention", multiplier=MUL)
    with pytest.raises(ValueError, match="emulated attention keeps its weights to itself"):
        layer(inputs, sow_weights=True)


class _Model(nnx.Module):
    def __init__(self, rngs):
        self.stem = nnx.Conv(4, 4, (3, 3), rngs=rngs)
        self.depthwise = nnx.Conv(4, 4, (3, 3), feature_group_count=4, rngs=rngs)
        self.up = nnx.ConvTranspose(4, 4, (2, 2), rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 4, decode=False, rngs=rngs)
        self.head = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.up(self.depthwise(self.stem(x))))
        x = x.reshape(x.shape[0], -1, 4)
        return self.head(self.attention(x))


def test_convert_swaps_the_layers_of_a_live_model(inputs):
    model, rules = _Model(nnx.Rngs(0)), [Rule("head", None), *ALL]
    expected, exact = emulate(model, rules)(inputs), model(inputs)
    state = nnx.state(model)
    kernel = model.stem.kernel
    axnnx.convert(model, rules)
    assert model.stem.kernel is kernel
    assert jax.tree.structure(nnx.state(model)) == jax.tree.structure(state)
    np.testing.assert_array_equal(model(inputs), expected)
    for run in (nnx.jit(lambda m, x: m(x)), jax.jit(lambda m, x: m(x))):
        assert_close(run(model, inputs), expected, 1e-6)
    axnnx.convert(model, [Rule(".*", None)])
    np.testing.assert_array_equal(model(inputs), exact)


def test_convert_reaches_a_layer_that_two_modules_share(inputs):
    model = nnx.Module()
    model.first = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
    model.second = nnx.Sequential(model.first, nnx.relu)
    assert axnnx.convert(model, [Rule("first", MUL)]) is model
    assert model.first is model.second.layers[0]
    assert model.first.multiplier is MUL


def test_convert_of_a_single_layer_returns_the_new_one(inputs):
    layer = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
    new = axnnx.convert(layer, ALL)
    assert new.kernel is layer.kernel
    np.testing.assert_array_equal(new(inputs), emulate(layer, ALL)(inputs))


def test_convert_follows_kinds_shapes_and_order(inputs):
    model = _Model(nnx.Rngs(0))
    axnnx.convert(
        model, [Rule(".*", MUL, kind="depthwise"), Rule(".*", SIGNED, kernel_shape=(4, 3))]
    )
    named = {
        "/".join(map(str, path)): module.multiplier
        for path, module in nnx.iter_modules(model)
        if hasattr(module, "multiplier")
    }
    assert {path: m.name for path, m in named.items()} == {
        "depthwise": MUL.name,
        "head": SIGNED.name,
    }
    assert type(model.stem) is nnx.Conv


def test_convert_alone_puts_attention_on_hardware_without_its_projections(inputs):
    model = _Model(nnx.Rngs(0))
    rules = [Rule(".*", MUL, kind="attention")]
    expected = emulate(model, rules)(inputs)
    axnnx.convert(model, rules)
    np.testing.assert_array_equal(model(inputs), expected)
    assert type(model.attention.query) is nnx.LinearGeneral


def test_a_converted_model_trains(inputs):
    optax = pytest.importorskip("optax")
    model = networks.NnxNetwork(nnx.Rngs(0))
    axnnx.convert(model, ALL)
    optimizer = nnx.Optimizer(model, optax.sgd(1e-2), wrt=nnx.Param)
    x = inputs[..., :3]

    @nnx.jit
    def step(model, optimizer):
        value, gradient = nnx.value_and_grad(lambda m: (m(x) ** 2).mean())(model)
        optimizer.update(model, gradient)
        return value

    values = [float(step(model, optimizer)) for _ in range(4)]
    assert values[-1] < values[0]


def test_convert_with_a_rule_that_matches_nothing_is_an_error():
    with pytest.raises(
        ValueError, match=r"convert: a rule matches a layer, got none for rules"
    ):
        axnnx.convert(_Model(nnx.Rngs(0)), [Rule("steam", MUL)])
