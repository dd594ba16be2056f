# SPDX-License-Identifier: Apache-2.0
from fractions import Fraction

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from axjax import CodeType, CurrentRange, FixedScale, GivenRange, MovingAverage, Quantization
from axjax._quantization import nearest_multiple

U8, S8 = CodeType(8, False), CodeType(8, True)


def parameters(quantizer, x, code_type=U8, channel_axes=()):
    return quantizer.parameters(jnp.asarray(x, jnp.float32), code_type, channel_axes)


def exact_nearest(x, scale):
    """floor(x / scale + 1/2) in rational numbers."""
    return int((Fraction(float(x)) / Fraction(float(scale)) + Fraction(1, 2)).__floor__())


finite = st.floats(-(2.0**8), 2.0**8, width=32)


@hypothesis.given(
    multiples=st.lists(st.integers(-1023, 1022), min_size=64, max_size=64),
    scale=st.floats(2.0**-60, 2.0**60, width=32),
    ulps=st.lists(st.integers(-2, 2), min_size=64, max_size=64),
)
@hypothesis.settings(max_examples=60)
def test_rounding_is_exact_beside_ties(multiples, scale, ulps):
    """Half-way points and their neighbours, where a rounded quotient errs."""
    scale = np.float32(scale)
    ties = (np.array(multiples) + 0.5) * np.float64(scale)
    x = ties.astype(np.float32)
    for _ in range(2):
        x = np.where(np.abs(ulps) > _, np.nextafter(x, np.sign(ulps) * np.float32(3e38)), x)
    x = x.astype(np.float32)
    found = jax.jit(nearest_multiple)(x, scale)
    for value, code in zip(x, found, strict=True):
        assert int(code) == min(max(exact_nearest(value, scale), -1024), 1024)


def test_rounding_by_a_quotient_would_err():
    """The correction earns its place: without it, some of these codes differ."""
    rng = np.random.default_rng(0)
    scale = rng.uniform(0.5, 1, 4000).astype(np.float32)
    x = ((rng.integers(-255, 255, 4000) + 0.5) * scale).astype(np.float32)
    expected = [exact_nearest(a, s) for a, s in zip(x, scale, strict=True)]
    np.testing.assert_array_equal(
        nearest_multiple(jnp.asarray(x), jnp.asarray(scale)), expected
    )
    assert (np.floor(x / scale + np.float32(0.5)) != expected).any()


@pytest.mark.parametrize(
    ("low", "high", "code_type", "symmetric", "scale", "zero_point"),
    [
        (-1.0, 1.55, U8, False, 0.01, 100),
        (0.0, 2.55, U8, False, 0.01, 0),
        (1.0, 2.55, U8, False, 0.01, 0),  # widened to zero
        (-2.55, -1.0, U8, False, 0.01, 255),
        (-1.0, 1.55, S8, False, 0.01, -28),
        (-1.27, 1.0, S8, True, 0.01, 0),
        (-1.27, 1.0, U8, True, 0.01, 128),
        (-1.0, 0.5, CodeType(4, True), True, 1 / 7, 0),
        (0.0, 1.5, CodeType(4, False), False, 0.1, 0),
        (-1.0, 0.5, CodeType(2, True), True, 1.0, 0),
        (0.0, 0.0, U8, False, 1.0, 0),
        (0.0, 0.0, S8, True, 1.0, 0),
    ],
)
def test_a_range_gives_scale_and_zero_point(low, high, code_type, symmetric, scale, zero_point):
    given = parameters(GivenRange(low, high, symmetric), [0.0], code_type)
    current = parameters(CurrentRange(symmetric), [low, high], code_type)
    for found in (given, current):
        np.testing.assert_allclose(np.ravel(found.scale), scale, rtol=1e-6)
        assert int(np.ravel(found.zero_point)[0]) == zero_point


def test_signed_codes_are_symmetric_and_unsigned_affine_by_default():
    x = [-1.0, 3.0]
    assert isinstance(parameters(CurrentRange(), x, S8).zero_point, int)
    assert parameters(CurrentRange(), x, S8).zero_point == 0
    assert int(parameters(CurrentRange(), x, U8).zero_point[0]) == 64


@pytest.mark.parametrize("code_type", [U8, S8, CodeType(5, True), CodeType(3, False)])
@pytest.mark.parametrize("symmetric", [False, True])
def test_codes_stay_in_range_and_values_within_half_a_step(rng, code_type, symmetric):
    x = rng.normal(size=1000).astype(np.float32)
    found = parameters(CurrentRange(symmetric), x, code_type)
    codes = np.asarray(found.quantize(x))
    assert codes.min() >= code_type.min
    assert codes.max() <= code_type.max
    back = found.dequantize(codes)
    assert np.abs(back - x).max() <= 0.5001 * float(found.scale[0])
    assert float(found.dequantize(jnp.asarray(found.zero_point)).ravel()[0]) == 0


def test_scale_for_each_output_channel(rng):
    kernel = rng.normal(size=(3, 3, 4, 6)).astype(np.float32)
    found = parameters(CurrentRange(per_channel=True), kernel, S8, (3,))
    assert found.scale.shape == (1, 1, 1, 6)
    expected = np.abs(kernel).max((0, 1, 2)) / 127
    np.testing.assert_allclose(found.scale.ravel(), expected, rtol=1e-6)
    given = parameters(GivenRange(-expected * 127, expected * 127), kernel, S8, (3,))
    np.testing.assert_allclose(given.scale, found.scale, rtol=1e-6)


