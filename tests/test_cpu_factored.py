# SPDX-License-Identifier: Apache-2.0
"""The factored CPU engine: every layout, every instruction set, any number of terms."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conv_cases import PLANE_TERMS, random_codes, random_factored

import axjax
from axjax import _cpu, lut_conv
from axjax.engines._ffi_call import attributes, out_type

# Of each kind that is laid out in its own way (xla_ffi/cpu/factored_plan.h).
LAYOUTS = {
    "whole lines": ((2, 24, 24, 64), (3, 3, 64, 40), {}),
    "half and quarter lines": ((2, 24, 24, 112), (3, 3, 112, 33), {}),
    "unfolded": ((2, 40, 41, 3), (7, 7, 3, 70), {"window_strides": 2}),
    "several images": ((40, 5, 6, 32), (3, 3, 32, 64), {}),
    "several segments": ((2, 16, 16, 200), (3, 3, 200, 64), {}),
    "groups": ((2, 24, 24, 96), (3, 3, 32, 96), {"feature_group_count": 3}),
    "a matrix": ((256, 1, 1, 300), (1, 1, 300, 100), {}),
}


def sizes(lhs_shape, rhs_shape, options, terms):
    """What the handler chooses by."""
    groups = options.get("feature_group_count", 1)
    stride = options.get("window_strides", 1)
    return dict(
        pixels=lhs_shape[0] * math.prod(-(-size // stride) for size in lhs_shape[1:-1]),
        depth=math.prod(rhs_shape[:-1]),
        channels=rhs_shape[-2],
        outputs=rhs_shape[-1] // groups,
        groups=groups,
        terms=terms,
    )


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_instruction_set_equals_the_table_engine(rng, instruction_set, name):
    lhs_shape, rhs_shape, options = LAYOUTS[name]
    products = _cpu.factored_form(**sizes(lhs_shape, rhs_shape, options, 1)) == "products"
    assert products == (instruction_set in ("avx2vnni", "avx512vnni", "avx512vbmi", "amx")) or (
        name == "unfolded" and instruction_set in ("avx2vnni", "avx512vnni")
    )
    for plane_terms in PLANE_TERMS:
        multiplier = random_factored(rng, plane_terms, signed=True)
        lhs, rhs = (random_codes(rng, shape, signed=True) for shape in (lhs_shape, rhs_shape))
        pad_code = random_codes(rng, (), signed=True)
        out, expected = (
            lut_conv(
                lhs, rhs, multiplier, padding="SAME", pad_code=pad_code, engine=e, **options
            )
            for e in ("cpu_factored", "cpu")
        )
        np.testing.assert_array_equal(out, expected, err_msg=plane_terms)


@pytest.mark.parametrize("name", axjax.available())
def test_shipped_multipliers_equal_the_table_engine(rng, name):
    multiplier = axjax.load(name)
    signed = multiplier.activation.signed
    lhs_shape, rhs_shape = (2, 24, 24, 32), (3, 3, 32, 40)
    lhs, rhs = random_codes(rng, lhs_shape, signed), random_codes(rng, rhs_shape, signed)
    out, expected = (
        lut_conv(lhs, rhs, multiplier, padding="SAME", pad_code=5, engine=engine)
        for engine in ("cpu_factored", "cpu")
    )
    np.testing.assert_array_equal(out, expected)


def test_one_compiled_program_runs_with_any_number_of_terms(rng):
    """Of one term and of 60, so that int8 products and the table take turns."""
    lhs, rhs = random_codes(rng, (8, 16, 16, 32)), random_codes(rng, (3, 3, 32, 32))
    made = axjax.alike(
        [axjax.load("mul8u_exact"), *(random_factored(rng, p) for p in PLANE_TERMS)]
    )
    run = jax.jit(lambda m: lut_conv(lhs, rhs, m, padding="SAME", engine="cpu_factored"))
    for multiplier in made:
        expected = lut_conv(lhs, rhs, multiplier, padding="SAME", engine="xla")
        np.testing.assert_array_equal(run(multiplier), expected)
    assert run._cache_size() == 1


def test_few_terms_are_multiplied_and_many_are_not():
    layer = dict(pixels=12544, depth=576, channels=64, outputs=64, groups=1)
    levels = _cpu.build()["instruction_sets"]
    chosen = _cpu.build()["instruction_set"]
    most = {"baseline": 0, "avx2": 0, "avx2vnni": 4, "avx512": 0, "avx512vnni": 4}
    most |= {"avx512vbmi": 8, "amx": 48}
    try:
        for level in levels:
            assert _cpu.set_instruction_set(level)
            forms = [_cpu.factored_form(terms=t, **layer) for t in range(1, 100)]
            count = forms.count("products")
            assert forms[:count] == ["products"] * count  # the fewer terms, the sooner
            assert most[level] // 2 <= count <= 2 * most[level], level
    finally:
        assert _cpu.set_instruction_set(chosen)


def test_depthwise_convolutions_take_the_table():
    sizes = dict(pixels=12544, depth=9, channels=1, outputs=1, groups=64)
    assert _cpu.factored_form(terms=4, **sizes) == "table"


def test_explain_tells_the_form_on_this_machine(instruction_set):
    multiplier = axjax.load("mul8u_kulkarni")
    large = axjax.explain(multiplier, (65536, 1152, 128), platform="cpu")
    assert large.engine == "cpu_factored"
    products = _cpu.factored_form(**sizes((65536, 1152), (1152, 128), {}, 4)) == "products"
    assert products or instruction_set not in ("avx512vbmi", "amx")
    words = "int8 products on this machine" if products else "rows of the table"
    assert words in large.reason
    assert f"({instruction_set})" in large.reason
    bare = axjax.explain(multiplier.with_factors(None), (65536, 1152, 128), platform="cpu")
    assert "multiplier.factorized()" in bare.reason


@pytest.mark.parametrize(
    "changed",
    [
        dict(u=(5, 256, 4), v=(5, 256, 4), words=5),
        dict(u=(1, 255, 4), v=(1, 255, 4)),
        dict(u=(1, 256, 516), v=(1, 256, 516)),
        dict(v=(1, 256, 8)),
        dict(v=(2, 256, 4)),
        dict(beta=255),
        dict(words=2),
    ],
    ids=["planes", "rows", "capacity", "other capacity", "other planes", "beta", "words"],
)
def test_the_handler_refuses_what_are_no_factors(changed):
    shapes = dict(u=(1, 256, 4), v=(1, 256, 4), beta=256, words=1)
    lhs, rhs = jnp.ones((1, 1, 1, 1, 4), jnp.uint8), jnp.ones((1, 1, 1, 4, 3), jnp.uint8)
    geometry = axjax._geometry.ConvGeometry()
    call = jax.ffi.ffi_call("axjax_lut_conv_cpu_factored", out_type(lhs, rhs, geometry))

    def run(u, v, beta, words):
        factors = jnp.ones(u, jnp.int8), jnp.ones(v, jnp.int8)
        sums = jnp.zeros(beta, jnp.int32), jnp.ones(words, jnp.int32)
        operands = (lhs, rhs, *factors, *sums, jnp.uint8(0))
        return jax.block_until_ready(call(*operands, **attributes(geometry)))

    np.testing.assert_array_equal(run(**shapes), np.full((1, 1, 1, 1, 3), 16))
    with pytest.raises(jax.errors.JaxRuntimeError, match="cpu_factored: factors are u and v"):
        run(**shapes | changed)
