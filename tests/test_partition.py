# SPDX-License-Identifier: Apache-2.0
"""jit over sharded arrays: every device computes its part, and gathers nothing."""

import re

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from emulated_conv import FIXED, MUL, conv
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import axjax


@pytest.fixture
def mesh():
    if len(jax.devices()) < 8:
        pytest.skip("needs eight devices")
    return jax.make_mesh((4, 2), ("batch", "model"), axis_types=(AxisType.Auto,) * 2)


def local_results(text):
    """Shapes that the custom calls of a compiled program put out on one device."""
    shapes = re.findall(r"s32\[([\d,]+)\]\S* custom-call\(.*axjax", text)
    return [tuple(map(int, shape.split(","))) for shape in shapes]


OUTPUTS = {
    "images": (P("batch"), P(), (4, 1, 6, 5, 8)),
    "images over all devices": (P(("batch", "model")), P(), (2, 1, 6, 5, 8)),
    "output channels": (P(), P(None, None, None, "model"), (16, 1, 6, 5, 4)),
    "both": (P("batch"), P(None, None, None, "model"), (4, 1, 6, 5, 4)),
}


@pytest.mark.parametrize(
    "quantization", [FIXED, axjax.Quantization.tfapprox()], ids=["given range", "batch range"]
)
@pytest.mark.parametrize("name", OUTPUTS)
def test_a_convolution_is_partitioned_and_gathers_nothing(rng, mesh, name, quantization):
    x_spec, w_spec, local = OUTPUTS[name]
    x = jnp.asarray(rng.normal(size=(16, 6, 5, 4)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(3, 3, 4, 8)), jnp.float32)
    placed = (
        jax.device_put(x, NamedSharding(mesh, x_spec)),
        jax.device_put(w, NamedSharding(mesh, w_spec)),
    )
    run = jax.jit(lambda x, w, m: conv(x, w, m, quantization))
    compiled = run.lower(*placed, MUL).compile()
    text = compiled.as_text()
    assert local_results(text) == [local]
    assert "all-gather" not in text
    assert "all-to-all" not in text
    np.testing.assert_array_equal(compiled(*placed, MUL), conv(x, w, MUL, quantization))


def test_a_grouped_convolution_is_partitioned_over_images(rng, mesh):
    x = jnp.asarray(rng.normal(size=(8, 6, 5, 4)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(3, 3, 1, 8)), jnp.float32)
    placed = jax.device_put(x, NamedSharding(mesh, P("batch")))
    run = jax.jit(lambda x, w: conv(x, w, MUL, groups=4))
    compiled = run.lower(placed, w).compile()
    assert local_results(compiled.as_text()) == [(2, 1, 6, 5, 8)]
    assert "all-gather" not in compiled.as_text()
    np.testing.assert_array_equal(compiled(placed, w), conv(x, w, MUL, groups=4))


def test_a_product_is_partitioned_over_rows_and_columns(rng, mesh):
    x = jnp.asarray(rng.normal(size=(8, 3, 6)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(6, 10)), jnp.float32)
    dot = lambda x, w: axjax.dot_general(
        x, w, (((2,), (0,)), ((), ())), multiplier=MUL, quantization=FIXED
    )
    placed = (
        jax.device_put(x, NamedSharding(mesh, P("batch"))),
        jax.device_put(w, NamedSharding(mesh, P(None, "model"))),
    )
    compiled = jax.jit(dot).lower(*placed).compile()
    assert local_results(compiled.as_text()) == [(2 * 3, 1, 1, 1, 5)]
    assert "all-gather" not in compiled.as_text()
    np.testing.assert_array_equal(compiled(*placed), dot(x, w))


def test_the_gradient_gathers_nothing_either(rng, mesh):
    x = jnp.asarray(rng.normal(size=(16, 6, 5, 4)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(3, 3, 4, 8)), jnp.float32)
    placed = jax.device_put(x, NamedSharding(mesh, P("batch")))
    gradient = jax.jit(jax.grad(lambda w, x: (conv(x, w, MUL) ** 2).sum()))
    compiled = gradient.lower(w, placed).compile()
    assert "all-gather" not in compiled.as_text()
    networks.assert_close(compiled(w, placed), gradient(w, x))


def test_an_emulated_network_is_partitioned_layer_by_layer(rng, mesh):
    network = networks.MobileNet()
    variables, _ = networks.initialised(network, rng)
    x = networks.images(rng, batch=8)
    emulated = axjax.emulate(network.apply, [axjax.Rule(".*", MUL)])
    placed = jax.device_put(x, NamedSharding(mesh, P("batch")))
    compiled = jax.jit(emulated).lower(variables, placed).compile()
    shapes = local_results(compiled.as_text())
    assert len(shapes) == 6
    assert {shape[0] for shape in shapes} == {2}
    assert "all-gather" not in compiled.as_text()
    networks.assert_close(compiled(variables, placed), jax.jit(emulated)(variables, x), 1e-6)


def test_an_emulated_network_inside_shard_map(rng, mesh):
    params, x = networks.plain_params(rng), networks.images(rng, batch=8)
    rules = [axjax.Rule(".*", MUL, quantization=FIXED)]  # a batch's range would be a device's
    emulated = axjax.emulate(networks.plain_network, rules)
    inside = jax.shard_map(
        emulated, mesh=mesh, in_specs=(P(), P("batch")), out_specs=P("batch")
    )
    outside = axjax.emulate(
        jax.shard_map(
            networks.plain_network, mesh=mesh, in_specs=(P(), P("batch")), out_specs=P("batch")
        ),
        rules,
    )
    expected = jax.jit(emulated)(params, x)
    networks.assert_close(jax.jit(inside)(params, x), expected, 1e-6)
    networks.assert_close(jax.jit(outside)(params, x), expected, 1e-6)


@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
def test_shardings_of_an_inner_jit_are_kept(rng, mesh, jitted):
    rows = NamedSharding(mesh, P("batch"))
    inner = jax.jit(jnp.matmul, in_shardings=(rows, None), out_shardings=rows)
    emulated = axjax.emulate(lambda x, w: inner(x, w), [axjax.Rule(".*", MUL)])
    x = jnp.asarray(rng.normal(size=(8, 4)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(4, 4)), jnp.float32)
    out = (jax.jit(emulated) if jitted else emulated)(x, w)
    assert out.sharding.is_equivalent_to(rows, out.ndim)
    expected = axjax.emulate(jnp.matmul, [axjax.Rule(".*", MUL)])(x, w)
    np.testing.assert_array_equal(out, expected)


def test_calibration_does_not_enter_shard_map(rng, mesh):
    params, x = networks.plain_params(rng), networks.images(rng, batch=8)
    sharded = jax.shard_map(
        networks.plain_network, mesh=mesh, in_specs=(P(), P("batch")), out_specs=P("batch")
    )
    with pytest.raises(ValueError, match="calibrate: ranges are taken over all devices"):
        axjax.calibrate(sharded, [axjax.Rule(".*", MUL)], [(params, x)])


def test_an_exported_network_gives_the_same_bits(rng):
    params, x = networks.plain_params(rng), networks.images(rng)
    emulated = jax.jit(axjax.emulate(networks.plain_network, [axjax.Rule(".*", MUL)]))
    checks = [jax.export.DisabledSafetyCheck.custom_call("axjax_lut_conv_cpu_factored")]
    pytest.importorskip("flatbuffers")
    exported = jax.export.export(emulated, platforms=["cpu"], disabled_checks=checks)(params, x)
    again = jax.export.deserialize(exported.serialize())
    np.testing.assert_array_equal(again.call(params, x), emulated(params, x))
