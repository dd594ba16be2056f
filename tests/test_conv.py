# SPDX-License-Identifier: Apache-2.0
"""conv_general_dilated: values against fake quantisation, gradients against the exact one's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conv_cases import random_multiplier
from jax import lax

import axjax
from axjax import (
    CurrentRange,
    FixedScale,
    GivenRange,
    MovingAverage,
    Multiplier,
    Quantization,
    conv_general_dilated,
)

NHWC = ("NHWC", "HWIO", "NHWC")


def normal(rng, *shape, dtype=np.float32):
    return jnp.asarray(rng.normal(size=shape), dtype)


def fake_quantize(x, bits_signed, symmetric, axes=None):
    """Independent of axjax: NumPy, float64, rounding half up."""
    low, high = (
        np.minimum(x.min(axes, keepdims=True), 0),
        np.maximum(x.max(axes, keepdims=True), 0),
    )
    x = np.asarray(x, np.float64)
    if symmetric:
        scale = np.maximum(-low, high).astype(np.float32) / np.float32(127)
        return scale * np.clip(np.floor(x / scale + 0.5), -127, 127)
    scale = ((high - low) / np.float32(255)).astype(np.float64)
    zero = np.clip(np.floor(-low / scale + 0.5), 0, 255)
    return scale * (np.clip(np.floor(x / scale + 0.5) + zero, 0, 255) - zero)


SPATIAL_CASES = {
    "2-D": ((2, 8, 7, 4), (3, 3, 4, 6), NHWC, dict(window_strides=(1, 2), padding="SAME")),
    "2-D NCHW": (
        (2, 4, 8, 7),
        (6, 4, 3, 3),
        None,
        dict(window_strides=(1, 1), padding="VALID"),
    ),
    "1-D": (
        (2, 9, 4),
        (3, 4, 5),
        ("NWC", "WIO", "NWC"),
        dict(window_strides=(2,), padding=[(2, 1)], rhs_dilation=(2,)),
    ),
    "3-D": (
        (1, 4, 5, 6, 2),
        (2, 2, 2, 2, 3),
        ("NDHWC", "DHWIO", "NDHWC"),
        dict(window_strides=(1, 1, 1), padding="SAME_LOWER"),
    ),
    "transposed": (
        (2, 4, 4, 3),
        (3, 3, 3, 5),
        NHWC,
        dict(window_strides=(1, 1), padding=[(2, 2), (2, 1)], lhs_dilation=(2, 2)),
    ),
    "groups": (
        (2, 6, 6, 6),
        (3, 3, 2, 9),
        NHWC,
        dict(window_strides=(1, 1), padding="SAME", feature_group_count=3),
    ),
    "depthwise": (
        (2, 6, 6, 5),
        (3, 3, 1, 5),
        NHWC,
        dict(window_strides=(1, 1), padding="SAME", feature_group_count=5),
    ),
    "batch groups": (
        (6, 5, 5, 4),
        (3, 3, 4, 9),
        NHWC,
        dict(window_strides=(1, 1), padding="VALID", batch_group_count=3),
    ),
    "1x1": ((2, 5, 5, 8), (1, 1, 8, 3), NHWC, dict(window_strides=(1, 1), padding="VALID")),
    "CHWN": (
        (4, 6, 5, 2),
        (3, 2, 3, 7),
        ("CHWN", "HOWI", "HWNC"),
        dict(window_strides=(1, 1), padding="VALID"),
    ),
}
MODES = {
    "unsigned affine": (Multiplier.exact(8), Quantization(), False, True),
    "unsigned affine per tensor": (
        Multiplier.exact(8),
        Quantization(rhs=CurrentRange()),
        False,
        False,
    ),
    "signed symmetric": (Multiplier.exact(8, signed=True), Quantization(), True, True),
    "unsigned symmetric": (
        Multiplier.exact(8),
        Quantization(lhs=CurrentRange(True), rhs=CurrentRange(True, True)),
        True,
        True,
    ),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", SPATIAL_CASES)
def test_exact_table_is_the_convolution_of_fake_quantised_operands(rng, name, mode):
    lhs_shape, rhs_shape, numbers, options = SPATIAL_CASES[name]
    if name == "CHWN":
        lhs_shape, rhs_shape = (2, 6, 5, 4), (3, 7, 3, 2)
    multiplier, quantization, symmetric, per_channel = MODES[mode]
    lhs, rhs = normal(rng, *lhs_shape), normal(rng, *rhs_shape)
    spec = lax.conv_dimension_numbers(lhs_shape, rhs_shape, numbers)
    axes = tuple(a for a in range(rhs.ndim) if a != spec.rhs_spec[0]) if per_channel else None
    fq_lhs = fake_quantize(np.asarray(lhs), 8, symmetric)
    fq_rhs = fake_quantize(np.asarray(rhs), 8, symmetric, axes)
    exact = lambda a, b: lax.conv_general_dilated(
        a, b, dimension_numbers=numbers, precision="highest", **options
    )
    expected = exact(fq_lhs.astype(np.float32), fq_rhs.astype(np.float32))

    def emulated(a, b):
        return conv_general_dilated(
            a,
            b,
            dimension_numbers=numbers,
            multiplier=multiplier,
            quantization=quantization,
            precision="highest",
            **options,
        )

    out, vjp = jax.vjp(emulated, lhs, rhs)
    assert out.shape == expected.shape
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        out, expected, atol=2e-6 * scale
    )  # float32 rounds the expected sums
    cotangent = normal(rng, *out.shape)
    _, expected_vjp = jax.vjp(exact, fq_lhs.astype(np.float32), fq_rhs.astype(np.float32))
    for ours, theirs in zip(vjp(cotangent), expected_vjp(cotangent), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6 * np.abs(theirs).max())


@pytest.mark.parametrize("name", ["2-D", "transposed", "groups", "1-D"])
def test_an_approximate_table_changes_only_the_products(rng, name):
    """(6) with an unrelated table, in NumPy from axjax's own codes."""
    lhs_shape, rhs_shape, numbers, options = SPATIAL_CASES[name]
    mul = random_multiplier(rng)
    lhs, rhs = normal(rng, *lhs_shape), normal(rng, *rhs_shape)
    x = CurrentRange().parameters(lhs, mul.activation, ())
    w = CurrentRange(per_channel=True).parameters(rhs, mul.weight, (rhs.ndim - 1,))
    qx, qw = np.asarray(x.quantize(lhs), np.uint8), np.asarray(w.quantize(rhs), np.uint8)
    keywords = {"feature_group_count": 1} | options
    zx, zw = int(np.ravel(x.zero_point)[0]), np.ravel(w.zero_point)
    sums = lambda table: np.asarray(
        axjax.lut_conv(qx, qw, table, pad_code=zx, engine="reference", **keywords), np.int64
    )
    first = Multiplier.from_function(lambda a, b: a + 0 * b)
    second = Multiplier.from_function(lambda a, b: b + 0 * a)
    one = Multiplier.from_function(lambda a, b: 1 + 0 * a * b)
    total = sums(mul) - zw * sums(first) - zx * sums(second) + zx * zw * sums(one)
    expected = total * np.float64(np.ravel(x.scale)[0]) * np.ravel(w.scale).astype(np.float64)
    out = conv_general_dilated(lhs, rhs, dimension_numbers=numbers, multiplier=mul, **options)
    np.testing.assert_allclose(out, expected, rtol=3e-7 * 4)  # three float32 roundings


