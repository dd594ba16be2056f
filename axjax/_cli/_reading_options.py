# SPDX-License-Identifier: Apache-2.0
"""Options that say how a multiplier's file is read, as the arguments of `axjax.load`."""

from __future__ import annotations

import argparse
import re
from typing import Any


def parent() -> argparse.ArgumentParser:
    """A parser to be a parent of those that read files."""
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group(
        "how files are read", "by default as the file or its format says"
    )
    group.add_argument(
        "--bits", type=_bits, metavar="N[xM]", help="widths: 8, or 8x4 (activation, weight)"
    )
    group.add_argument(
        "--signed",
        type=_signed,
        metavar="u|s|us|su",
        help="signedness: u, s, or one letter for the activation and one for the weight",
    )
    group.add_argument(
        "--transpose", action="store_true", help="the file has weights in its rows, or first"
    )
    group.add_argument(
        "--order", choices=("pattern", "value"), help="signed codes: 0 .. -1, or -128 .. 127"
    )
    group.add_argument(
        "--products",
        choices=("signed", "unsigned"),
        help="take products as two's complement patterns, or as unsigned ones",
    )
    return parser


def arguments(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `axjax.load` that the options stand for."""
    products = {None: None, "signed": True, "unsigned": False}[options.products]
    return {
        "bits": options.bits,
        "signed": options.signed,
        "transpose": options.transpose,
        "order": options.order,
        "products_signed": products,
    }


def _bits(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d)(?:x(\d))?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"widths are 8 or 8x4, got {text!r}")
    return int(match[1]), int(match[2] or match[1])


def _signed(text: str) -> tuple[bool, bool]:
    if not re.fullmatch("[us]{1,2}", text):
        raise argparse.ArgumentTypeError(f"signedness is u, s, us or su, got {text!r}")
    return text[0] == "s", text[-1] == "s"
