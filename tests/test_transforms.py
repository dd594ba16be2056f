# SPDX-License-Identifier: Apache-2.0
"""jit, vmap, grad, checkpoint, scan, export: the integer operation under each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conv_cases import random_codes, random_multiplier

import axjax
from axjax import lut_conv

OPTIONS = dict(window_strides=(2, 1), padding="SAME", feature_group_count=2)


def conv(lhs, rhs, mul, pad_code, engine="auto"):
    return lut_conv(lhs, rhs, mul, pad_code=pad_code, engine=engine, **OPTIONS)


@pytest.mark.parametrize("table_batched", [False, True], ids=["one table", "tables"])
@pytest.mark.parametrize("pad_batched", [False, True], ids=["one pad", "pads"])
@pytest.mark.parametrize("rhs_batched", [False, True], ids=["one kernel", "kernels"])
@pytest.mark.parametrize("lhs_batched", [False, True], ids=["one input", "inputs"])
def test_vmap_equals_a_loop(rng, lhs_batched, rhs_batched, pad_batched, table_batched):
    batched = (lhs_batched, rhs_batched, table_batched, pad_batched)
    if not any(batched):
        pytest.skip("nothing is mapped")
    size = 3
    muls = [random_multiplier(rng) for _ in range(size)]
    lead = lambda on: (size,) if on else ()
    operands = (
        random_codes(rng, (*lead(lhs_batched), 2, 6, 5, 4)),
        random_codes(rng, (*lead(rhs_batched), 3, 3, 2, 8)),
        jax.tree.map(lambda *t: jnp.stack(t), *muls) if table_batched else muls[0],
        random_codes(rng, lead(pad_batched)),
    )
    axes = tuple(0 if on else None for on in batched)
    out = jax.jit(jax.vmap(conv, axes))(*operands)
    for i in range(size):
        one = [
            jax.tree.map(lambda a, i=i: a[i], operand) if on else operand
            for on, operand in zip(batched, operands, strict=True)
        ]
        np.testing.assert_array_equal(out[i], conv(*one, engine="reference"))


def test_nested_vmap_over_inputs_and_kernels(rng):
    mul = random_multiplier(rng)
    lhs, rhs = random_codes(rng, (2, 1, 6, 5, 4)), random_codes(rng, (3, 3, 3, 2, 8))
    out = jax.vmap(jax.vmap(conv, (None, 0, None, None)), (0, None, None, None))(
        lhs, rhs, mul, 5
    )
    assert out.shape == (2, 3, 1, 3, 5, 8)
    for i in range(2):
        for j in range(3):
            expected = conv(lhs[i], rhs[j], mul, 5, "reference")
            np.testing.assert_array_equal(out[i, j], expected)


def test_inputs_that_share_a_kernel_are_one_call(rng):
    mul = random_multiplier(rng)
    lhs, rhs = random_codes(rng, (4, 2, 6, 5, 4)), random_codes(rng, (3, 3, 2, 8))
    run = jax.jit(jax.vmap(lambda x: conv(x, rhs, mul, 0)))
    text = run.lower(lhs).compile().as_text()
    assert text.count('custom_call_target="axjax_lut_conv') == 1
    assert "while" not in text


FLOATS = dict(window_strides=(1, 1), padding="SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@pytest.fixture
def float_conv(rng):
    mul = random_multiplier(rng)
    kernel = jnp.asarray(rng.normal(size=(3, 3, 4, 4)), jnp.float32)
    x = jnp.asarray(rng.normal(size=(2, 6, 5, 4)), jnp.float32)

    def layer(x, kernel=kernel):
        y = axjax.conv_general_dilated(x, kernel, **FLOATS, multiplier=mul)
        return jnp.tanh(y * 1e-6)

    return layer, x, kernel


def test_jit_equals_eager(float_conv):
    layer, x, _ = float_conv
    np.testing.assert_allclose(jax.jit(layer)(x), layer(x), rtol=1e-6)


def test_checkpoint_keeps_values_and_gradients(float_conv):
    layer, x, kernel = float_conv
    loss = lambda f: lambda k: (f(x, k) ** 2).sum()
    plain = jax.jit(jax.value_and_grad(loss(layer)))(kernel)
    remat = jax.jit(jax.value_and_grad(loss(jax.checkpoint(layer))))(kernel)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), plain, remat)


def test_scan_equals_a_loop(float_conv):
    layer, x, _ = float_conv
    scanned, _ = jax.lax.scan(lambda x, _: (layer(x), None), x, None, length=3)
    looped = x
    for _ in range(3):
        looped = jax.jit(layer)(looped)
    np.testing.assert_allclose(scanned, looped, rtol=1e-5, atol=1e-6)


def test_gradient_through_scan_is_finite(float_conv):
    layer, x, kernel = float_conv

    def loss(kernel):
        y, _ = jax.lax.scan(lambda x, _: (layer(x, kernel), None), x, None, length=2)
        return (y**2).sum()

    gradient = jax.jit(jax.grad(loss))(kernel)
    assert jnp.isfinite(gradient).all()
    assert jnp.abs(gradient).max() > 0


def test_vmap_of_grad_equals_a_loop(float_conv, rng):
    layer, _, kernel = float_conv
    xs = jnp.asarray(rng.normal(size=(3, 1, 6, 5, 4)), jnp.float32)
    gradient = jax.grad(lambda k, x: (layer(x, k) ** 2).sum())
    mapped = jax.jit(jax.vmap(gradient, (None, 0)))(kernel, xs)
    looped = jnp.stack([gradient(kernel, x) for x in xs])
    np.testing.assert_allclose(mapped, looped, rtol=1e-4, atol=1e-5 * jnp.abs(looped).max())


def test_integer_operation_is_constant_to_a_gradient(rng):
    mul = random_multiplier(rng)
    rhs = random_codes(rng, (3, 3, 2, 8))

    def loss(x):
        codes = x.astype(jnp.uint8)
        return (x * conv(codes, rhs, mul, 0).sum().astype(jnp.float32)).sum()

    x = jnp.full((1, 4, 4, 4), 3.0)
    total = conv(np.full((1, 4, 4, 4), 3, np.uint8), rhs, mul, 0).sum()
    np.testing.assert_allclose(jax.grad(loss)(x), np.full(x.shape, float(total)), rtol=1e-6)


def test_lowering_for_other_platforms_needs_none_of_their_devices(rng):
    mul = random_multiplier(rng)
    lhs, rhs = random_codes(rng, (1, 6, 5, 4)), random_codes(rng, (3, 3, 2, 8))
    run = jax.jit(lambda x, w: conv(x, w, mul, 0))
    lower = lambda p: run.trace(lhs, rhs).lower(lowering_platforms=(p,)).as_text()
    assert "axjax_lut_conv_cpu_u16" in lower("cpu")
    assert "axjax_lut_conv" not in lower("tpu")
