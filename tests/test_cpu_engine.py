# SPDX-License-Identifier: Apache-2.0
"""The native CPU engine: each of its forms at each instruction set, and its memory."""

import itertools
import pathlib

import jax
import numpy as np
import pytest
from conv_cases import ENTRIES, random_codes, random_multiplier

import axjax

# Shapes for which the engine chooses each of its forms (xla_ffi/cpu/lut_conv.h).
FORMS = {
    "pixels walk": ((2, 24, 24, 20), (3, 3, 20, 40), {}),
    "outputs walk": ((64, 1, 1, 80), (1, 1, 80, 300), {}),
    "taps share a table": ((1, 14, 14, 48), (3, 3, 48, 160), {}),
    "direct look-ups": ((1, 1, 1, 70), (1, 1, 70, 90), {}),
    "columns, depthwise": ((1, 20, 20, 24), (5, 5, 1, 24), {"feature_group_count": 24}),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_equals_reference_at_every_instruction_set(rng, instruction_set, form):
    lhs_shape, rhs_shape, options = FORMS[form]
    for entries in ENTRIES:
        signed = entries == "int16"
        mul = random_multiplier(rng, entries, signed)
        lhs, rhs = random_codes(rng, lhs_shape, signed), random_codes(rng, rhs_shape, signed)
        pad_code = random_codes(rng, (), signed)
        out, expected = (
            axjax.lut_conv(lhs, rhs, mul, 1, "SAME", pad_code=pad_code, engine=e, **options)
            for e in ("cpu", "xla")
        )
        np.testing.assert_array_equal(out, expected, err_msg=instruction_set)


def resident_bytes():
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.skipif(not pathlib.Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_memory_does_not_grow_over_ten_thousand_calls(rng):
    mul = random_multiplier(rng)
    shapes = [((1, 9, 9, 16), (3, 3, 16, 32)), ((1, 1, 1, 64), (1, 1, 64, 48))]
    calls = []
    for lhs_shape, rhs_shape in shapes:
        run = jax.jit(lambda x, w: axjax.lut_conv(x, w, mul, 1, "SAME", engine="cpu"))
        x, w = random_codes(rng, lhs_shape), random_codes(rng, rhs_shape)
        calls.append(lambda run=run, x=x, w=w: run(x, w).block_until_ready())

    def repeat(times):
        for _ in range(times):
            for call in calls:
                call()
        return resident_bytes()

    # Threads take their scratch memory when they first get work, which may be late: what leaks
    # grows every time.
    sizes = [repeat(1250) for _ in range(5)]
    growth = min(later - earlier for earlier, later in itertools.pairwise(sizes))
    assert growth < 1 << 20  # 1250 results of the first are 13 MB
