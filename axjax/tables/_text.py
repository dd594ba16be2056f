# SPDX-License-Identifier: Apache-2.0
"""Tables as text: a matrix, rows of `activation weight product`, or CSV of either."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from axjax.tables._raw_table import RawTable

_COMMENT = re.compile(r"(?:#|//).*")
_SEPARATOR = re.compile(r"\s*[,;]\s*|\s+")
_LARGEST = 2**53  # up to which a float is an integer for certain


def read_text(text: str, path: str) -> RawTable:
    """Reads whatever the numbers form.

    - three columns: `activation weight product`, all pairs once, in any order;
    - 2**n columns: a matrix, row = activation, column = weight, codes in ascending order;
    - 2**n + 1 columns: a matrix whose first row and first column are the codes;
    - 65,536 numbers in one column or one line: the same matrix, row after row.

    Numbers are separated by spaces, tabs, commas or semicolons; `#` and `//` begin a comment;
    one line of names may stand above. Whole numbers may be written as floats.

    Raises:
        ValueError: for anything else, with the line.
    """
    rows = _rows(text)
    if len(rows) > 1 and not any(map(_is_number, rows[0][1])):
        rows = rows[1:]  # names of columns
    if not rows:
        raise ValueError(
            f"load: a text table holds numbers, got none in {path!r}. "
            "The file is empty, or of another format."
        )
    width = len(rows[0][1])
    for number, cells in rows:
        if len(cells) != width:
            raise ValueError(
                f"load: all rows of a table have as many entries, got {len(cells)} after "
                f"{width} in line={number} of {path!r}. The file is cut short, or no table."
            )
    if width == 3:
        return _triples(_numbers(rows, path), path)
    if _is_power_of_two(width - 1) and width > 4:
        return _labelled(rows, path)
    entries = _numbers(rows, path)
    if 1 in entries.shape and entries.size == 256 * 256:
        entries = entries.reshape(256, 256)
    return RawTable(entries, order="value")


def _rows(text: str) -> list[tuple[int, list[str]]]:
    """Line numbers and cells of all lines that are not empty."""
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        line = _COMMENT.sub("", line).strip()
        line = line.removesuffix(",").removesuffix(";")
        if line.strip():
            rows.append((number, [cell.strip('"') for cell in _SEPARATOR.split(line)]))
    return rows


def _numbers(rows: Sequence[tuple[int, list[str]]], path: str) -> np.ndarray:
    try:
        return np.array([[int(cell) for cell in cells] for _, cells in rows], np.int64)
    except (ValueError, OverflowError):
        return np.array([[_whole(c, n, path) for c in cells] for n, cells in rows], np.int64)


def _whole(cell: str, number: int, path: str) -> int:
    value = float(cell) if _is_number(cell) else np.nan
    if not abs(value) < _LARGEST or value != int(value):
        shown = cell if len(cell) <= 40 else cell[:37] + "..."
        raise ValueError(
            f"load: entries of a table are whole numbers that fit int32, got {shown!r} in "
            f"line={number} of {path!r}. Round the table first, if it is one."
        )
    return int(value)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _triples(entries: np.ndarray, path: str) -> RawTable:
    activation, weight, products = entries.T
    return _placed(activation, weight, products, path)


def _labelled(rows: Sequence[tuple[int, list[str]]], path: str) -> RawTable:
    number, header = rows[0]
    columns = _numbers([(number, header[1:])], path)[0]
    body = _numbers(rows[1:], path) if len(rows) > 1 else np.zeros((0, len(header)), np.int64)
    activation = np.repeat(body[:, 0], columns.size)
    return _placed(activation, np.tile(columns, len(body)), body[:, 1:].ravel(), path)


def _placed(
    activation: np.ndarray, weight: np.ndarray, products: np.ndarray, path: str
) -> RawTable:
    """Products by their codes, in the order of bit patterns."""
    bits, signed, patterns = [], [], []
    for codes in (activation, weight):
        low, high = (int(codes.min()), int(codes.max())) if codes.size else (0, 0)
        is_signed = low < 0
        width = max(high.bit_length(), (-low - 1).bit_length()) if is_signed else 0
        width = width + 1 if is_signed else high.bit_length()
        bits.append(width)
        signed.append(is_signed)
        patterns.append(codes & ((1 << width) - 1) if width <= 8 else codes)
    size = 1 << min(sum(bits), 16)
    index = patterns[0] << bits[1] | patterns[1] if max(bits) <= 8 else patterns[0]
    if max(bits) > 8 or index.size != size or np.unique(index).size != size:
        raise ValueError(
            f"load: a table lists every pair of codes once, of 2 to 8 bits each, got "
            f"{activation.size} products for codes up to {bits} bits in {path!r}. "
            "Pairs are missing or doubled, or the columns are no codes."
        )
    table = np.empty(size, np.int64)
    table[index] = products
    return RawTable(
        table.reshape(1 << bits[0], 1 << bits[1]),
        bits=(bits[0], bits[1]),
        signed=(signed[0], signed[1]),
    )


def _is_power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0
