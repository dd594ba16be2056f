# SPDX-License-Identifier: Apache-2.0
"""Schedules from the exact multiplier to an approximate one."""

import jax
import numpy as np
import pytest

import axjax
from axjax import Gradient, gradually


@pytest.mark.parametrize("name", ["mul8u_drum3", "mul8s_mitchell"])
def test_errors_rise_to_those_of_the_multiplier(name):
    last = axjax.load(name)
    schedule = gradually(last, 5)
    np.testing.assert_array_equal(schedule[-1].products(), last.products())
    for k, step in enumerate(schedule, start=1):
        assert np.abs(step.errors() - last.errors() * k / 5).max() <= 0.5
        assert (step.activation, step.weight) == (last.activation, last.weight)


def test_steps_share_a_program():
    last = axjax.load("mul8u_drum3")
    schedule = gradually(last.with_gradient(Gradient.lut_difference(last)), 3)
    codes = np.arange(256, dtype=np.uint8)[:, None]
    product = jax.jit(lambda m: axjax.lut_dot(codes, codes.T, m))
    for step in schedule:
        np.testing.assert_array_equal(product(step), step.products())
        assert step.gradient.terms == (2, 2)
    assert product._cache_size() == 1


def test_no_step_is_refused():
    with pytest.raises(
        ValueError, match=r"a schedule has a step, got steps=0\. Pass 1 or more"
    ):
        gradually(axjax.load("mul8u_drum3"), 0)
