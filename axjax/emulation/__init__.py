# SPDX-License-Identifier: Apache-2.0
"""Whole networks on approximate hardware, unmodified: a transformation of their traces."""

from axjax.emulation._activation_codes import activation_codes
from axjax.emulation._calibrate import calibrate
from axjax.emulation._emulate import emulate
from axjax.emulation._layer import Layer
from axjax.emulation._layers_table import Layers, layers
from axjax.emulation._observer import (
    AverageMinMax,
    Entropy,
    MeanSquaredError,
    MinMax,
    Observer,
    Percentile,
)
from axjax.emulation._rule import Rule

__all__ = [
    "AverageMinMax",
    "Entropy",
    "Layer",
    "Layers",
    "MeanSquaredError",
    "MinMax",
    "Observer",
    "Percentile",
    "Rule",
    "activation_codes",
    "calibrate",
    "emulate",
    "layers",
]