def tfapprox(x, w, table, stride, pads):
    """TFApprox's formula in float64: (9). Its scales and zero points are float32 arithmetic."""

    def quantize(v):
        low, high = v.min(), v.max()
        scale = np.float32(high - low) / np.float32(255)
        zero = min(max(np.floor(np.float64(-low) / np.float64(scale) + 0.5), 0), 255)
        m = -zero * np.float64(scale)
        v = np.clip(v.astype(np.float64), m, m + 255 * np.float64(scale))
        q = np.floor((v - m) / np.float64(scale) + 0.5).astype(int)
        return q, np.float64(scale), m, int(zero)

    qx, s1, m1, zero = quantize(x)
    qw, s2, m2, _ = quantize(w)
    qx = np.pad(qx, ((0, 0), pads, pads, (0, 0)), constant_values=zero)
    kh, kw, channels, outputs = w.shape
    height, width = ((qx.shape[a] - k) // stride + 1 for a, k in ((1, kh), (2, kw)))
    out = np.zeros((x.shape[0], height, width, outputs))
    for i in range(height):
        for j in range(width):
            patch = qx[:, i * stride : i * stride + kh, j * stride : j * stride + kw]
            products = table[patch[..., None], qw[None]]
            out[:, i, j] = (
                s1 * s2 * products.sum((1, 2, 3))
                + m2 * (s1 * patch + m1).sum((1, 2, 3))[:, None]
                + m1 * (s2 * qw + m2).sum((0, 1, 2))
                - kh * kw * channels * m1 * m2
            )
    return out


@pytest.mark.parametrize(
    "offset", [0.0, 3.0, -3.0], ids=["around zero", "positive", "negative"]
)
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3)], ids=["1x1", "3x3"])
@pytest.mark.parametrize("exact", [False, True], ids=["random table", "exact table"])
def test_tfapprox_mode_equals_its_formula(rng, exact, kernel, offset):
    mul = Multiplier.exact(8) if exact else random_multiplier(rng)
    x = (rng.normal(size=(2, 6, 6, 7)) + offset).astype(np.float32)
    w = rng.normal(size=(*kernel, 7, 5)).astype(np.float32)
    pads = (kernel[0] // 2,) * 2
    expected = tfapprox(x, w, np.asarray(mul.table, np.int64), 1, pads)
    out = conv_general_dilated(
        x,
        w,
        (1, 1),
        "SAME",
        dimension_numbers=NHWC,
        multiplier=mul,
        quantization=Quantization.tfapprox(),
    )
    assert np.abs(out - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("value", [0.0, 2.5, -2.5])
def test_tfapprox_mode_of_a_single_value_is_finite_and_right(value):
    x, w = np.full((1, 4, 4, 2), value, np.float32), np.full((3, 3, 2, 1), 0.5, np.float32)
    out = conv_general_dilated(
        x,
        w,
        (1, 1),
        "VALID",
        dimension_numbers=NHWC,
        multiplier=Multiplier.exact(8),
        quantization=Quantization.tfapprox(),
    )
    np.testing.assert_allclose(out, np.full(out.shape, 9.0 * value), rtol=1e-6)


def test_integers_at_unit_scale_are_exact(rng):
    mul = Multiplier.exact(8, signed=True)
    x = rng.integers(-128, 128, (2, 6, 6, 4))
    w = rng.integers(-128, 128, (3, 3, 4, 5))
    expected = lax.conv_general_dilated(
        x.astype(np.int32), w.astype(np.int32), (1, 1), "SAME", dimension_numbers=NHWC
    )
    for dtype in (np.int8, np.int32, np.float32):
        out = conv_general_dilated(
            x.astype(dtype),
            w.astype(dtype),
            (1, 1),
            "SAME",
            dimension_numbers=NHWC,
            multiplier=mul,
            quantization=Quantization.unit(),
        )
        assert out.dtype == (np.float32 if dtype == np.float32 else np.int32)
        np.testing.assert_array_equal(out, expected)


def test_integer_sums_of_fixed_zero_points(rng):
    quantization = Quantization(lhs=FixedScale(1.0, 10), rhs=FixedScale(1.0, 128))
    x, w = rng.integers(-10, 246, (1, 5, 5, 3)), rng.integers(-128, 128, (3, 3, 3, 4))
    out = conv_general_dilated(
        x.astype(np.float32),
        w.astype(np.float32),
        (1, 1),
        "SAME",
        dimension_numbers=NHWC,
        multiplier=Multiplier.exact(8),
        quantization=quantization,
        preferred_element_type=jnp.int32,
    )
    expected = lax.conv_general_dilated(
        x.astype(np.int32), w.astype(np.int32), (1, 1), "SAME", dimension_numbers=NHWC
    )
    np.testing.assert_array_equal(out, expected)


def test_corrections_beyond_int32_are_rounded_once():
    """Sums of 33,025 products, corrected by as much again: the result leaves int32."""
    mul = Multiplier.from_function(lambda a, b: 65025 + 0 * a * b)
    quantization = Quantization(lhs=FixedScale(1.0, 255), rhs=FixedScale(1.0, 0))
    x, w = jnp.zeros((1, 33025)) - 255, jnp.zeros((33025, 2)) + 255
    out = axjax.dot_general(
        x, w, (((1,), (0,)), ((), ())), multiplier=mul, quantization=quantization
    )
    expected = 33025 * 65025 - 255 * 33025 * 255
    np.testing.assert_array_equal(out, np.full((1, 2), np.float32(expected)))
    quantization = Quantization(lhs=FixedScale(1.0, 0), rhs=FixedScale(1.0, 255))
    mul = Multiplier.from_function(lambda a, b: -65025 + 0 * a * b)
    out = axjax.dot_general(
        255 + 0 * x, 0 * w, (((1,), (0,)), ((), ())), multiplier=mul, quantization=quantization
    )
    np.testing.assert_array_equal(out, np.full((1, 2), np.float32(-2 * 33025 * 65025)))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_narrow_floats_keep_their_dtype(rng, dtype):
    x, w = normal(rng, 2, 6, 6, 4, dtype=dtype), normal(rng, 3, 3, 4, 5, dtype=dtype)
    run = lambda x, w, **k: conv_general_dilated(
        x, w, (1, 1), "SAME", dimension_numbers=NHWC, multiplier=Multiplier.exact(8), **k
    )
    out = run(x, w)
    assert out.dtype == dtype
    full = run(x.astype(jnp.float32), w.astype(jnp.float32))
    np.testing.assert_array_equal(out, full.astype(dtype))
    assert run(x, w, preferred_element_type=jnp.float32).dtype == jnp.float32
    gradient = jax.grad(lambda x: run(x, w).astype(jnp.float32).sum())(x)
    assert gradient.dtype == dtype


def test_given_range_clips_values_and_their_gradients(rng):
    x, w = 2 * normal(rng, 1, 5, 5, 2), normal(rng, 3, 3, 2, 3)
    quantization = Quantization(lhs=GivenRange(-1.0, 1.0))
    run = lambda x: conv_general_dilated(
        x,
        w,
        (1, 1),
        "SAME",
        dimension_numbers=NHWC,
        multiplier=Multiplier.exact(8, signed=True),
        quantization=quantization,
    ).sum()
    np.testing.assert_allclose(run(x), run(jnp.clip(x, -1, 1)), rtol=1e-6)
    gradient = jax.grad(run)(x)
    assert (gradient[jnp.abs(x) > 1.01] == 0).all()
    assert (gradient[jnp.abs(x) < 0.99] != 0).all()


def test_ranges_do_not_depend_on_the_batch_when_given(rng):
    x, w = normal(rng, 6, 5, 5, 2), normal(rng, 3, 3, 2, 3)
    run = lambda x: conv_general_dilated(
        x,
        w,
        (1, 1),
        "SAME",
        dimension_numbers=NHWC,
        multiplier=random_multiplier(rng0()),
        quantization=Quantization(lhs=GivenRange(-3.0, 3.0)),
    )
    whole = run(x)
    for i in range(6):
        np.testing.assert_array_equal(run(x[i : i + 1])[0], whole[i])


def rng0():
    return np.random.default_rng(0)


def test_no_gradient_goes_to_ranges_or_tables(rng):
    x, w = normal(rng, 1, 5, 5, 2), normal(rng, 3, 3, 2, 3)

    def loss(low):
        return conv_general_dilated(
            x,
            w,
            (1, 1),
            "SAME",
            dimension_numbers=NHWC,
            multiplier=Multiplier.exact(8),
            quantization=Quantization(lhs=GivenRange(low, 1.0)),
        ).sum()

    assert float(jax.grad(loss)(-1.0)) == 0


def test_nan_and_infinity_are_seen(rng):
    w = normal(rng, 3, 3, 2, 3)
    for bad in (np.nan, np.inf):
        x = normal(rng, 1, 5, 5, 2).at[0, 2, 2, 0].set(bad)
        run = lambda q: conv_general_dilated(
            x,
            w,
            (1, 1),
            "SAME",
            dimension_numbers=NHWC,
            multiplier=Multiplier.exact(8),
            quantization=q,
        )
        assert jnp.isnan(run(None)).all()
        given = run(Quantization(lhs=GivenRange(-2.0, 2.0)))
        assert jnp.isnan(given).all() if np.isnan(bad) else jnp.isfinite(given).all()
    kernel = w.at[0, 0, 0, 1].set(np.nan)  # one output channel is bad, the others are not
    out = conv_general_dilated(
        normal(rng, 1, 5, 5, 2),
        kernel,
        (1, 1),
        "SAME",
        dimension_numbers=NHWC,
        multiplier=Multiplier.exact(8),
    )
    np.testing.assert_array_equal(jnp.isnan(out).all((0, 1, 2)), [False, True, False])
    assert jnp.isfinite(out[..., 0]).all()


def test_empty_batches_and_constant_operands():
    mul = Multiplier.exact(8)
    run = lambda x, w: conv_general_dilated(
        x, w, (1, 1), "SAME", dimension_numbers=NHWC, multiplier=mul
    )
    assert run(jnp.zeros((0, 5, 5, 2)), jnp.ones((3, 3, 2, 3))).shape == (0, 5, 5, 3)
    gradient = jax.grad(lambda w: run(jnp.zeros((0, 5, 5, 2)), w).sum())(jnp.ones((3, 3, 2, 3)))
    np.testing.assert_array_equal(gradient, np.zeros((3, 3, 2, 3)))
    np.testing.assert_array_equal(run(jnp.zeros((1, 5, 5, 2)), jnp.zeros((3, 3, 2, 3))), 0)
    out = run(jnp.full((1, 3, 3, 2), 0.7), jnp.full((3, 3, 2, 1), -0.3))
    np.testing.assert_allclose(out[0, 1, 1, 0], 18 * 0.7 * -0.3, rtol=1e-6)


def test_without_multiplier_it_is_lax(rng):
    x, w = normal(rng, 1, 5, 5, 2), normal(rng, 3, 3, 2, 3)
    ours = jax.make_jaxpr(
        lambda x, w: conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=NHWC, multiplier=None
        )
    )(x, w)
    theirs = jax.make_jaxpr(
        lambda x, w: lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=NHWC)
    )(x, w)
    assert str(ours) == str(theirs)


