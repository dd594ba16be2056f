# SPDX-License-Identifier: Apache-2.0
"""Multipliers to files, in every format that is read."""

from __future__ import annotations

import io
import json
import os
import pathlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from axjax._multiplier import Multiplier
from axjax.tables._raw_table import by_value
from axjax.tables._write_whole import write_whole


def save(
    path: str | os.PathLike[str], multiplier: Multiplier, *, format: str | None = None
) -> None:
    """Writes a multiplier to a file; `axjax.load` reads it back.

    The file appears whole or not at all, also where several processes write it at once.

    Args:
        path: where to. The suffix tells the format; an existing file is replaced.
        multiplier: its name is not stored, the file's stands for it.
        format: by default the suffix's:

            - `npz`: axjax's own, with widths, signedness, factors and published figures; the
              only one that loses nothing;
            - `npy`: an array; signedness is told by negative entries alone;
            - `bin`: TFApprox's 16-bit entries, for 8-bit operands; tells no signedness;
            - `txt`: a matrix, codes in ascending order; tells no widths below the shape;
            - `rows`: `activation weight product` in each line of a `.txt`;
            - `csv`: a matrix with a row and a column of codes;
            - `h`: a C array, in the order of bit patterns.
    Raises:
        ValueError: for another format, or a table that it cannot hold.
        OSError: if the file cannot be written.
    """
    path = pathlib.Path(path)
    kind = path.suffix.lower().removeprefix(".") if format is None else format
    if kind not in _WRITERS:
        raise ValueError(
            f"save: a format is one of {', '.join(_WRITERS)}, got "
            f"{'path' if format is None else 'format'}={str(format or path)!r}. "
            "Choose another suffix, or pass format."
        )
    write_whole(path, _WRITERS[kind](multiplier))


def _npz(multiplier: Multiplier) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, **pack(multiplier))
    return content.getvalue()


def pack(multiplier: Multiplier) -> dict[str, Any]:
    """The arrays of a `.npz` file: `differences`, `bits`, `signed`, and what else is known.

    Row 0 of `differences` is row 0 of the products, every other row is the step from the row
    before, in the narrowest of uint16, int16 and int32 that holds the products; steps wrap
    around in that type. A multiplier's steps hardly change from row to row, which deflate
    can use, while it sees nothing in the products: without this step the files would be
    17 times as large.
    """
    operands = (multiplier.activation, multiplier.weight)
    products = multiplier.products().astype(np.asarray(multiplier.table).dtype)
    more: dict[str, Any] = {}
    if multiplier.factors is not None:
        more |= multiplier.factors.factors().to_arrays()
    if multiplier.published:
        more["published"] = np.array(json.dumps(dict(multiplier.published)))
    return {
        "differences": np.diff(products, axis=0, prepend=np.zeros_like(products[:1])),
        "bits": np.array([operand.bits for operand in operands], np.uint8),
        "signed": np.array([operand.signed for operand in operands], np.bool_),
        **more,
    }


def _npy(multiplier: Multiplier) -> bytes:
    content = io.BytesIO()
    products = multiplier.products()
    np.save(content, products.astype(np.asarray(multiplier.table).dtype))
    return content.getvalue()


def _bin(multiplier: Multiplier) -> bytes:
    products = multiplier.products()
    low, high = int(products.min()), int(products.max())
    signed = multiplier.activation.signed or multiplier.weight.signed
    limits = np.iinfo(np.int16 if signed else np.uint16)
    if products.shape != (256, 256) or low < limits.min or high > limits.max:
        raise ValueError(
            f"save: a .bin file has 256 x 256 products of 16 bits, got {multiplier!r} with "
            f"products from {low} to {high}. Choose another format."
        )
    return products.astype("<i2" if signed else "<u2").tobytes()


def _ascending(multiplier: Multiplier) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes of both operands and the products, all in ascending order of codes."""
    operands = (multiplier.activation, multiplier.weight)
    signed = (operands[0].signed, operands[1].signed)
    x, w = (np.sort(operand.values()) for operand in operands)
    return x, w, by_value(multiplier.products(), signed)


def _txt(multiplier: Multiplier) -> bytes:
    _, _, products = _ascending(multiplier)
    return _lines(" ".join(map(str, row)) for row in products.tolist())


def _rows(multiplier: Multiplier) -> bytes:
    x, w, products = _ascending(multiplier)
    return _lines(
        f"{a} {b} {products[i, j]}"
        for i, a in enumerate(x.tolist())
        for j, b in enumerate(w.tolist())
    )


def _csv(multiplier: Multiplier) -> bytes:
    x, w, products = _ascending(multiplier)
    header = ",".join(["activation\\weight", *map(str, w.tolist())])
    body = (",".join(map(str, [a, *row]))
            for a, row in zip(x.tolist(), products.tolist(), strict=True))  # fmt: skip
    return _lines([header, *body])


def _h(multiplier: Multiplier) -> bytes:
    products = multiplier.products()
    entry = f"{np.asarray(multiplier.table).dtype}_t"
    name = re.sub(r"\W", "_", multiplier.name) or "table"
    name = name if not name[0].isdigit() else f"_{name}"
    rows = ("  {" + ", ".join(map(str, row)) + "}," for row in products.tolist())
    sizes = "".join(f"[{size}]" for size in products.shape)
    head = "#include <stdint.h>\n\n// [activation][weight], codes by their bit patterns"
    return _lines([head, f"const {entry} {name}{sizes} = {{", *rows, "};"])


def _lines(lines: Any) -> bytes:
    return ("\n".join(lines) + "\n").encode()


_WRITERS: dict[str, Callable[[Multiplier], bytes]] = {
    "npz": _npz,
    "npy": _npy,
    "bin": _bin,
    "txt": _txt,
    "rows": _rows,
    "csv": _csv,
    "h": _h,
}
