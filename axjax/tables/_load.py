# SPDX-License-Identifier: Apache-2.0
"""Names and files of every format to multipliers."""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from axjax._multiplier import Multiplier, Pair
from axjax._read_file import read_file
from axjax.circuit_files import from_blif, from_c, from_verilog
from axjax.circuit_files._c_source import functions_of_two
from axjax.tables._c_array import read_c_array
from axjax.tables._library import file_of, nearest
from axjax.tables._numpy_files import read_npy, read_npz
from axjax.tables._raw_table import Order, RawTable, by_pattern
from axjax.tables._readings import warn_of_better_reading
from axjax.tables._text import read_text
from axjax.tables._tfapprox import read_bin

_SUFFIXES = {
    ".bin": "bin",
    ".npy": "npy",
    ".npz": "npz",
    ".txt": "text",
    ".dat": "text",
    ".csv": "text",
    ".tsv": "text",
    ".h": "c",
    ".c": "c",
    ".v": "verilog",
    ".sv": "verilog",
    ".blif": "blif",
}
_CIRCUITS: dict[str, Callable[..., Multiplier]] = {
    "c": from_c,
    "verilog": from_verilog,
    "blif": from_blif,
}


def load(
    source: str | os.PathLike[str],
    *,
    bits: Pair | None = None,
    signed: tuple[bool, bool] | bool | None = None,
    transpose: bool = False,
    order: Order | None = None,
    products_signed: bool | None = None,
    name: str | None = None,
) -> Multiplier:
    """A multiplier by name, or from a file.

    Args:
        source: a name from `axjax.available()`, or a path. The suffix tells the format, and
            the content where there is no suffix or an unknown one:

            - `.bin`, TFApprox's: 65,536 little-endian uint16, index `activation << 8 | weight`;
            - `.npy`: integers `(2**activation bits, 2**weight bits)`, or flat, row =
              activation, codes in the order of their bit patterns;
            - `.npz`: what `axjax.save` writes; without the factors' arrays, which are checked,
              or with `products` in place of `differences`, it is read as well;
            - `.txt`, `.dat`, `.csv`, `.tsv`: a matrix, row = activation, codes in ascending
              order, with or without a first row and column of codes; or rows of `activation
              weight product`; separated by spaces, tabs, commas or semicolons;
            - `.h`, `.c`: one array, `[activation][weight]`, in the order of bit patterns; or
              else a function, see `axjax.circuits.from_c`, which runs it;
            - `.v`, `.sv`, `.blif`: a circuit, see `axjax.circuits.from_verilog`, `from_blif`.
        bits: widths of the operands; by default as the file says, or its shape.
        signed: signedness of the operands; by default as the file says, else true if any
            entry is negative.
        transpose: the file has weights in its rows (or first, in a circuit); exchanges the
            operands. `bits` and `signed` are those of the result, (activation, weight).
        order: of rows and columns where codes are signed: `"pattern"` (0, 1, ..., -2, -1)
            or `"value"` (-128, ..., 127); by default as above. Not for circuits.
        products_signed: take entries as two's complement patterns as wide as both operands
            together (true), or as unsigned ones (false); by default as they are, and as
            patterns in a `.bin` of a signed multiplier. Not for circuits.
        name: by default the file's, without suffix.
    Raises:
        FileNotFoundError: if there is neither such a name nor such a file.
        ValueError: for a file that is short, long, misshapen or no table at all.
    Warns:
        UserWarning: if the table is much closer to the exact product in another reading, see
            `axjax.readings`.

    >>> import axjax
    >>> axjax.load("mul8u_exact")
    Multiplier('mul8u_exact', uint8 x uint8)
    """
    pair = None if bits is None else _pair(bits)
    signs = None if signed is None else _pair(signed)
    if transpose:
        # From here on as the file has it; exchanged back at the end.
        pair, signs = pair and pair[::-1], signs and signs[::-1]
    content, path, kind = _content(source)
    if kind == "c" and not functions_of_two(content.decode("utf-8", "replace")):
        kind = "array"
    if kind in _CIRCUITS:
        multiplier = _circuit(kind, path, pair, signs, order, products_signed)
    else:
        raw = _raw_table(kind, content, str(path), pair)
        multiplier = _multiplier(raw, str(path), pair, signs, order, products_signed)
    if transpose:
        multiplier = multiplier.transpose()
    return multiplier.renamed(path.stem if name is None else name)