f32 = np.ones((2, 5, 5, 4), np.float32)
k32 = np.ones((3, 3, 4, 6), np.float32)
exact8 = Multiplier.exact(8)


def conv(x=f32, w=k32, strides=(1, 1), padding="SAME", **options):
    options = {"dimension_numbers": NHWC, "multiplier": exact8} | options
    return conv_general_dilated(x, w, strides, padding, **options)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: conv(w=k32[:, :, :3]), ValueError, r"input channels, got 3 \* 1 != 4"),
        (lambda: conv(feature_group_count=3), ValueError, r"got 4 \* 3 != 4"),
        (lambda: conv(batch_group_count=3), ValueError, "batch_group_count divides the batch"),
        (
            lambda: conv(feature_group_count=2, batch_group_count=2),
            ValueError,
            "at most one of",
        ),
        (lambda: conv(strides=(0, 1)), ValueError, "window_strides has a positive integer"),
        (lambda: conv(padding="NONE"), ValueError, "got padding='NONE'"),
        (
            lambda: conv(x=f32.astype(np.int32)),
            TypeError,
            "an integer operand needs a fixed scale, got lhs.dtype=int32 with CurrentRange",
        ),
        (lambda: conv(x=f32 > 0), TypeError, "operands are real, got lhs.dtype=bool"),
        (lambda: conv(w=k32.astype(np.complex64)), TypeError, "got rhs.dtype=complex64"),
        (lambda: conv(w=k32.astype(np.float16)), TypeError, "operands have one dtype"),
        (lambda: conv(preferred_element_type=np.int32), TypeError, "integers only at fixed"),
        (lambda: conv(engine="fast"), ValueError, "got engine='fast'"),
        (
            lambda: conv(quantization=Quantization(lhs=MovingAverage())),
            ValueError,
            "state that a module keeps",
        ),
        (
            lambda: conv(quantization=Quantization(lhs=CurrentRange(per_channel=True))),
            ValueError,
            "only a kernel has output channels",
        ),
        (
            lambda: conv(
                x=f32[..., :1].repeat(33026, -1)[:1, :1, :1],
                padding="VALID",
                w=np.ones((1, 1, 33026, 1), np.float32),
            ),
            ValueError,
            "conv_general_dilated: sums of products fit int32",
        ),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
