# SPDX-License-Identifier: Apache-2.0
"""A trained ResNet-20, unmodified: emulated by rules, it is the network of emulated layers."""

import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import SHARED
from networks import assert_close

import axjax
from axjax import Rule, calibrate, emulate

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))
import resnet

MUL = axjax.load("mul8u_trunc4")
CONVOLUTIONS = [Rule(".*", MUL, kind="conv")]


@pytest.fixture(scope="module")
def trained():
    path = SHARED / "models" / "cifar10_resnet20.npz"
    if not path.is_file():
        pytest.skip("the trained network is not beside this checkout")
    depth, variables, _ = resnet.load_parameters(path)
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(8, 32, 32, 3)), jnp.float32)
    network = resnet.ResNet(depth).apply
    return network, variables, images, calibrate(network, CONVOLUTIONS, [(variables, images)])


def test_rules_and_emulated_layers_agree(trained):
    network, variables, images, ranges = trained
    by_layer = {key.split("/")[-1]: tuple(value) for key, value in ranges.items()}
    assert len(by_layer) == 19
    modules = resnet.resnet(20, MUL, by_layer)
    emulated = emulate(network, CONVOLUTIONS, ranges)
    np.testing.assert_array_equal(
        emulated(variables, images[:2]), modules.apply(variables, images[:2])
    )


def test_an_image_gives_its_result_in_any_batch_and_on_any_engine(trained):
    network, variables, images, ranges = trained
    run = jax.jit(emulate(network, CONVOLUTIONS, ranges))
    together = run(variables, images)
    assert_close(run(variables, images[:3]), together[:3], 1e-5)
    rules = [Rule(".*", MUL, kind="conv", engine="xla")]
    assert_close(jax.jit(emulate(network, rules, ranges))(variables, images), together, 1e-5)


def test_eight_exact_bits_are_close_to_float(trained):
    network, variables, images, ranges = trained
    rules = [Rule(".*", axjax.Multiplier.exact(8), kind="conv")]
    exact = jax.jit(network)(variables, images)
    for fold in (False, True):
        ranges = calibrate(network, rules, [(variables, images)], fold_batch_norm=fold)
        emulated = jax.jit(emulate(network, rules, ranges, fold_batch_norm=fold))
        error = jnp.abs(emulated(variables, images) - exact).max()
        assert 0 < error < 0.1 * jnp.abs(exact).max()


def test_a_training_step_with_donated_state(trained):
    network, variables, images, ranges = trained
    emulated = emulate(network, CONVOLUTIONS, ranges)
    labels = jnp.arange(8)

    def step(variables, images):
        def loss(params):
            logits, state = emulated(
                {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
            )
            chosen = jax.nn.log_softmax(logits)[jnp.arange(8), labels]
            return -chosen.mean(), state

        (value, state), gradient = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        params = jax.tree.map(lambda p, g: p - 0.05 * g, variables["params"], gradient)
        return {"params": params, **state}, value

    step = jax.jit(step, donate_argnums=0)
    state = jax.tree.map(jnp.array, variables)
    losses = []
    for _ in range(4):
        state, value = step(state, images)
        losses.append(float(value))
    assert losses[-1] < losses[0]
