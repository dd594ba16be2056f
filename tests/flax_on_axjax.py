# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin that puts axjax's layers in the place of Flax's.

With the exact signed table and unit scale every test on small integers must pass as it is. The
default kernels of Flax are fractions, which unit scale rounds to zeros: layers that get no
initialiser draw integers here, so that products count.

Flax's nnx tests compare its nnx layers with its linen ones. There linen stays Flax's own, exact
layer: two emulated ones would agree on a wrong table too.
"""

import functools
import os

import flax.linen
import flax.nnx
import jax
import pytest

import axjax
import axjax.linen
import axjax.nnx

EXACT = axjax.Multiplier.exact(8, signed=True)
UNIT = axjax.Quantization.unit()
SWAPPED = os.environ["AXJAX_SWAPPED"]  # "linen" or "nnx"


def integers(key, shape, dtype):
    return jax.random.randint(key, shape, -3, 4).astype(dtype)


class Conv(axjax.linen.Conv, kw_only=True):
    kernel_init: flax.typing.Initializer = integers
    multiplier: axjax.Multiplier | None = EXACT
    quantization: axjax.Quantization | None = UNIT


class Dense(axjax.linen.Dense, kw_only=True):
    kernel_init: flax.typing.Initializer = integers
    multiplier: axjax.Multiplier | None = EXACT
    quantization: axjax.Quantization | None = UNIT


class NnxConv(axjax.nnx.Conv):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, multiplier=EXACT, quantization=UNIT, **kwargs)


class NnxLinear(axjax.nnx.Linear):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, multiplier=EXACT, quantization=UNIT, **kwargs)


if SWAPPED == "linen":
    flax.linen.Conv, flax.linen.Dense = Conv, Dense
else:
    flax.linen.Conv = functools.partial(flax.linen.Conv, kernel_init=integers)
    flax.linen.Dense = functools.partial(flax.linen.Dense, kernel_init=integers)
    flax.nnx.Conv, flax.nnx.Linear = NnxConv, NnxLinear


@pytest.fixture(autouse=True)
def _a_general_dense_layer_on_the_table(request, monkeypatch):
    """For the one test that compares `Dense` with it on random reals: both round alike."""
    if request.node.name == "test_dense_is_dense_general":
        on_table = functools.partial(axjax.dot_general, multiplier=EXACT, quantization=UNIT)
        general = functools.partial(
            flax.linen.DenseGeneral, kernel_init=integers, dot_general=on_table
        )
        monkeypatch.setattr(flax.linen, "DenseGeneral", general)
