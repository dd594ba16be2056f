# SPDX-License-Identifier: Apache-2.0
"""Reads the files that users name, and says what is wrong with them."""

from __future__ import annotations

import pathlib

_MOST_BYTES = 16 << 20  # the largest table as text has under 2 MiB


def read_file(function: str, what: str, path: pathlib.Path, absent: str) -> bytes:
    """The content of a file that holds a table or a circuit.

    Args:
        function: the public function, for error messages.
        what: a word for what the file holds.
        path: the file.
        absent: the message of FileNotFoundError.
    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a folder, or a file above 16 MiB.
    """
    if path.is_dir():
        raise ValueError(
            f"{function}: a {what} is a file, got the folder {str(path)!r}. Name a file in it."
        )
    if not path.is_file():
        raise FileNotFoundError(absent)
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise ValueError(
            f"{function}: a {what} file has at most {_MOST_BYTES} bytes, got {size} in "
            f"{str(path)!r}. Is it the right file?"
        )
    return path.read_bytes()