def test_bad_values_are_seen_and_not_hidden():
    for bad in (np.nan, np.inf, -np.inf):
        assert np.isnan(parameters(CurrentRange(), [1.0, bad]).scale).all()
    assert np.isnan(parameters(GivenRange(0.0, 1.0), [1.0, np.nan]).real_scale)
    assert np.isnan(parameters(FixedScale(), [1.0, np.nan]).real_scale)
    wide = parameters(CurrentRange(), [-3e38, 3e38])  # its width is no float32
    assert np.isnan(wide.scale).all()
    saturated = parameters(GivenRange(0.0, 2.55), [np.inf, -np.inf])
    np.testing.assert_array_equal(
        saturated.quantize(jnp.asarray([np.inf, -np.inf, 1.0])), [255, 0, 100]
    )


@pytest.mark.parametrize("quantizer", [CurrentRange(), GivenRange(-1.0, 1.0), FixedScale()])
def test_one_nan_is_found_in_a_large_operand(quantizer, rng):
    """XLA's greatest value of a large array on a CPU is not NaN where one value is."""
    for position in rng.integers(0, 1 << 16, 5):
        x = rng.normal(size=1 << 16).astype(np.float32)
        assert np.isfinite(parameters(quantizer, x).real_scale).all()
        x[position] = np.nan
        assert np.isnan(parameters(quantizer, x).real_scale).all()


def test_a_nan_in_one_output_channel_leaves_the_others():
    kernel = np.ones((3, 3, 4, 5), np.float32)
    kernel[1, 1, 2, 3] = np.nan
    found = CurrentRange(per_channel=True).parameters(jnp.asarray(kernel), S8, (3,))
    np.testing.assert_array_equal(np.isnan(found.real_scale).ravel(), np.arange(5) == 3)


def test_thousands_of_channels_have_the_scales_of_few(rng):
    """XLA's sums over windows, behind which scales are kept, once doubled those of 4096."""
    kernel = jnp.asarray(rng.normal(size=(3, 5000)), jnp.float32)
    run = jax.jit(lambda x: CurrentRange(per_channel=True).parameters(x, S8, (1,)).scale)
    expected = np.abs(kernel).max(0, keepdims=True) / 127
    np.testing.assert_allclose(run(kernel), expected, rtol=1e-6)


def test_tiny_ranges_keep_a_normal_scale():
    found = parameters(CurrentRange(), [0.0, 1e-37])
    assert float(found.scale[0]) == 2.0**-100
    assert int(found.quantize(jnp.float32(1e-37))[0]) == 0


def test_values_that_are_clipped_are_told_from_those_that_are_not():
    found = parameters(GivenRange(-1.0, 1.0), [0.0], S8)
    x = jnp.asarray([-5.0, -1.0, -0.3, 0.0, 0.999, 1.0, 1.01])
    np.testing.assert_array_equal(found.inside(x), [0, 1, 1, 1, 1, 1, 0])


def test_quantizers_are_pytrees_with_ranges_as_leaves():
    quantization = Quantization(lhs=GivenRange(-1.0, 2.0), rhs=CurrentRange())
    assert jax.tree.leaves(quantization) == [-1.0, 2.0]
    doubled = jax.tree.map(lambda v: 2 * v, quantization)
    assert doubled.lhs == GivenRange(-2.0, 4.0)
    scale = jax.jit(lambda q: q.lhs.parameters(jnp.zeros(1), U8, ()).scale)(quantization)
    np.testing.assert_allclose(scale, 3 / 255, rtol=1e-6)


def test_moving_average_moves():
    average = MovingAverage(momentum=0.75)
    low, high = average.update(jnp.float32(-1.0), jnp.float32(1.0), jnp.asarray([-2.0, 5.0]))
    assert (float(low), float(high)) == (-1.25, 2.0)
    assert average.freeze(-1.0, 1.0) == GivenRange(-1.0, 1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GivenRange(1.0, -1.0), "low <= high, got low=1.0 and high=-1.0"),
        (lambda: GivenRange(np.nan, 1.0), "finite"),
        (lambda: GivenRange(0.0, np.inf), "finite"),
        (lambda: GivenRange(0.0, jnp.asarray([1.0, jnp.nan])), "finite"),
        (lambda: FixedScale(0.0), "finite and positive, got scale=0.0"),
        (lambda: FixedScale(-1.0), "finite and positive"),
        (lambda: FixedScale(np.inf), "finite and positive"),
        (lambda: MovingAverage(momentum=1.5), "momentum is from 0 to 1, got momentum=1.5"),
        (lambda: parameters(MovingAverage(), [1.0]), "state that a module keeps"),
        (lambda: parameters(CurrentRange(per_channel=True), [1.0]), "only a kernel has output"),
        (lambda: parameters(FixedScale(zero_point=300), [1.0]), "got zero_point=300 for uint8"),
        (lambda: parameters(FixedScale(zero_point=-1), [1.0]), "got zero_point=-1 for uint8"),
        (
            lambda: parameters(GivenRange(np.zeros(3), np.ones(3)), np.zeros((2, 4)), S8, (1,)),
            r"got shape=\(3,\) for an operand of shape \(2, 4\)",
        ),
        (lambda: parameters(FixedScale(np.ones(3)), np.zeros((2, 3))), "Pass a scalar"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
