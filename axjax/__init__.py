# SPDX-License-Identifier: Apache-2.0
"""axjax: neural networks on approximate hardware, bit for bit, inside JAX."""

from axjax import circuits
from axjax._build_info import build_info
from axjax._code_counts import CodeCounts, count_codes
from axjax._code_type import CodeType
from axjax._conv import conv_general_dilated
from axjax._dot import dot_general
from axjax._explain import Explanation, explain
from axjax._gradient import Gradient
from axjax._gradually import gradually
from axjax._lut_conv import lut_conv, lut_dot
from axjax._metrics import Metrics, metrics
from axjax._multiplier import Multiplier, alike
from axjax._quantization import (
    CurrentRange,
    FixedScale,
    GivenRange,
    MovingAverage,
    Quantization,
    Quantizer,
)
from axjax._remap import remap
from axjax.emulation import (
    AverageMinMax,
    Entropy,
    Layer,
    Layers,
    MeanSquaredError,
    MinMax,
    Observer,
    Percentile,
    Rule,
    activation_codes,
    calibrate,
    emulate,
    layers,
)
from axjax.engines import ENGINES, default_engine
from axjax.factorization import Factors, PackedFactors, factorize
from axjax.tables import Reading, available, load, readings, save

__version__ = "0.1.0"

__all__ = [
    "ENGINES",
    "AverageMinMax",
    "CodeCounts",
    "CodeType",
    "CurrentRange",
    "Entropy",
    "Explanation",
    "Factors",
    "FixedScale",
    "GivenRange",
    "Gradient",
    "Layer",
    "Layers",
    "MeanSquaredError",
    "Metrics",
    "MinMax",
    "MovingAverage",
    "Multiplier",
    "Observer",
    "PackedFactors",
    "Percentile",
    "Quantization",
    "Quantizer",
    "Reading",
    "Rule",
    "activation_codes",
    "alike",
    "available",
    "build_info",
    "calibrate",
    "circuits",
    "conv_general_dilated",
    "count_codes",
    "default_engine",
    "dot_general",
    "emulate",
    "explain",
    "factorize",
    "gradually",
    "layers",
    "load",
    "lut_conv",
    "lut_dot",
    "metrics",
    "readings",
    "remap",
    "save",
]
