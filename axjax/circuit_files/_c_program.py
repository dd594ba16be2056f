# SPDX-License-Identifier: Apache-2.0
"""Compiles a C function and calls it for all pairs of operands, in processes of their own."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import struct
import tempfile
from collections.abc import Iterator, Sequence

import numpy as np

from axjax.circuit_files._c_source import Function
from axjax.circuit_files._process import TimeLimitExceeded, run

# Without operands' widths it writes their types only. Otherwise it calls the function twice
# for all pairs, the second time backwards: a function with memory gives itself away. Names
# begin with axjax_ to stay clear of the circuit's.
_PROGRAM = """
#define main axjax_main_of_the_circuit
#include "circuit.c"
#undef main
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#define AXJAX_TYPE(type) ((type)-1 < (type)1), 8 * sizeof(type)
static int64_t axjax_products[65536];
static int64_t axjax_operand(int64_t pattern, int bits, int is_signed) {{
  return is_signed && pattern >> (bits - 1) ? pattern - ((int64_t)1 << bits) : pattern;
}}
int main(int axjax_count, char** axjax_argv) {{
  int64_t axjax_out[] = {{AXJAX_TYPE({result}), AXJAX_TYPE({first}), AXJAX_TYPE({second}),
                         -1}};
  int64_t axjax_pairs = 0;
  if (axjax_count == 6) {{
    const int axjax_a = atoi(axjax_argv[2]), axjax_b = atoi(axjax_argv[3]);
    const int axjax_a_signed = axjax_out[2] && atoi(axjax_argv[4]);
    const int axjax_b_signed = axjax_out[4] && atoi(axjax_argv[5]);
    axjax_pairs = (int64_t)1 << (axjax_a + axjax_b);
    for (int64_t axjax_call = 0; axjax_call < 2 * axjax_pairs; ++axjax_call) {{
      const int axjax_again = axjax_call >= axjax_pairs;
      const int64_t axjax_pair = axjax_again ? 2 * axjax_pairs - 1 - axjax_call : axjax_call;
      const int64_t axjax_product = (int64_t){function}(
          ({first})axjax_operand(axjax_pair >> axjax_b, axjax_a, axjax_a_signed),
          ({second})axjax_operand(axjax_pair & ((1 << axjax_b) - 1), axjax_b, axjax_b_signed));
      if (!axjax_again) axjax_products[axjax_pair] = axjax_product;
      if (axjax_products[axjax_pair] != axjax_product) axjax_out[6] = axjax_pair;
    }}
  }}
  FILE* axjax_file = fopen(axjax_argv[1], "wb");
  if (!axjax_file) return 1;
  fwrite(axjax_out, sizeof axjax_out, 1, axjax_file);
  fwrite(axjax_products, sizeof(int64_t), axjax_pairs, axjax_file);
  return fclose(axjax_file) ? 1 : 0;
}}
"""
_FACTS = struct.Struct("=7q")


class Program:
    """A compiled C function of two operands."""

    def __init__(self, function: Function, folder: pathlib.Path, path: str, seconds: float):
        self._function, self._folder = function, folder
        self._path, self._seconds = path, seconds

    def types(self) -> list[tuple[bool, int]]:
        """Whether it is signed, and its bits: of the result and of both parameters."""
        signs_and_bits = _FACTS.unpack(self._output([], _FACTS.size))[:6]
        return [(bool(s), b) for s, b in zip(*[iter(signs_and_bits)] * 2, strict=True)]

    def products(self, bits: tuple[int, int], signed: tuple[bool, bool]) -> np.ndarray:
        """Results for all pairs of patterns: int64 `(2**activation bits, 2**weight bits)`.

        A pattern is passed as the negative number that it stands for where the operand and
        its parameter are signed.
        """
        pairs = 1 << sum(bits)
        arguments = [str(int(number)) for number in (*bits, *signed)]
        output = self._output(arguments, _FACTS.size + 8 * pairs)
        unstable = _FACTS.unpack_from(output)[6]
        if unstable >= 0:
            raise ValueError(
                f"from_c: a multiplier has no memory, got another product at the second call "
                f"for the pair {divmod(unstable, 1 << bits[1])} of {self._function.name} in "
                f"{self._path!r}. Initialise its variables, and make none of them static."
            )
        return np.frombuffer(output, "=i8", offset=_FACTS.size).reshape(1 << bits[0], -1)

    def _output(self, arguments: Sequence[str], size: int) -> bytes:
        command = ["./program", "output", *arguments]
        code, _ = _run(command, self._folder, "run", self._path, self._seconds)
        output = self._folder / "output"
        content = output.read_bytes() if output.is_file() else b""
        if code != 0 or len(content) != size:
            raise ValueError(
                f"from_c: the function returns for every pair of operands, got {_ending(code)} "
                f"in {self._path!r}. Call it by hand to see why."
            )
        return content


@contextlib.contextmanager
def compiled(source: bytes, function: Function, path: str, seconds: float) -> Iterator[Program]:
    """A program for one function of a C file, in a folder that goes away afterwards.

    Args:
        source: the C file's content.
        function: which of its functions.
        path: for error messages.
        seconds: time limit for compiling, and for each run.
    Raises:
        ValueError: if it does not compile; from the program's methods if it crashes, runs too
            long or has a memory.
    """
    with tempfile.TemporaryDirectory(prefix="axjax-") as name:
        folder = pathlib.Path(name)
        (folder / "circuit.c").write_bytes(source)
        program = _PROGRAM.format(
            function=function.name,
            result=function.result,
            first=function.parameters[0],
            second=function.parameters[1],
        )
        (folder / "program.c").write_text(program, encoding="utf-8")
        command = [_compiler(), "-std=gnu11", "-O1", "-w", "-o", "program", "program.c", "-lm"]
        code, messages = _run(command, folder, "compile", path, seconds)
        if code != 0:
            raise ValueError(
                f"from_c: a C file compiles, got {_first_error(messages)!r} for {path!r}. "
                "Give it what it needs, in one file."
            )
        yield Program(function, folder, path, seconds)


def _run(
    command: list[str], folder: pathlib.Path, verb: str, path: str, seconds: float
) -> tuple[int, str]:
    try:
        return run(command, folder, seconds)
    except TimeLimitExceeded:
        raise ValueError(
            f"from_c: a circuit takes at most {seconds:g} s to {verb}, got more for {path!r}. "
            "Look for a loop without an end, or pass a greater time_limit."
        ) from None


def _compiler() -> str:
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        found = shutil.which(name) if name else None
        if found:
            return found
    raise ValueError(
        "from_c: a C file needs a compiler, got none of $CC, cc, gcc and clang on the PATH. "
        "Install gcc or clang."
    )


def _first_error(messages: str) -> str:
    lines = [line for line in messages.splitlines() if "error" in line] or messages.splitlines()
    return lines[0][:160] if lines else "no message"


def _ending(code: int) -> str:
    number = -code if code < 0 else code - 128
    try:
        return f"signal {signal.Signals(number).name}"
    except ValueError:
        return f"exit code {code}"
