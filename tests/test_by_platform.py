# SPDX-License-Identifier: Apache-2.0
"""A program holds the code of the platforms that it is compiled for, and traces no other's."""

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from emulated_conv import conv

import axjax
from axjax import _ffi
from axjax._by_platform import by_platform

CALLS = axjax.build_info()["custom_calls"]


def lowered(platforms, **functions):
    run = jax.jit(lambda x: by_platform(x, **functions))
    traced = run.trace(jnp.arange(3.0))
    return traced.lower(lowering_platforms=platforms).as_text()


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="JAX prefers another platform")
def test_only_what_a_program_needs_is_traced():
    traced = []

    def function(name, result):
        def run(x):
            traced.append(name)
            return result(x)

        return run

    functions = {
        "cpu": function("cpu", jnp.sin),
        "cuda": function("cuda", jnp.cos),
        "default": function("default", jnp.tan),
    }
    assert "sine" in lowered(("cpu",), **functions)
    assert traced == ["cpu"]
    assert "cosine" in lowered(("cuda",), **functions)
    assert traced == ["cpu", "cpu", "cuda"]
    assert "tan" in lowered(("tpu",), **functions)
    assert traced == ["cpu", "cpu", "cuda", "cpu", "default"]


def test_results_and_operands_are_trees():
    run = lambda tree: by_platform(
        tree, 2.0, default=lambda tree, by: {"sum": tree["a"] + tree["b"] * by, "a": tree["a"]}
    )
    out = run({"a": jnp.ones(3), "b": jnp.ones(3)})
    np.testing.assert_array_equal(out["sum"], [3, 3, 3])
    np.testing.assert_array_equal(jax.jit(run)({"a": jnp.ones(3), "b": jnp.ones(3)})["a"], 1)


def test_a_program_for_several_platforms_holds_the_code_of_each():
    text = lowered(("cpu", "cuda"), cpu=jnp.sin, default=jnp.cos)
    assert "sine" in text
    assert "cosine" in text


@pytest.mark.parametrize("name", ["mul8s_trunc4", "mul8u_trunc4"])
@pytest.mark.parametrize("differentiated", [False, True], ids=["forward", "gradient"])
def test_other_platforms_see_no_native_code_of_cpus(rng, name, differentiated):
    params, x = networks.plain_params(rng), networks.images(rng)
    run = axjax.emulate(networks.plain_network, [axjax.Rule(".*", axjax.load(name))])
    if differentiated:
        run = jax.grad(lambda params, x, run=run: run(params, x).sum())
    for_cuda, for_cpu = (
        jax.jit(run).trace(params, x).lower(lowering_platforms=(platform,)).as_text()
        for platform in ("cuda", "cpu")
    )
    of_cpu = [call for call in CALLS if "cpu" in call]
    assert not any(call in for_cuda for call in of_cpu)
    assert "@axjax_quantize_cpu" in for_cpu
    if not _ffi.has_cuda_handlers():
        assert "custom_call @axjax" not in for_cuda


def test_emulation_without_jit_gives_the_same_bits(rng):
    x = jnp.asarray(rng.normal(size=(4, 5)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(5, 6)), jnp.float32)
    emulated = axjax.emulate(jnp.matmul, [axjax.Rule(".*", axjax.load("mul8u_trunc4"))])
    expected = jax.jit(emulated)(x, w)
    with jax.disable_jit():
        np.testing.assert_array_equal(emulated(x, w), expected)


def test_the_cpu_computes_where_jax_prefers_another_platform(monkeypatch, rng):
    """Functions of the CPU are then traced when the program is lowered, and partitioned too."""
    x = jnp.asarray(rng.normal(size=(2, 9, 9, 3)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(3, 3, 3, 5)), jnp.float32)

    def run():
        loss = lambda w, x: (conv(x, w, quantization=axjax.Quantization()) ** 2).sum()
        return conv(x, w), jax.jit(jax.grad(loss))(w, x), jax.grad(loss)(w, x)

    expected = run()
    jax.clear_caches()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for one, other in zip(run(), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    jax.clear_caches()


def test_outside_of_a_program_operands_say_what_the_platform_is(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    x = jax.device_put(jnp.arange(3.0), jax.devices("cpu")[0])
    out = by_platform(x, cpu=jnp.sin, cuda=jnp.cos, default=jnp.tan)
    np.testing.assert_array_equal(out, jnp.sin(x))
