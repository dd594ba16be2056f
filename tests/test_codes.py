# SPDX-License-Identifier: Apache-2.0
"""Quantisation by native code, as CPUs run it, equals the plain JAX that specifies it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conv_cases import CASES, random_codes

import axjax
from axjax import CodeType, CurrentRange, FixedScale, GivenRange, _codes, _cpu
from axjax._geometry import canonical_geometry, canonical_lhs_shape, canonical_rhs_shape
from axjax._zero_points import ZeroPoints

TYPES = {
    "uint8": CodeType(8, False),
    "int8": CodeType(8, True),
    "uint3": CodeType(3, False),
    "int2": CodeType(2, True),
}
FORMS = {"codes": _codes._CODES, "and back": _codes._AND_BACK}


def instruction_sets():
    """Each that this machine has, in use while the loop is at it."""
    native = axjax.build_info()["native"]["cpu"]
    try:
        for name in native["instruction_sets"]:
            assert _cpu.set_instruction_set(name)
            yield name
    finally:
        _cpu.set_instruction_set(native["instruction_set"])


@functools.cache
def compiled(form, which, rule):
    return jax.jit(functools.partial(getattr(FORMS[form], which), rule))


def assert_native_equals_plain(x, quantizer, code_type, channel_axes=()):
    """Bit for bit, with every instruction set, and that there is native code for it at all."""
    x = jnp.asarray(x)
    rule, given = quantizer.rule(x, code_type, channel_axes)
    assert _codes._is_native(rule, x)
    for form in FORMS:
        expected = compiled(form, "plain", rule)(x, *given)
        for name in instruction_sets():
            found = compiled(form, "native", rule)(x, *given)
            for a, b in zip(found, expected, strict=True):
                assert a.dtype == b.dtype
                np.testing.assert_array_equal(a, b, err_msg=f"{form} by {name}")


def ties(rng, scale, size=20000):
    """Half-way points of a scale and their neighbours, to beyond all codes."""
    multiples = rng.integers(-600, 600, size) + rng.choice([0.5, 0.0], size)
    x = np.clip(multiples * np.float64(scale), -3.4e38, 3.4e38).astype(np.float32)
    for _ in range(2):
        x = np.nextafter(x, np.where(rng.integers(0, 3, size) > 0, x, x + 1), dtype=np.float32)
    return x


SPECIAL = np.array(
    [0.0, -0.0, 1e-40, -1e-40, 1.2e-38, -1e-30, 3e38, -3e38, np.inf, -np.inf], np.float32
)


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("symmetric", [False, True])
def test_a_given_range_gives_the_same_codes(rng, name, symmetric):
    code_type = TYPES[name]
    for low, high in ((-1.0, 1.55), (0.0, 6.0), (-3e-7, 1e-9), (-1e30, 3e30), (0.0, 0.0)):
        scale = GivenRange(low, high, symmetric).parameters(jnp.zeros(1), code_type, ()).scale
        x = np.concatenate([ties(rng, float(scale)), SPECIAL])
        assert_native_equals_plain(x, GivenRange(low, high, symmetric), code_type)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_range_that_is_not_finite_gives_the_same_codes(rng, bad):
    given = jax.tree.unflatten(jax.tree.structure(GivenRange(0.0, 0.0)), (-1.0, bad))
    for code_type in TYPES.values():
        assert_native_equals_plain(ties(rng, 1.0, 100), given, code_type)


@pytest.mark.parametrize("name", TYPES)
def test_a_fixed_scale_gives_the_same_codes(rng, name):
    code_type = TYPES[name]
    for scale in (1.0, 0.1, 2.0**-99, 1.2345e35):
        for zero_point in {code_type.min, 1, code_type.max}:
            x = np.concatenate([ties(rng, scale), SPECIAL])
            assert_native_equals_plain(x, FixedScale(scale, zero_point), code_type)


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("include_zero", [False, True])
def test_the_range_of_the_numbers_gives_the_same_codes(rng, name, symmetric, include_zero):
    quantizer = CurrentRange(symmetric, include_zero=include_zero)
    for low, high in ((-1, 2), (0, 5), (2, 3), (-3, -1), (1e-36, 2e-36), (0, 1e38), (-2, -2)):
        x = rng.uniform(low, high, 20000).astype(np.float32)
        assert_native_equals_plain(x, quantizer, TYPES[name])
        if high > low:  # half-way points of the very scale, which the least and greatest make
            scale = quantizer.parameters(jnp.asarray(x), TYPES[name], ()).scale.item()
            near = np.clip(ties(rng, scale), x.min(), x.max())
            near[:2] = x.min(), x.max()
            assert_native_equals_plain(near, quantizer, TYPES[name])


@pytest.mark.parametrize("include_zero", [False, True])
@pytest.mark.parametrize("symmetric", [False, True])
def test_a_single_value_gives_the_same_codes(include_zero, symmetric):
    quantizer = CurrentRange(symmetric, include_zero=include_zero)
    for value in (0.0, 1e-40, -1e-39, 1.2e-38, 5.0, np.inf, -3.4e38):
        assert_native_equals_plain(np.full(3, value, np.float32), quantizer, TYPES["uint8"])


@pytest.mark.parametrize("quantizer", [CurrentRange(), GivenRange(-1, 1), FixedScale(0.1)])
def test_one_nan_spoils_all_natively_too(rng, quantizer):
    x = rng.normal(size=(7, 5001)).astype(np.float32)
    x[3, 77] = np.nan
    for code_type in TYPES.values():
        rule, given = quantizer.rule(x, code_type, ())
        assert np.isnan(FORMS["codes"].native(rule, jnp.asarray(x), *given)[1]).all()
        assert np.isnan(FORMS["and back"].native(rule, jnp.asarray(x), *given)[0]).all()
        if rule.source != "numbers":  # whose codes stand for nothing then
            assert_native_equals_plain(x, quantizer, code_type)


LAYOUTS = {
    "HWIO": ((3, 5, 7, 19), (3,)),
    "OIHW": ((19, 7, 3, 5), (0,)),
    "IOHW": ((7, 19, 3, 5), (1,)),
    "two apart": ((5, 3, 4, 7), (0, 2)),
    "two apart, others last": ((5, 3, 4, 7, 2), (0, 2)),
    "two together": ((9, 4, 5), (1, 2)),
    "nothing but channels": ((6, 11), (0, 1)),
    "one channel": ((6, 11, 1), (2,)),
    "wide rows": ((70, 999), (1,)),
    "long columns": ((40000, 3), (1,)),
    "a scale for each of many": ((3, 1, 1, 5000), (3,)),
    "large": ((33, 16385), (0,)),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("symmetric", [False, True])
def test_channels_anywhere_give_the_same_codes(rng, name, symmetric):
    shape, axes = LAYOUTS[name]
    x = rng.normal(size=shape).astype(np.float32)
    x *= np.exp(rng.normal(size=[n if a in axes else 1 for a, n in enumerate(shape)]))
    quantizer = CurrentRange(symmetric, per_channel=True)
    assert_native_equals_plain(x.astype(np.float32), quantizer, TYPES["uint8"], axes)
    per_tensor = CurrentRange(symmetric)
    assert_native_equals_plain(x.astype(np.float32), per_tensor, TYPES["int8"])


def test_infinities_and_nans_of_one_channel_stay_there(rng):
    x = rng.normal(size=(30, 9)).astype(np.float32)
    x[3, 2], x[4, 5], x[7, 7] = np.inf, -np.inf, np.nan
    rule, _ = CurrentRange(per_channel=True).rule(x, TYPES["int8"], (1,))
    for form in FORMS:
        found, expected = (compiled(form, which, rule)(x) for which in ("native", "plain"))
        for a, b in zip(found, expected, strict=True):
            a, b = (np.delete(np.asarray(array), 7, axis=1) for array in (a, b))
            np.testing.assert_array_equal(a, b)
    _, scale, _ = compiled("codes", "native", rule)(x)
    np.testing.assert_array_equal(np.isnan(scale)[0], np.isin(np.arange(9), [2, 5, 7]))


@pytest.mark.parametrize("size", [1, 2, 63, 65, 257, 16385])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_sizes_about_those_of_vectors_and_blocks(rng, size, dtype):
    x = jnp.asarray(rng.normal(size=size), dtype)
    assert_native_equals_plain(x, CurrentRange(), TYPES["uint8"])


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_operands_of_any_type_are_quantised_as_float32(rng, dtype):
    x = jnp.asarray(rng.normal(size=(50, 7)), dtype)
    for quantizer in (CurrentRange(), GivenRange(-1.0, 1.0), FixedScale(0.25)):
        rule, given = quantizer.rule(x, TYPES["uint8"], ())
        codes, found = _codes.quantized(x, quantizer, TYPES["uint8"], ())
        expected = compiled("codes", "plain", rule)(x.astype(jnp.float32), *given)
        np.testing.assert_array_equal(codes, expected[0])
        np.testing.assert_array_equal(found.scale, expected[1])
        rounded, inside = _codes.quantized_and_back(x, quantizer, TYPES["uint8"], ())
        expected = compiled("and back", "plain", rule)(x.astype(jnp.float32), *given)
        assert rounded.dtype == dtype
        np.testing.assert_array_equal(rounded, expected[0].astype(dtype))
        np.testing.assert_array_equal(inside, expected[1])


@pytest.mark.parametrize(
    ("quantizer", "shape", "axes"),
    [
        (CurrentRange(), (0, 3), ()),
        (CurrentRange(per_channel=True), (0, 3), (1,)),
        (CurrentRange(per_channel=True), (2, 3, 4, 5, 6), (1, 3)),  # no such layout
        (GivenRange([-1.0] * 3, [2.0] * 3), (4, 3), (1,)),  # one NaN spoils all channels
    ],
    ids=["empty", "empty channels", "scattered channels", "ranges of channels"],
)
def test_what_native_code_does_not_know_runs_in_plain_jax(rng, quantizer, shape, axes):
    x = jnp.asarray(rng.normal(size=shape), jnp.float32)
    rule, given = quantizer.rule(x, TYPES["int8"], axes)
    codes, found = _codes.quantized(x, quantizer, TYPES["int8"], axes)
    expected = compiled("codes", "plain", rule)(x, *given)
    np.testing.assert_array_equal(codes, expected[0])
    np.testing.assert_array_equal(found.scale, expected[1])


QUANTIZERS = {
    "own range": (CurrentRange(), ()),
    "given range": (GivenRange(-1.0, 2.0), ()),
    "fixed scale": (FixedScale(0.1, 3), ()),
    "channels": (CurrentRange(per_channel=True), (2,)),
}


@pytest.mark.parametrize("name", QUANTIZERS)
@pytest.mark.parametrize("mapped", ["operand", "quantizer", "both"])
def test_examples_under_vmap_are_operands_of_their_own(rng, name, mapped):
    quantizer, axes = QUANTIZERS[name]
    if mapped != "operand" and not jax.tree.leaves(quantizer):
        pytest.skip("it holds no numbers to map over")
    x = jnp.asarray(rng.normal(size=(3, 4, 5, 6)), jnp.float32)
    many = jax.tree.map(lambda leaf: leaf * jnp.arange(1.0, 4.0), quantizer)
    arguments = {"operand": (x, quantizer), "quantizer": (x[0], many), "both": (x, many)}
    maps = {"operand": (0, None), "quantizer": (None, 0), "both": (0, 0)}[mapped]

    def to_codes(x, quantizer):
        codes, found = _codes.quantized(x, quantizer, TYPES["uint8"], axes)
        return codes, found.scale, jnp.asarray(found.zero_point)

    def and_back(x, quantizer):
        return _codes.quantized_and_back(x, quantizer, TYPES["uint8"], axes)

    for run in (to_codes, and_back):
        found = jax.vmap(run, maps)(*arguments[mapped])
        twice = jax.vmap(jax.vmap(run, maps), maps)(
            *(
                argument if way is None else jax.tree.map(lambda leaf: leaf[None], argument)
                for argument, way in zip(arguments[mapped], maps, strict=True)
            )
        )
        for example in range(3):
            one = [
                argument if way is None else jax.tree.map(lambda a: a[example], argument)
                for argument, way in zip(arguments[mapped], maps, strict=True)
            ]
            expected = run(*one)
            for a, b, c in zip(*map(jax.tree.leaves, (found, twice, expected)), strict=True):
                np.testing.assert_array_equal(a[example], c)
                np.testing.assert_array_equal(b[0][example], c)


def test_derivatives_of_codes_are_zero(rng):
    x = jnp.asarray(rng.normal(size=(4, 5)), jnp.float32)
    real = lambda x: _codes.quantized_and_back(x, CurrentRange(), TYPES["int8"], ())[0].sum()
    np.testing.assert_array_equal(jax.grad(real)(x), jnp.zeros((4, 5)))
    np.testing.assert_array_equal(jax.jit(jax.hessian(real))(x), jnp.zeros((4, 5, 4, 5)))


ZERO_CASES = [name for name, case in CASES.items() if len(case.lhs) <= len(case.rhs)]


@pytest.mark.parametrize("name", ZERO_CASES)
@pytest.mark.parametrize("signed", [(False, False), (True, False), (False, True)])
def test_corrections_by_zero_points_are_the_same_bits(rng, name, signed):
    case = CASES[name]
    lhs_shape = (1,) * (len(case.rhs) - len(case.lhs)) + case.lhs
    geometry = canonical_geometry("test", lhs_shape, case.rhs, **case.options)
    lhs = random_codes(rng, canonical_lhs_shape(lhs_shape))
    rhs = random_codes(rng, canonical_rhs_shape(case.rhs))
    shape = geometry.output_shape(lhs.shape, rhs.shape)
    sums = rng.integers(-(2**31), 2**31, shape, dtype=np.int32)
    types = tuple(CodeType(8, s) for s in signed)
    zero_points = ZeroPoints(types, (True, True), geometry)
    for channels in (1, shape[-1]):
        x_zero = np.int32(rng.integers(types[0].min, types[0].max + 1))
        w_zero = rng.integers(types[1].min, types[1].max + 1, channels, dtype=np.int32)
        expected = jax.jit(zero_points._plain)(sums, lhs, rhs, x_zero, w_zero)
        run = jax.jit(zero_points.corrected)
        for name in instruction_sets():
            found = run(sums, lhs, rhs, x_zero, w_zero)
            assert found.dtype == expected.dtype == jnp.float32
            np.testing.assert_array_equal(found, expected, err_msg=name)


def test_corrected_sums_are_rounded_once():
    """A sum of int32 and corrections that leaves int32, and half-way points of float32."""
    geometry = canonical_geometry("test", (1, 1, 1, 1, 1), (1, 1, 1, 1, 4))
    sums = np.array([2**31 - 1, -(2**31), 2**25 + 1, 2**25 + 3], np.int32).reshape(
        1, 1, 1, 1, 4
    )
    zero_points = ZeroPoints((TYPES["uint8"],) * 2, (True, True), geometry)
    lhs, rhs = np.full((1, 1, 1, 1, 1), 255, np.uint8), np.full((1, 1, 1, 1, 4), 255, np.uint8)
    found = zero_points.corrected(sums, lhs, rhs, np.int32(1), np.full(1, 2, np.int32))
    exact = sums.astype(np.int64) - 2 * 255 - 1 * 255 + 2
    np.testing.assert_array_equal(found, exact.astype(np.float32))
