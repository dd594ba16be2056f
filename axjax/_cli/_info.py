# SPDX-License-Identifier: Apache-2.0
"""`axjax info`: what was built, and what runs here."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import axjax


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "info",
        help="what was built, which engines run here, and why others do not",
        description="What was built, which engines run here, and why others do not.",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    import jax

    info: Any = axjax.build_info()
    devices = ", ".join(f"{d.platform} ({d.device_kind})" for d in jax.devices())
    print(f"axjax {info['version']}, jax {jax.__version__}, Python {sys.version.split()[0]}")
    print(f"devices: {devices}")
    print("\nnative modules")
    for name, build in info["native"].items():
        print(f"  {name:18}{_sentence(build)}")
    print("\nengines")
    for name, state in info["engines"].items():
        print(f"  {name:18}{state}")
    print(f"\nmultipliers: {len(axjax.available())}, axjax lut list shows them")
    return 0


def _sentence(build: Any) -> str:
    if build is None:
        return "not built"
    parts = []
    for key, value in build.items():
        if isinstance(value, tuple | list):
            value = (".".join if key.endswith("version") else ", ".join)(map(str, value))
        parts.append(f"{key.replace('_', ' ')} {value}")
    return "built, " + ", ".join(parts)
