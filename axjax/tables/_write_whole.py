# SPDX-License-Identifier: Apache-2.0
"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import pathlib
import secrets


def write_whole(path: pathlib.Path, content: bytes) -> None:
    """Writes a file beside `path` and moves it there: no reader sees half a file.

    Of several writers at once one wins, whole. Nothing stays behind after an error.
    """
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
