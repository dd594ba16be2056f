# SPDX-License-Identifier: Apache-2.0
"""What the user got wrong, and checks that subcommands share."""

from __future__ import annotations

import importlib
import pathlib
import sys
import tempfile
import warnings
from collections.abc import Sequence
from typing import Any

import axjax


class UsageError(Exception):
    """The user can put it right: `<command>: <rule>, got <name>=<value>. <What to do.>`"""


def need(function: str, extra: str, packages: dict[str, str]) -> None:
    """Raises UsageError unless all packages of an extra can be imported."""
    missing = []
    for module, package in packages.items():
        try:
            importlib.import_module(module)
        except ModuleNotFoundError:
            missing.append(package)
    if missing:
        raise UsageError(
            f"{function}: it needs the packages of an extra, got missing={', '.join(missing)}. "
            f"Install them: pip install 'axjax[{extra}]'."
        )


def check_engine(function: str, engine: str) -> None:
    if engine == "auto":
        return
    states: Any = axjax.build_info()["engines"]
    if engine not in states:
        raise UsageError(
            f"{function}: an engine is one of {', '.join(['auto', *states])}, got "
            f"engine={engine!r}. Pass one of these."
        )
    if states[engine] != "usable":
        raise UsageError(
            f"{function}: an engine has to run here, got engine={engine!r}: "
            f"{states[engine]}. Or pass --engine auto."
        )


def load(function: str, names: Sequence[str]) -> list[axjax.Multiplier]:
    loaded: dict[str, axjax.Multiplier] = {}
    for name in names:
        multiplier = read(function, name)
        if multiplier.name in loaded:
            raise UsageError(
                f"{function}: multipliers have names of their own, got two of "
                f"name={multiplier.name!r}. Name each once, or rename a file."
            )
        loaded[multiplier.name] = multiplier
    return list(loaded.values())


def read(function: str, source: str, **options: Any) -> axjax.Multiplier:
    """`axjax.load`; its warnings go to standard error, a line each."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        try:
            multiplier = axjax.load(source, **options)
        except (OSError, ValueError, ImportError) as error:
            raise UsageError(f"{function}: {_one_line(error)}") from error
    for warning in found:
        print(f"{function}: warning: {warning.message}", file=sys.stderr)
    return multiplier


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def cannot_write(function: str, path: pathlib.Path, error: OSError) -> UsageError:
    """For a file that could not be written."""
    return UsageError(
        f"{function}: a file goes where it can be written, got {str(path)!r}: "
        f"{error.strerror or error}. Choose another place."
    )


def make_folder(function: str, folder: pathlib.Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass  # a folder that takes no file should say so now, not after two minutes
    except OSError as error:
        raise UsageError(
            f"{function}: results go to a folder that can be written, got "
            f"out={str(folder)!r}: {error.strerror}. Pass another --out."
        ) from error
