# SPDX-License-Identifier: Apache-2.0
"""Functions in a C file: enough of C to find which one multiplies, and what it takes."""

from __future__ import annotations

import dataclasses
import re

_NOT_CODE = re.compile(
    r"/\*.*?(?:\*/|\Z)|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL
)
_DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n\\]|\\.|\\\n)*", re.MULTILINE | re.DOTALL)
_FUNCTION = re.compile(r"([A-Za-z_][\w\s]*?)\b([A-Za-z_]\w*)\s*\(([^(){};]*)\)\s*\{")
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
    for result, name, parameters in _FUNCTION.findall(code):
        types = [_type_of(p) for p in parameters.split(",")]
        if len(types) == 2 and all(types):
            found[name] = Function(name, _words(result), (types[0], types[1]))
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
