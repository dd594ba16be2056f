# SPDX-License-Identifier: Apache-2.0
"""shard_map over eight virtual devices: every device convolves its part."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from emulated_conv import conv
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P


@pytest.fixture
def mesh():
    if len(jax.devices()) < 8:
        pytest.skip("needs eight devices")
    return jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Auto,))


@pytest.fixture
def operands(rng):
    x = jnp.asarray(rng.normal(size=(16, 6, 5, 4)), jnp.float32)
    return x, jnp.asarray(rng.normal(size=(3, 3, 4, 8)), jnp.float32)


@pytest.mark.parametrize("check_vma", [True, False])
def test_every_device_convolves_its_images(mesh, operands, check_vma):
    sharded = jax.shard_map(
        conv,
        mesh=mesh,
        in_specs=(P("batch"), P()),
        out_specs=P("batch"),
        check_vma=check_vma,
    )
    compiled = jax.jit(sharded).lower(*operands).compile()
    np.testing.assert_array_equal(compiled(*operands), conv(*operands))
    text = compiled.as_text()
    assert "s32[2,1,6,5,8]" in text  # two images a device
    assert "all-gather" not in text


def test_gradient_of_a_replicated_kernel_is_summed_over_devices(mesh, operands):
    sharded = jax.shard_map(conv, mesh=mesh, in_specs=(P("batch"), P()), out_specs=P("batch"))
    gradient = lambda f: jax.jit(jax.grad(lambda w, x: (f(x, w) ** 2).sum()))
    x, w = operands
    expected = gradient(conv)(w, x)
    np.testing.assert_allclose(
        gradient(sharded)(w, x), expected, atol=1e-5 * jnp.abs(expected).max()
    )


def test_a_result_that_varies_is_not_taken_for_replicated(mesh, operands):
    """A native call's type is believed, so it has to say over which axes the result varies."""
    wrong = jax.shard_map(conv, mesh=mesh, in_specs=(P("batch"), P()), out_specs=P())
    with pytest.raises(ValueError, match="out_specs which require replicat"):
        jax.jit(wrong)(*operands)


def test_jit_over_sharded_inputs_gives_the_same_bits(mesh, operands):
    x, w = operands
    placed = jax.device_put(x, jax.sharding.NamedSharding(mesh, P("batch")))
    np.testing.assert_array_equal(jax.jit(conv)(placed, w), conv(x, w))
