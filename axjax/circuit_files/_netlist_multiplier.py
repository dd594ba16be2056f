# SPDX-License-Identifier: Apache-2.0
"""Netlists in BLIF and Verilog to multipliers."""

from __future__ import annotations

import os
import pathlib

import numpy as np

from axjax._multiplier import Multiplier, Pair
from axjax.circuit_files._blif import parse
from axjax.circuit_files._netlist import Gate, Netlist, tabulate
from axjax.circuit_files._operand_ports import Words, operands, product, words
from axjax.circuit_files._source_file import read_source
from axjax.circuit_files._verilog import synthesize


def from_blif(
    path: str | os.PathLike[str],
    *,
    bits: Pair | None = None,
    signed: tuple[bool, bool] | bool = False,
    name: str | None = None,
) -> Multiplier:
    """Tabulates a netlist in BLIF, as ABC, Yosys and ariths-gen write it.

    The first `.model` is the circuit. Its inputs are two words, bits of which are named
    `a[0]`, `a_0_` or `a0`; the word that comes first is the activation.

    Args:
        path: a BLIF file of `.names` and `.subckt`.
        bits: widths; needed only where names do not tell the words apart, as `pi00`, ... do
            not: then the first of the inputs are the activation.
        signed: signedness, which BLIF does not tell. A product is then a two's complement
            pattern as wide as its output word.
        name: by default the file's, without suffix.
    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for what is no combinational BLIF with two operands of 2 to 8 bits.

    Source: Berkeley Logic Interchange Format (BLIF), University of California, 1992.
    """
    path = pathlib.Path(path)
    circuit = parse(read_source("from_blif", path).decode("utf-8", "replace"), str(path))
    inputs, outputs = words(circuit.inputs), words(circuit.outputs)
    return _multiplier("from_blif", path, inputs, outputs, circuit.gates, bits, signed, name)


def from_verilog(
    path: str | os.PathLike[str],
    *,
    top: str | None = None,
    bits: Pair | None = None,
    signed: tuple[bool, bool] | bool | None = None,
    name: str | None = None,
    time_limit: float = 60.0,
) -> Multiplier:
    """Tabulates a module in Verilog: gates, assignments, operators, combinational `always`.

    Yosys turns it into gates, in a process of its own that is killed after the time limit;
    needs `pip install 'axjax[verilog]'`. The input port that comes first is the activation.

    Args:
        path: a file with the module and all modules that it uses.
        top: the module; by default the one with the file's name, else the one that no other
            one uses.
        bits: widths; needed only where each bit is a port with a name that tells no word.
        signed: signedness; by default that of the ports, `input signed [7:0] a`. A product is
            then a two's complement pattern as wide as the output port.
        name: by default the file's, without suffix.
        time_limit: seconds.
    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: without pyosys.
        ValueError: for what Yosys does not read; for flip-flops, latches, loops, undefined
            bits (x, z), and for ports that are not two operands of 2 to 8 bits and a product.
    """
    path = pathlib.Path(path)
    source = read_source("from_verilog", path)
    module = synthesize(source, path, top, time_limit)
    inputs, outputs = _ports(module.inputs), _ports(module.outputs)
    if signed is None:
        signed = (False, False)
        if len(module.inputs) == 2:
            first, second = module.inputs
            signed = (first in module.signed, second in module.signed)
    return _multiplier("from_verilog", path, inputs, outputs, module.gates, bits, signed, name)


def _ports(ports: dict[str, tuple[str, ...]]) -> Words:
    """Ports as words; ports of one bit are grouped by their names."""
    if any(len(wires) > 1 for wires in ports.values()):
        return ports
    wire_of = {port: wires[0] for port, wires in ports.items() if wires}
    grouped = words(list(wire_of))
    return {word: tuple(wire_of[port] for port in members) for word, members in grouped.items()}


def _multiplier(
    function: str,
    path: pathlib.Path,
    inputs: Words,
    outputs: Words,
    gates: tuple[Gate, ...],
    bits: Pair | None,
    signed: tuple[bool, bool] | bool,
    name: str | None,
) -> Multiplier:
    pair = (bits, bits) if isinstance(bits, int) else bits
    activation, weight = operands(inputs, pair, function, str(path))
    wires = product(outputs, len(activation) + len(weight), function, str(path))
    pattern = tabulate(Netlist(activation, weight, wires, gates), function, str(path))
    if np.any(signed):
        sign = 1 << (len(wires) - 1)
        pattern = (pattern ^ sign) - sign
    return Multiplier(
        pattern,
        bits=(len(activation), len(weight)),
        signed=signed,
        name=path.stem if name is None else name,
    )
