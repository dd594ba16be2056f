# SPDX-License-Identifier: Apache-2.0
"""Multipliers by name: those that ship with axjax, and those that the user has imported."""

from __future__ import annotations

import difflib
import importlib.resources
import json
import os
import pathlib
from typing import Any


def available() -> list[str]:
    """Names of multipliers for `axjax.load`: those that ship with axjax, and imported ones.

    >>> import axjax
    >>> "mul8u_exact" in axjax.available()
    True
    """
    return sorted({*manifest(), *imported()})


def manifest() -> dict[str, dict[str, Any]]:
    """What is known of each shipped multiplier: widths, family, source, metrics, sha256."""
    text = _shipped_folder().joinpath("manifest.json").read_text(encoding="utf-8")
    return json.loads(text)["multipliers"]


def imported() -> list[str]:
    """Names of the multipliers in the user's own library."""
    folder = library_folder()
    try:
        return sorted(path.stem for path in folder.glob("[!.]*.npz") if path.is_file())
    except OSError:
        return []  # a folder that cannot be read holds nothing for us


def library_folder() -> pathlib.Path:
    """Where `axjax lut import` keeps multipliers.

    `$AXJAX_LUTS`, else `axjax/luts` in `$XDG_DATA_HOME` or in `~/.local/share`.
    """
    chosen = os.environ.get("AXJAX_LUTS")
    if chosen:
        return pathlib.Path(chosen)
    data = os.environ.get("XDG_DATA_HOME")
    base = pathlib.Path(data) if data else pathlib.Path("~/.local/share").expanduser()
    return base / "axjax" / "luts"


def file_of(name: str) -> Any:
    """The file of a named multiplier, a shipped one first; None for no such name."""
    if name in manifest():
        return _shipped_folder() / f"{name}.npz"
    if name in imported():
        return library_folder() / f"{name}.npz"
    return None


def nearest(name: str) -> str:
    """A sentence on the names that there are."""
    near = difflib.get_close_matches(name, available(), n=3)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"The shipped ones are {', '.join(sorted(manifest()))}."


def _shipped_folder() -> Any:
    return importlib.resources.files("axjax") / "luts"
