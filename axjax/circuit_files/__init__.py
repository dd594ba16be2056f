# SPDX-License-Identifier: Apache-2.0
"""Descriptions of circuits, as designers have them, to multipliers."""

from axjax.circuit_files._ariths_gen import from_ariths_gen
from axjax.circuit_files._c import from_c
from axjax.circuit_files._netlist_multiplier import from_blif, from_verilog

__all__ = ["from_ariths_gen", "from_blif", "from_c", "from_verilog"]
