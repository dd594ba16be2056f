# SPDX-License-Identifier: Apache-2.0
"""Functions in a C file: enough of C to find which one multiplies, and what it takes."""

from __future__ import annotations

import dataclasses
import re

_NOT_CODE = re.compile(
    r"/\*.*?(?:\*/|\Z)|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL
)
_DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n\\]|\\.|\\\n)*", re.MULTILINE | re.DOTALL)
_PARAMETERS = re.compile(r"\(([^(){};]*)\)\s*\{")
_HEAD = re.compile(r"([A-Za-z_][\w\s]*?)\b([A-Za-z_]\w*)\s*\Z")
_LONGEST_HEAD = 200  # characters of a function's result type and name
_STORAGE = {"static", "inline", "extern", "__inline", "__inline__", "const", "register"}


@dataclasses.dataclass(frozen=True)
class Function:
    """A C function of two operands, as it is written.

    Attributes:
        name: its name.
        result: type of the result.
        parameters: types of the two parameters.
    """

    name: str
    result: str
    parameters: tuple[str, str]


def without_comments(text: str) -> str:
    """The code, with comments, strings and preprocessor directives blanked out."""
    return _DIRECTIVE.sub(" ", _NOT_CODE.sub(" ", text))


def functions_of_two(text: str) -> dict[str, Function]:
    """Functions that take two plain values, by name, in the file's order."""
    found = {}
    code = _top_level(without_comments(text))
    for match in _PARAMETERS.finditer(code):
        start = max(match.start() - _LONGEST_HEAD, 0)
        head = _HEAD.search(re.split(r"[^\w\s]", code[start : match.start()])[-1])
        types = [_type_of(parameter) for parameter in match[1].split(",")]
        if head and len(types) == 2 and all(types):
            found[head[2]] = Function(head[2], _words(head[1]), (types[0], types[1]))
    return found


def _top_level(code: str) -> str:
    """The code with all bodies emptied, each left as `{}`."""
    depth, kept = 0, []
    for part in re.split(r"([{}])", code):
        if part == "{":
            depth += 1
            if depth == 1:
                kept.append(part)
        elif part == "}":
            depth = max(depth - 1, 0)
            if depth == 0:
                kept.append(";}")
        elif depth == 0:
            kept.append(part)
    return "".join(kept)


def _words(text: str) -> str:
    return " ".join(word for word in text.split() if word not in _STORAGE)


def _type_of(parameter: str) -> str:
    """The type in a parameter, empty if it is no plain value with a name."""
    words = _words(parameter).split()
    plain = len(words) >= 2 and all(re.fullmatch(r"[A-Za-z_]\w*", word) for word in words)
    return " ".join(words[:-1]) if plain else ""
