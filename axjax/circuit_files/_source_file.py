# SPDX-License-Identifier: Apache-2.0
"""Reads the text of a circuit."""

from __future__ import annotations

import pathlib

_MOST_BYTES = 16 << 20


def read_source(function: str, path: pathlib.Path) -> bytes:
    """The file's content.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a folder, a file above 16 MiB, or one with zero bytes.
    """
    if path.is_dir():
        raise ValueError(
            f"{function}: a circuit is a file, got the folder path={str(path)!r}. "
            "Name a file in it."
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"{function}: there has to be a file, got path={str(path)!r}. Check its name."
        )
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(
            f"{function}: a circuit has at most {_MOST_BYTES} bytes, got more in "
            f"{str(path)!r}. Is it the right file?"
        )
    content = path.read_bytes()
    if b"\0" in content:
        raise ValueError(
            f"{function}: a circuit is text, got binary data in {str(path)!r}. "
            "Is it the right file?"
        )
    return content
