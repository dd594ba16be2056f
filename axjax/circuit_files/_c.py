# SPDX-License-Identifier: Apache-2.0
"""C models of multipliers, as EvoApproxLib and ariths-gen write them."""

from __future__ import annotations

import os
import pathlib
import re
import warnings

import numpy as np

from axjax._multiplier import Multiplier, Pair
from axjax.circuit_files._c_header import disagreements, published_figures
from axjax.circuit_files._c_program import compiled
from axjax.circuit_files._c_source import Function, functions_of_two
from axjax.circuit_files._source_file import read_source

# mul8u_1JFF, mul8s_1L2H, mul8x4u_0AB, mult7u_...
_NAMED_TYPES = re.compile(r"mult?(\d+)(?:x(\d+))?([us])(?:_|$)")


def from_c(
    path: str | os.PathLike[str],
    *,
    function: str | None = None,
    bits: Pair | None = None,
    signed: tuple[bool, bool] | bool | None = None,
    name: str | None = None,
    time_limit: float = 30.0,
) -> Multiplier:
    """Tabulates a C function of two operands.

    The file is compiled with the system's compiler in a temporary folder and called for all
    pairs in a process of its own, which is killed after the time limit. **This runs the
    file's code**, as you: read a file first that you do not trust.

    A signed operand is passed as a negative number where the parameter's type is signed, and
    as its two's complement pattern where it is not, as in some of EvoApproxLib's signed files.
    A result that cannot be negative, by its type or by all its values, is then taken as a
    pattern of as many bits as both operands have.

    Error figures in the header comments of EvoApproxLib's files are compared with the table.
    All of the figures, power, area and delay too, are kept in `Multiplier.published`.

    Args:
        path: a C file that needs nothing but the standard library.
        function: which function; by default the one with the file's name, else the last one
            that takes two values. The first parameter is the activation.
        bits: widths; by default from a name such as `mul8u_...` or `mul8x4s_...`, else those
            of the parameters' types, which have to be of 8 bits.
        signed: signedness; by default from such a name, else that of the parameters' types.
        name: by default the file's, without suffix.
        time_limit: seconds, for compiling and for running.
    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file holds no such function, does not compile, crashes, runs too
            long, or if a call's result depends on earlier calls.
    Warns:
        UserWarning: if an error figure in the header is not that of the table.

    Source: the format is that of V. Mrazek, R. Hrbacek, Z. Vasicek, L. Sekanina, EvoApprox8b,
    DATE 2017.
    """
    path = pathlib.Path(path)
    source = read_source("from_c", path)
    text = source.decode("utf-8", "replace")
    figures = published_figures(text)
    chosen = _choose(functions_of_two(text), function, path)
    with compiled(source, chosen, str(path), time_limit) as program:
        result, *parameters = program.types()
        widths, signs = _operand_types(chosen, parameters, bits, signed, path)
        products = _products(program.products(widths, signs), result, widths, signs)
    multiplier = Multiplier(
        products,
        bits=widths,
        signed=signs,
        name=path.stem if name is None else name,
        published={figure: float(digits) for figure, digits in figures.items()},
    )
    _check_figures(figures, multiplier, path)
    return multiplier


def _choose(functions: dict[str, Function], wanted: str | None, path: pathlib.Path) -> Function:
    functions = {name: f for name, f in functions.items() if name != "main"}
    if wanted is None and functions:
        return functions.get(path.stem) or list(functions.values())[-1]
    if wanted in functions:
        return functions[wanted]
    raise ValueError(
        f"from_c: a multiplier is a function that takes two values, got "
        f"function={wanted!r} and {', '.join(functions) or 'no such function'} in "
        f"{str(path)!r}. Name one of the file's functions."
    )


def _operand_types(
    function: Function,
    parameters: list[tuple[bool, int]],
    bits: Pair | None,
    signed: tuple[bool, bool] | bool | None,
    path: pathlib.Path,
) -> tuple[tuple[int, int], tuple[bool, bool]]:
    """Widths and signedness: as the caller says, else as the name says, else as C says."""
    named = _NAMED_TYPES.match(function.name) or _NAMED_TYPES.match(path.stem)
    (first_signed, first_bits), (second_signed, second_bits) = parameters
    if bits is None:
        bits = (first_bits, second_bits)
        if named:
            bits = (int(named[1]), int(named[2] or named[1]))
    if signed is None:
        signed = named[3] == "s" if named else (first_signed, second_signed)
    widths = bits if isinstance(bits, tuple) else (bits, bits)
    for width, held in zip(widths, (first_bits, second_bits), strict=True):
        if not 2 <= width <= min(8, held):
            raise ValueError(
                f"from_c: an operand has 2 to 8 bits, and no more than its parameter, got "
                f"bits={widths} for {function.name}({', '.join(function.parameters)}) in "
                f"{str(path)!r}. Pass bits=(activation, weight) where the types are wider."
            )
    return widths, signed if isinstance(signed, tuple) else (signed, signed)


def _products(
    returned: np.ndarray,
    result: tuple[bool, int],
    bits: tuple[int, int],
    signed: tuple[bool, bool],
) -> np.ndarray:
    """Products from returned values, which may be patterns as wide as both operands."""
    width, pattern = sum(bits), returned & ((1 << sum(bits)) - 1)
    result_signed, result_bits = result
    fits = returned.min() >= 0 and returned.max() >> width == 0
    if any(signed) and (fits or not result_signed):
        return np.where(pattern >> (width - 1), pattern - (1 << width), pattern)
    if not any(signed) and result_signed and result_bits == width:
        return pattern
    return returned


def _check_figures(
    published: dict[str, str], multiplier: Multiplier, path: pathlib.Path
) -> None:
    wrong = disagreements(published, multiplier.metrics())
    if wrong:
        shown = ", ".join(f"{k} = {printed} but {v:.6g}" for k, (printed, v) in wrong.items())
        warnings.warn(
            f"from_c: figures in a header are those of the circuit, got {shown} in "
            f"{str(path)!r}. Is it read with the right widths and signedness?",
            stacklevel=3,
        )