def _pair(value: Any) -> tuple[Any, Any]:
    return tuple(value) if isinstance(value, tuple | list) else (value, value)


def _content(source: str | os.PathLike[str]) -> tuple[bytes, pathlib.Path, str]:
    """What the file holds, where it is, and its kind."""
    shipped = file_of(str(source))
    if shipped is not None:
        return shipped.read_bytes(), pathlib.Path(f"{source}.npz"), "npz"
    path = pathlib.Path(source)
    absent = (
        f"load: no shipped multiplier and no file, got source={str(path)!r}. "
        f"{nearest(path.name)}"
    )
    content = read_file("load", "table", path, absent)
    kind = _SUFFIXES.get(path.suffix.lower()) or _kind_of(content)
    if kind is None:
        raise ValueError(
            f"load: a table file ends in {', '.join(_SUFFIXES)}, or its content shows what it "
            f"is, got source={str(source)!r}. Convert the file, or build a Multiplier from an "
            "array."
        )
    return content, path, kind


def _kind_of(content: bytes) -> str | None:
    """What a file without a known suffix holds."""
    if content.startswith(b"\x93NUMPY"):
        return "npy"
    if content.startswith(b"PK"):
        return "npz"
    text = content.decode("utf-8", "replace")
    if "\0" in text or "\ufffd" in text:
        return "bin" if len(content) == 256 * 256 * 2 else None
    if re.search(r"^\s*\.model\b", text, re.MULTILINE):
        return "blif"
    if re.search(r"\bendmodule\b", text):
        return "verilog"
    if "{" in text:
        return "c"
    return "text" if re.match(r"\s*(?:(?:#|//)[^\n]*\n\s*)*-?\d+[\s,;]", text) else None


def _raw_table(kind: str, content: bytes, path: str, bits: tuple[int, int] | None) -> RawTable:
    if kind == "bin":
        return read_bin(content, path, bits)
    if kind == "npy":
        return read_npy(content, path)
    if kind == "npz":
        return read_npz(content, path)
    if b"\0" in content:
        raise ValueError(
            f"load: a {kind} file is text, got binary data in {path!r}. "
            "The file is of another format."
        )
    text = content.decode("utf-8", "replace")
    return read_c_array(text, path) if kind == "array" else read_text(text, path)


def _multiplier(
    raw: RawTable,
    path: str,
    bits: tuple[int, int] | None,
    signed: tuple[bool, bool] | None,
    order: Order | None,
    products_signed: bool | None,
) -> Multiplier:
    products = raw.products
    if order not in (None, "pattern", "value"):
        raise ValueError(
            f"load: codes are in the order of pattern or value, got order={order!r}. "
            "Pass one of these."
        )
    if products_signed is None and path.endswith(".bin") and signed is not None:
        products_signed = any(signed) or None
    if signed is None and raw.signed is None and products_signed is not False:
        signed = (bool((products < 0).any()),) * 2
    signed = signed or raw.signed or (False, False)
    order = order or raw.order
    # Checks shape and entries; what follows works on a table that is one.
    Multiplier(products, bits=bits or raw.bits, signed=signed)
    if products_signed is None:
        warn_of_better_reading(products, signed, order, path)
    else:
        width = sum(size.bit_length() - 1 for size in products.shape)
        products = products.astype(np.int64) & ((1 << width) - 1)
        sign = products_signed << (width - 1)
        products = (products ^ sign) - sign
    multiplier = Multiplier(
        by_pattern(products, signed, order),
        bits=bits or raw.bits,
        signed=signed,
        published=raw.published,
    )
    as_it_stands = products_signed is None and order == raw.order and signed == raw.signed
    return multiplier.with_factors(raw.factors) if as_it_stands else multiplier


def _circuit(
    kind: str,
    path: pathlib.Path,
    bits: tuple[int, int] | None,
    signed: tuple[bool, bool] | None,
    order: Order | None,
    products_signed: bool | None,
) -> Multiplier:
    if order is not None or products_signed is not None:
        raise ValueError(
            "load: order and products_signed are for tables, got "
            f"order={order!r}, products_signed={products_signed!r} for the circuit "
            f"{str(path)!r}. Leave both out."
        )
    options: dict[str, Any] = {"bits": bits}
    if signed is not None:
        options["signed"] = signed
    multiplier = _CIRCUITS[kind](path, **options)
    signs = (multiplier.activation.signed, multiplier.weight.signed)
    warn_of_better_reading(multiplier.products(), signs, "pattern", str(path))
    return multiplier
