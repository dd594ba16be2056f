# SPDX-License-Identifier: Apache-2.0
"""Tables in C headers: one array, as the kernels of AdaPT and TransAxx include them."""

from __future__ import annotations

import re

import numpy as np

from axjax.circuit_files._c_source import without_comments
from axjax.tables._raw_table import RawTable

_ARRAY = re.compile(r"\b([A-Za-z_]\w*)\s*((?:\[[^\[\]]*\]\s*)+)=\s*\{")
_NUMBER = re.compile(r"([-+]?)\s{0,9}(0[xX][0-9a-fA-F]{1,16}|\d{1,19})[uUlL]{0,3}(?![\w.])")
_SHORTEST = 16  # entries of a table with 2-bit operands


def read_c_array(text: str, path: str) -> RawTable:
    """Reads the initialiser of the one array of integers that a header holds.

    Row = activation, column = weight, in the order of bit patterns; of one dimension it is the
    same, row after row.

    Raises:
        ValueError: if there is none, or more than one, or it is not full.
    """
    code = without_comments(text)
    tables = {}
    for match in _ARRAY.finditer(code):
        body = _braced(code, match.end())
        tables[match[1]] = (re.findall(r"\[([^\]]*)\]", match[2]), body)
    tables = {
        name: table for name, table in tables.items() if table[1].count(",") + 1 >= _SHORTEST
    }
    if len(tables) != 1:
        raise ValueError(
            f"load: a C header holds one table, got {', '.join(tables) or 'none'} in "
            f"{path!r}. Leave one array of integers with its initialiser."
        )
    ((name, (sizes, body)),) = tables.items()
    rest = _NUMBER.sub("", body)
    if rest.strip("{}, \t\r\n"):
        shown = rest.replace("{", "").replace("}", "").replace(",", " ").split()[0][:40]
        raise ValueError(
            f"load: an array of products holds integers only, got {shown!r} in {name} of "
            f"{path!r}. Write numbers, without casts and macros."
        )
    entries = [int(sign + digits, 0 if "x" in digits.lower() else 10)
               for sign, digits in _NUMBER.findall(body)]  # fmt: skip
    rows, columns = _shape(sizes, body, len(entries))
    if rows * columns != len(entries) or max(map(abs, entries)) >= 2**63:
        raise ValueError(
            f"load: an array has as many numbers as its sizes say, got {len(entries)} for "
            f"{name}{''.join(f'[{size}]' for size in sizes)} in {path!r}. "
            "The file is cut short, or no table of 2**bits rows and columns."
        )
    return RawTable(np.array(entries, np.int64).reshape(rows, columns))


def _braced(code: str, start: int) -> str:
    """What stands from `start` to the brace that closes; to the end if none does."""
    depth = 1
    for position in range(start, len(code)):
        depth += {"{": 1, "}": -1}.get(code[position], 0)
        if depth == 0:
            return code[start:position]
    return code[start:]


def _shape(sizes: list[str], body: str, count: int) -> tuple[int, int]:
    """Rows and columns: as declared, else by the inner braces, else square."""
    declared = [int(size) if size.strip().isdigit() else 0 for size in sizes]
    if len(declared) == 2 and all(declared):
        return declared[0], declared[1]
    if len(declared) == 2 and "{" in body:
        rows = body.count("{")
        return rows, count // rows
    if declared == [count] or declared == [0]:
        side = 1 << ((count.bit_length() - 1) // 2)
        return side, count // side
    return 0, 0
