# SPDX-License-Identifier: Apache-2.0
"""Families of approximate multipliers, bit by bit, each with its source; and circuit files.

>>> from axjax import circuits
>>> circuits.drum(8, k=6)
Multiplier('mul8u_drum6', uint8 x uint8)
"""

from axjax.circuit_files import from_ariths_gen, from_blif, from_c, from_verilog
from axjax.circuits._array import broken_array, truncated
from axjax.circuits._booth import booth
from axjax.circuits._compressor_tree import compressor_tree
from axjax.circuits._drum import drum
from axjax.circuits._error_tolerant import error_tolerant
from axjax.circuits._exact import exact
from axjax.circuits._iterative_logarithmic import iterative_logarithmic
from axjax.circuits._lower_or import lower_or
from axjax.circuits._mitchell import mitchell
from axjax.circuits._recursive import kulkarni, recursive
from axjax.circuits._roba import roba
from axjax.circuits._sign_magnitude import sign_magnitude
from axjax.circuits._static_segment import static_segment

__all__ = [
    "booth",
    "broken_array",
    "compressor_tree",
    "drum",
    "error_tolerant",
    "exact",
    "from_ariths_gen",
    "from_blif",
    "from_c",
    "from_verilog",
    "iterative_logarithmic",
    "kulkarni",
    "lower_or",
    "mitchell",
    "recursive",
    "roba",
    "sign_magnitude",
    "static_segment",
    "truncated",
]
