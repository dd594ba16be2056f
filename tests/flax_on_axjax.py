# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin that puts axjax's layers in the place of Flax's.

With the exact signed table and unit scale every test on small integers must pass as it is.
"""

import flax.linen
import flax.nnx

import axjax
import axjax.linen
import axjax.nnx

EXACT = axjax.Multiplier.exact(8, signed=True)
UNIT = axjax.Quantization.unit()


class Conv(axjax.linen.Conv, kw_only=True):
    multiplier: axjax.Multiplier | None = EXACT
    quantization: axjax.Quantization | None = UNIT


class Dense(axjax.linen.Dense, kw_only=True):
    multiplier: axjax.Multiplier | None = EXACT
    quantization: axjax.Quantization | None = UNIT


class NnxConv(axjax.nnx.Conv):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, multiplier=EXACT, quantization=UNIT, **kwargs)


class NnxLinear(axjax.nnx.Linear):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, multiplier=EXACT, quantization=UNIT, **kwargs)


flax.linen.Conv, flax.linen.Dense = Conv, Dense
flax.nnx.Conv, flax.nnx.Linear = NnxConv, NnxLinear
