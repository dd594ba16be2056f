# SPDX-License-Identifier: Apache-2.0
"""Real circuits' tables: all engines equal the reference on random codes."""

import jax
import numpy as np
import pytest
from conv_cases import CASES, random_codes

import axjax

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


@pytest.mark.parametrize(
    "engine", ["xla", "cpu", pytest.param("cuda_texture", marks=pytest.mark.cuda)]
)
@pytest.mark.parametrize("shape", SHAPES)
def test_engines_equal_reference(shared_luts, rng, shape, engine):
    def run(engine):
        return jax.jit(
            lambda lhs, rhs, mul, pad: axjax.lut_conv(
                lhs, rhs, mul, pad_code=pad, engine=engine, **CASES[shape].options
            )
        )

    emulated, reference = run(engine), run("reference")
    for name in UNSIGNED + SIGNED:
        mul, signed = load(shared_luts, name)
        lhs = random_codes(rng, CASES[shape].lhs, signed)
        rhs = random_codes(rng, CASES[shape].rhs, signed)
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
