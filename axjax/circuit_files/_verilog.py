# SPDX-License-Identifier: Apache-2.0
"""Verilog to gates, by Yosys in a process of its own."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import pathlib
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from axjax.circuit_files._netlist import Gate, Signal
from axjax.circuit_files._process import TimeLimitExceeded, run

# No pass that folds constants: it would choose a value for undefined bits.
_PASSES = (
    "proc -norom",
    "flatten",
    "opt_clean",
    "memory -nomap",
    "techmap",
    "simplemap",
    "opt_clean",
)

_SYNTHESIS = """
import sys
from pyosys import libyosys
design = libyosys.Design()
for command in sys.argv[1:]:
    libyosys.run_pass(command, design)
"""

# Cells that `techmap; simplemap` leaves, by their inputs and function. `n` is all ones.
_CELLS: dict[str, tuple[str, Callable[..., Signal]]] = {
    "$_BUF_": ("A", lambda n, a: a),
    "$_NOT_": ("A", lambda n, a: a ^ n),
    "$_AND_": ("AB", lambda n, a, b: a & b),
    "$_NAND_": ("AB", lambda n, a, b: a & b ^ n),
    "$_OR_": ("AB", lambda n, a, b: a | b),
    "$_NOR_": ("AB", lambda n, a, b: (a | b) ^ n),
    "$_XOR_": ("AB", lambda n, a, b: a ^ b),
    "$_XNOR_": ("AB", lambda n, a, b: a ^ b ^ n),
    "$_ANDNOT_": ("AB", lambda n, a, b: a & (b ^ n)),
    "$_ORNOT_": ("AB", lambda n, a, b: a | (b ^ n)),
    "$_MUX_": ("ABS", lambda n, a, b, s: (a & (s ^ n)) | (b & s)),
    "$_NMUX_": ("ABS", lambda n, a, b, s: (a & (s ^ n)) | (b & s) ^ n),
}
_MEMORY_WORDS = ("DFF", "DLATCH", "dff", "dlatch", "SR_", "$sr", "$mem", "$ff", "$_FF_")


@dataclasses.dataclass(frozen=True)
class Module:
    """A module as gates.

    Attributes:
        inputs: wires of each input port, least significant first; ports in their order.
        outputs: likewise of the outputs.
        signed: names of the ports that are declared so.
        gates: all gates.
    """

    inputs: dict[str, tuple[str, ...]]
    outputs: dict[str, tuple[str, ...]]
    signed: frozenset[str]
    gates: tuple[Gate, ...]


def synthesize(source: bytes, path: pathlib.Path, top: str | None, seconds: float) -> Module:
    """Reads the module `top`; by default the one named as the file, else the uppermost."""
    if importlib.util.find_spec("pyosys") is None:
        raise ImportError(
            f"from_verilog: Verilog is read by Yosys, got no package pyosys for {str(path)!r}. "
            "Install it: pip install 'axjax[verilog]'."
        )
    suffix = "sv" if path.suffix == ".sv" else "v"
    with tempfile.TemporaryDirectory(prefix="axjax-") as name:
        folder = pathlib.Path(name)
        (folder / f"circuit.{suffix}").write_bytes(source)
        (folder / "synthesis.py").write_text(_SYNTHESIS, encoding="utf-8")
        read = f"read_verilog {'-sv ' if suffix == 'sv' else ''}circuit.{suffix}"
        chosen = _top(source, path, top)
        commands = [read, f"hierarchy -check {chosen}", *_PASSES, "write_json circuit.json"]
        try:
            code, messages = run([sys.executable, "synthesis.py", *commands], folder, seconds)
        except TimeLimitExceeded:
            raise ValueError(
                f"from_verilog: a circuit takes at most {seconds:g} s, got more for "
                f"{str(path)!r}. Pass a greater time_limit."
            ) from None
        written = folder / "circuit.json"
        if code != 0 or not written.is_file():
            raise ValueError(
                f"from_verilog: Yosys reads the file, got {_error_line(messages)!r} for "
                f"{str(path)!r}. Put all modules that it needs into one file."
            )
        modules = json.loads(written.read_text(encoding="utf-8"))["modules"]
    return _module(_uppermost(modules, path), str(path))


def _top(source: bytes, path: pathlib.Path, top: str | None) -> str:
    """The choice of the module as an option of Yosys."""
    if top is None and re.search(rb"\bmodule\s+%b\b" % re.escape(path.stem.encode()), source):
        top = path.stem
    if top is None:
        return "-auto-top"
    if not re.fullmatch(r"[A-Za-z_][\w$]*", top):
        raise ValueError(
            f"from_verilog: a module's name is letters, digits, _ and $, got top={top!r}. "
            "Name a module of the file."
        )
    return f"-top {top}"


def _uppermost(modules: dict[str, Any], path: pathlib.Path) -> Any:
    for module in modules.values():
        if int(module["attributes"].get("top", "0"), 2):
            return module
    raise ValueError(
        f"from_verilog: a file holds a module, got none in {str(path)!r}. Is it the right file?"
    )


def _module(module: dict[str, Any], path: str) -> Module:
    ports = module["ports"]
    return Module(
        inputs=_wires(ports, "input", path),
        outputs=_wires(ports, "output", path),
        signed=frozenset(name for name, port in ports.items() if port.get("signed")),
        gates=tuple(_gates(module["cells"], path)),
    )


def _wires(ports: dict[str, Any], direction: str, path: str) -> dict[str, tuple[str, ...]]:
    for name, port in ports.items():
        if port["direction"] not in ("input", "output"):
            raise ValueError(
                f"from_verilog: ports are inputs and outputs, got "
                f"{port['direction']} {name} in {path!r}. Split it in two."
            )
    return {
        name: tuple(map(str, port["bits"]))
        for name, port in ports.items()
        if port["direction"] == direction
    }


def _gates(cells: dict[str, Any], path: str) -> list[Gate]:
    gates = [
        Gate("0", (), lambda inputs, ones: ones ^ ones),
        Gate("1", (), lambda inputs, ones: ones),
    ]
    for value in ("x", "z"):
        gates.append(Gate(value, (), _undefined(value, path)))
    for name, cell in cells.items():
        kind, connections = cell["type"], cell["connections"]
        driven = any(direction == "output" for direction in cell["port_directions"].values())
        if kind in _CELLS:
            pins, function = _CELLS[kind]
            inputs = tuple(str(connections[pin][0]) for pin in pins)
            gates.append(Gate(str(connections["Y"][0]), inputs, _on_signals(function)))
        elif driven or not kind.startswith("$"):
            rule = "every cell is combinational logic"
            if any(word in kind for word in _MEMORY_WORDS):
                rule = "a multiplier has no memory, neither flip-flop nor latch"
            raise ValueError(
                f"from_verilog: {rule}, got a cell of type={kind!r} at {name!r} in {path!r}. "
                "Assign every output in every case."
            )
    return gates


def _on_signals(
    function: Callable[..., Signal],
) -> Callable[[Sequence[Signal], Signal], Signal]:
    return lambda inputs, ones: function(ones, *inputs)


def _undefined(value: str, path: str) -> Callable[[Sequence[Signal], Signal], Signal]:
    def fail(inputs: Sequence[Signal], ones: Signal) -> Signal:
        raise ValueError(
            f"from_verilog: a product depends on 0 and 1 only, got an undefined bit "
            f"{value!r} in {path!r}. Give every bit a value in every case."
        )

    return fail


def _error_line(messages: str) -> str:
    lines = [line for line in messages.splitlines() if "ERROR" in line]
    lines = lines or [line for line in messages.splitlines() if line.strip()]
    return lines[-1].strip()[:200] if lines else "no message"
