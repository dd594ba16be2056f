# SPDX-License-Identifier: Apache-2.0
"""Families of approximate multipliers, bit by bit, each with its source; and circuit files.

>>> from axjax import circuits
>>> circuits.drum(8, k=6)
Multiplier('mul8u_drum6', uint8 x uint8)
"""

from axjax.circuit_files import from_ariths_gen, from_blif, from_c, from_verilog
from axjax.circuits._array import broken_array, truncated
from axjax.circuits._drum import drum
from axjax.circuits._exact import exact
from axjax.circuits._kulkarni import kulkarni
from axjax.circuits._mitchell import mitchell
from axjax.circuits._sign_magnitude import sign_magnitude

__all__ = [
    "broken_array",
    "drum",
    "exact",
    "from_ariths_gen",
    "from_blif",
    "from_c",
    "from_verilog",
    "kulkarni",
    "mitchell",
    "sign_magnitude",
    "truncated",
]
