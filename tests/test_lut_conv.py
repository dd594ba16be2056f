# SPDX-License-Identifier: Apache-2.0
"""Every engine equals the reference; the reference equals NumPy and lax."""

import itertools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conv_cases import CASES, ENTRIES, random_codes, random_multiplier

import axjax
from axjax import Multiplier, lut_conv, lut_dot

ENGINES = ["xla", "cpu", "auto"]


def numpy_conv(
    lhs, rhs, table, window_strides, padding, lhs_dilation, rhs_dilation, groups, pad_code
):
    """The sum as a loop over outputs and products, in int64, for explicit padding."""
    n, *spatial, _ = lhs.shape
    *window, per_group, outputs = rhs.shape
    dilated = [(s - 1) * d + 1 for s, d in zip(spatial, lhs_dilation, strict=True)]
    grid = [
        (low + size + high - ((k - 1) * d + 1)) // stride + 1
        for size, k, d, stride, (low, high) in zip(
            dilated, window, rhs_dilation, window_strides, padding, strict=True
        )
    ]
    out = np.zeros((n, *grid, outputs), np.int64)
    for image, *pixel, o in itertools.product(range(n), *map(range, grid), range(outputs)):
        group = o // (outputs // groups)
        for tap in itertools.product(*map(range, window)):
            at = [
                p * s + k * d - low
                for p, s, k, d, (low, _) in zip(
                    pixel, window_strides, tap, rhs_dilation, padding, strict=True
                )
            ]
            inside = all(
                0 <= a < size and a % d == 0
                for a, size, d in zip(at, dilated, lhs_dilation, strict=True)
            )
            where = tuple(a // d for a, d in zip(at, lhs_dilation, strict=True))
            for c in range(per_group):
                x = lhs[image][where][group * per_group + c] if inside else pad_code
                out[(image, *pixel, o)] += table[int(x), int(rhs[tap][c, o])]
    return out


@pytest.mark.parametrize("engine", ["reference", *ENGINES])
@pytest.mark.parametrize(
    "options",
    [
        dict(
            window_strides=(2, 1),
            padding=[(1, 2), (0, 3)],
            lhs_dilation=(1, 1),
            rhs_dilation=(1, 2),
            feature_group_count=1,
        ),
        dict(
            window_strides=(1, 2),
            padding=[(-1, 2), (3, -1)],
            lhs_dilation=(2, 3),
            rhs_dilation=(2, 1),
            feature_group_count=2,
        ),
    ],
    ids=["dilated kernel", "dilated input in groups"],
)
def test_accumulators_equal_numpy(rng, engine, options):
    mul = random_multiplier(rng)
    lhs, rhs = random_codes(rng, (2, 5, 4, 4)), random_codes(rng, (2, 3, 4, 6))
    rhs = rhs[:, :, : 4 // options["feature_group_count"]]
    out = lut_conv(lhs, rhs, mul, pad_code=77, engine=engine, **options)
    options = dict(options)
    groups = options.pop("feature_group_count")
    expected = numpy_conv(
        lhs, rhs, np.asarray(mul.table), **options, groups=groups, pad_code=77
    )
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", CASES)
def test_accumulators_equal_reference_for_random_table(rng, engine, name):
    for entries in ENTRIES:
        signed = entries == "int16"
        mul = random_multiplier(rng, entries, signed)
        lhs = random_codes(rng, CASES[name].lhs, signed)
        rhs = random_codes(rng, CASES[name].rhs, signed)
        pad_code = random_codes(rng, (), signed)
        run = lambda e: lut_conv(
            lhs, rhs, mul, pad_code=pad_code, engine=e, **CASES[name].options
        )
        out, expected = run(engine), run("reference")
        assert out.dtype == jnp.int32
        np.testing.assert_array_equal(out, expected)


sizes = st.integers(1, 6)
small = st.integers(1, 3)


@hypothesis.given(
    data=st.data(),
    spatial=st.lists(sizes, min_size=1, max_size=3),
    images=st.integers(0, 3),
    groups=small,
    channels=st.integers(1, 5),
    outputs=st.integers(1, 5),
    seed=st.integers(0, 2**32),
)
@hypothesis.settings(max_examples=15)
def test_engines_agree_on_any_shape(data, spatial, images, groups, channels, outputs, seed):
    rng = np.random.default_rng(seed)
    window = [data.draw(small) for _ in spatial]
    options = dict(
        window_strides=[data.draw(small) for _ in spatial],
        rhs_dilation=[data.draw(small) for _ in spatial],
        lhs_dilation=[data.draw(st.integers(1, 2)) for _ in spatial],
        padding=[
            (data.draw(st.integers(-2, 3)), data.draw(st.integers(-2, 3))) for _ in spatial
        ],
        feature_group_count=groups,
        pad_code=int(rng.integers(256)),
    )
    mul = random_multiplier(rng)
    lhs = random_codes(rng, (images, *spatial, groups * channels))
    rhs = random_codes(rng, (*window, channels, groups * outputs))
    expected = lut_conv(lhs, rhs, mul, engine="reference", **options)
    for engine in ("xla", "cpu"):
        out = lut_conv(lhs, rhs, mul, engine=engine, **options)
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("engine", ["reference", *ENGINES])
def test_exact_table_gives_lax_convolution(rng, engine, signed):
    lhs = random_codes(rng, (2, 8, 7, 6), signed)
    rhs = random_codes(rng, (3, 3, 3, 8), signed)
    out = lut_conv(
        lhs,
        rhs,
        Multiplier.exact(8, signed=signed),
        (2, 1),
        "SAME",
        feature_group_count=2,
        engine=engine,
    )
    expected = jax.lax.conv_general_dilated(
        lhs.astype(np.int32),
        rhs.astype(np.int32),
        (2, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=2,
    )
    np.testing.assert_array_equal(out, expected)


def test_codes_narrower_than_a_byte_are_their_low_bits(rng):
    mul = Multiplier(rng.integers(0, 99, (16, 8)), bits=(4, 3))
    x, w = random_codes(rng, (5, 7)), random_codes(rng, (7, 3))
    out = lut_dot(x, w, mul)
    np.testing.assert_array_equal(out, lut_dot(x & 15, w & 7, mul))
    expected = mul.products()[(x & 15)[:, :, None], (w & 7)[None]].sum(1)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("engine", ["reference", *ENGINES])
def test_lut_dot_takes_batch_dimensions(rng, engine):
    mul = random_multiplier(rng)
    x, w = random_codes(rng, (2, 3, 5, 11)), random_codes(rng, (11, 4))
    out = lut_dot(x, w, mul, engine=engine)
    table = np.asarray(mul.table, np.int64)
    np.testing.assert_array_equal(out, table[x[..., None], w].sum(-2))
    assert lut_dot(x[0, 0, 0], w, mul, engine=engine).shape == (4,)


def test_depth_limit_of_the_exact_unsigned_table():
    """33,025 products of 255 x 255 are 2,147,450,625; one more would leave int32."""
    mul = Multiplier.exact(8)
    full = lambda *shape: np.full(shape, 255, np.uint8)
    assert 25 * 1321 == 33025
    for engine in ("reference", *ENGINES):
        out = lut_conv(full(1, 5, 5, 1321), full(5, 5, 1321, 1), mul, engine=engine)
        assert int(out[0, 0, 0, 0]) == 33025 * 65025
    with pytest.raises(
        ValueError,
        match="up to 33025 products per output for entries up to 65025, got depth=33026",
    ):
        lut_dot(full(1, 33026), full(33026, 1), mul)


def test_table_is_an_argument_of_the_compiled_program(rng):
    x, w = random_codes(rng, (4, 9)), random_codes(rng, (9, 3))
    traces = []

    @jax.jit
    def run(mul):
        traces.append(mul)
        return lut_dot(x, w, mul)

    for _ in range(3):
        mul = random_multiplier(rng)
        np.testing.assert_array_equal(run(mul), lut_dot(x, w, mul, engine="reference"))
    assert len(traces) == 1


u8 = np.zeros((2, 5, 5, 4), np.uint8)
k8 = np.zeros((3, 3, 4, 6), np.uint8)
exact = Multiplier.exact(8)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: lut_conv(u8.astype(np.int8), k8, exact),
            TypeError,
            "lut_conv: uint8 codes are passed as uint8, got lhs.dtype=int8",
        ),
        (
            lambda: lut_conv(u8, k8, Multiplier.exact(8, signed=(False, True))),
            TypeError,
            "lut_conv: int8 codes are passed as int8, got rhs.dtype=uint8",
        ),
        (
            lambda: lut_conv(u8.astype(np.float32), k8, exact),
            TypeError,
            "got lhs.dtype=float32",
        ),
        (
            lambda: lut_conv(u8, k8[:, :, :3], exact),
            ValueError,
            r"equal the input channels, got 3 \* 1 != 4",
        ),
        (
            lambda: lut_conv(u8, k8[:, :, :1, :5], exact, feature_group_count=4),
            ValueError,
            "divides the output channels, got 5 output channels and feature_group_count=4",
        ),
        (
            lambda: lut_conv(u8, k8, exact, feature_group_count=0),
            ValueError,
            "feature_group_count is 1 or more",
        ),
        (lambda: lut_conv(u8, k8, exact, (1, 0)), ValueError, "window_strides has a positive"),
        (lambda: lut_conv(u8, k8, exact, (1,)), ValueError, "window_strides has a positive"),
        (lambda: lut_conv(u8, k8, exact, rhs_dilation=(0, 1)), ValueError, "rhs_dilation has"),
        (lambda: lut_conv(u8, k8, exact, lhs_dilation=-1), ValueError, "lhs_dilation has"),
        (lambda: lut_conv(u8, k8, exact, padding="FULL"), ValueError, "padding='FULL'"),
        (lambda: lut_conv(u8, k8, exact, padding=[(1, 1)]), ValueError, "Pass 2 pairs"),
        (lambda: lut_conv(u8[0, 0], k8, exact), ValueError, "Check their ranks"),
        (lambda: lut_conv(u8, k8[None, None], exact), ValueError, "Check their ranks"),
        (lambda: lut_conv(u8, k8, exact, pad_code=[1]), ValueError, "pad_code is one code"),
        (
            lambda: lut_conv(u8, k8, exact, engine="gpu"),
            ValueError,
            "one of auto, reference, .*, cpu, cpu_factored, cuda_.*, got engine='gpu'",
        ),
        (lambda: lut_dot(u8[0, 0], k8[0, 0, :3], exact), ValueError, "lut_dot: the last dim"),
        (lambda: lut_dot(u8[0, 0], k8, exact), ValueError, "lut_dot: the last dimension"),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.skipif(
    axjax.build_info()["engines"]["cuda_texture"] == "usable", reason="there is a GPU here"
)
def test_a_cuda_engine_without_gpu_says_what_to_do():
    with pytest.raises(
        RuntimeError,
        match="engine 'cuda_texture' cannot run, got: "
        "(axjax was built without CUDA|JAX has no CUDA device)",
    ):
        lut_conv(u8, k8, exact, engine="cuda_texture")
