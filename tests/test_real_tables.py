# SPDX-License-Identifier: Apache-2.0
"""Real circuits' tables: all engines equal the reference on random codes."""

import jax
import numpy as np
import pytest
from conv_cases import CASES, random_codes

import axjax
from axjax.engines import ENGINES

UNSIGNED = [
    "1JFF",
    "125K",
    "2P7",
    "KEM",
    "1446",
    "2AC",
    "2HH",
    "185Q",
    "17KS",
    "FTA",
    "L40",
    "YX7",
]
SIGNED = ["1KV8", "1L2H", "1KR3"]
SHAPES = ["3x3 same", "asymmetric padding", "groups", "depthwise", "1x1", "kernel dilation"]


def load(folder, name):
    signed = name in SIGNED
    file = f"mul8s_{name}.npy" if signed else f"mul8u_{name}.bin"
    return axjax.load(folder / file, signed=signed), signed


@pytest.fixture(scope="module")
def multipliers(shared_luts):
    """All of them, with their factors: name to multiplier."""
    pytest.importorskip("flint")
    loaded = (load(shared_luts, name)[0].factorized() for name in UNSIGNED + SIGNED)
    return {mul.name: mul for mul in loaded}


@pytest.mark.parametrize(
    "engine",
    [
        pytest.param(name, marks=pytest.mark.cuda if name.startswith("cuda") else ())
        for name in ENGINES
        if name != "reference"
    ],
)
@pytest.mark.parametrize("shape", SHAPES)
def test_engines_equal_reference(multipliers, rng, shape, engine):
    def run(engine):
        return jax.jit(
            lambda lhs, rhs, mul, pad: axjax.lut_conv(
                lhs, rhs, mul, pad_code=pad, engine=engine, **CASES[shape].options
            )
        )

    emulated, reference = run(engine), run("reference")
    for name, mul in multipliers.items():
        lhs = random_codes(rng, CASES[shape].lhs, mul.activation.signed)
        rhs = random_codes(rng, CASES[shape].rhs, mul.weight.signed)
        operands = (lhs, rhs, mul, lhs.flat[0])
        np.testing.assert_array_equal(emulated(*operands), reference(*operands), err_msg=name)


@pytest.mark.parametrize("name", ["1JFF", "1KV8"])
def test_exact_circuits_are_our_exact_tables(shared_luts, name):
    mul, signed = load(shared_luts, name)
    np.testing.assert_array_equal(mul.table, axjax.Multiplier.exact(8, signed=signed).table)


def test_a_product_of_zeros_that_is_not_zero_is_in_every_pad(shared_luts):
    """mul8u_2HH gives 64 for 0 x 0: a padded border adds it, a depth tail must not."""
    mul, _ = load(shared_luts, "2HH")
    zeros = np.zeros((1, 3, 3, 5), np.uint8), np.zeros((3, 3, 5, 1), np.uint8)
    for engine in ("reference", "xla", "cpu"):
        out = axjax.lut_conv(*zeros, mul, 1, "SAME", engine=engine)
        np.testing.assert_array_equal(out, np.full((1, 3, 3, 1), 64 * 9 * 5))
