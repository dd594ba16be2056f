# SPDX-License-Identifier: Apache-2.0
"""Reads the text of a circuit."""

from __future__ import annotations

import pathlib

from axjax._read_file import read_file


def read_source(function: str, path: pathlib.Path) -> bytes:
    """The file's content.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a folder, a file above 16 MiB, or one with zero bytes.
    """
    absent = f"{function}: there has to be a file, got path={str(path)!r}. Check its name."
    content = read_file(function, "circuit", path, absent)
    if b"\0" in content:
        raise ValueError(
            f"{function}: a circuit is text, got binary data in {str(path)!r}. "
            "Is it the right file?"
        )
    return content
