# SPDX-License-Identifier: Apache-2.0
"""Files to multipliers and back. The only code that knows file formats."""

from __future__ import annotations

import difflib
import importlib.resources
import io
import json
import os
import pathlib
import zipfile
from typing import Any

import numpy as np

from axjax._multiplier import Multiplier, Pair
from axjax.factorization import Factors

_TFAPPROX_BYTES = 256 * 256 * 2


def available() -> list[str]:
    """Names of the multipliers that ship with axjax, for `axjax.load`.

    >>> import axjax
    >>> "mul8u_exact" in axjax.available()
    True
    """
    return sorted(manifest())


def manifest() -> dict[str, dict[str, Any]]:
    """What is known of each shipped multiplier: widths, family, source, metrics, sha256."""
    text = _luts().joinpath("manifest.json").read_text(encoding="utf-8")
    return json.loads(text)["multipliers"]


def load(
    source: str | os.PathLike[str],
    *,
    bits: Pair | None = None,
    signed: tuple[bool, bool] | bool | None = None,
    name: str | None = None,
) -> Multiplier:
    """A multiplier by name, or from a file.

    Args:
        source: a name from `axjax.available()`, or a path. The suffix tells the format:

            - `.bin`, TFApprox's: 65,536 little-endian uint16, index `activation << 8 | weight`;
            - `.npy`: integers `(2**activation bits, 2**weight bits)`, or flat, row =
              activation, signed codes in two's complement order;
            - `.npz`: what `save` writes. Without the factors' arrays, which are checked, or
              with `products` in place of `differences`, it is read as well.
        bits: widths of the operands; by default as the file says, or its shape.
        signed: signedness of the operands; by default as the file says, else true if any
            entry is negative.
        name: by default the file's, without suffix.
    Raises:
        FileNotFoundError: if there is neither such a name nor such a file.
        ValueError: for a file that is short, long, misshapen or no table at all.

    >>> import axjax
    >>> axjax.load("mul8u_exact")
    Multiplier('mul8u_exact', uint8 x uint8)
    """
    path = pathlib.Path(source)
    if str(source) in manifest():
        path = pathlib.Path(f"{source}.npz")
        content = _luts().joinpath(path.name).read_bytes()
    else:
        content = _read(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(
            f"load: a table file ends in {', '.join(_READERS)}, got source={str(source)!r}. "
            "Convert the file, or build a Multiplier from an array."
        )
    products, found = reader(path, content)
    if bits is None:
        bits = found.get("bits")
    if signed is None:
        signed = found.get("signed", bool((products < 0).any()))
    multiplier = Multiplier(products, bits=bits, signed=signed, name=name or path.stem)
    return multiplier.with_factors(found.get("factors"))


def save(path: str | os.PathLike[str], multiplier: Multiplier) -> None:
    """Writes a multiplier to a `.npz` file, with its factors if it has them.

    The file appears whole or not at all. It holds the arrays `differences`, `bits` and
    `signed`, and those of `Factors.to_arrays`. Row 0 of `differences` is row 0 of the
    products, every other row is the step from the row before; steps wrap around in the
    entry type. A multiplier's steps hardly change from row to row, which deflate can use,
    while it sees nothing in the products: files would be 17 times as large.

    Args:
        path: ends in `.npz`; an existing file is replaced.
        multiplier: its name is not stored, the file's stands for it.
    Raises:
        ValueError: for another suffix.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() != ".npz":
        raise ValueError(
            f"save: a multiplier is written to a .npz file, got path={str(path)!r}. "
            "Change the suffix."
        )
    content = io.BytesIO()
    np.savez_compressed(content, **pack(multiplier))
    write_whole(path, content.getvalue())


def pack(multiplier: Multiplier) -> dict[str, Any]:
    """The arrays of a table file."""
    operands = (multiplier.activation, multiplier.weight)
    products = multiplier.products().astype(np.asarray(multiplier.table).dtype)
    packed = multiplier.factors
    factors = {} if packed is None else packed.factors().to_arrays()
    return {
        "differences": np.diff(products, axis=0, prepend=np.zeros_like(products[:1])),
        "bits": np.array([operand.bits for operand in operands], np.uint8),
        "signed": np.array([operand.signed for operand in operands], np.bool_),
        **factors,
    }


def write_whole(path: pathlib.Path, content: bytes) -> None:
    """Writes a file beside `path` and moves it there: a reader never sees half a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _luts() -> Any:
    return importlib.resources.files("axjax") / "luts"


def _read(path: pathlib.Path) -> bytes:
    if path.is_dir():
        raise ValueError(
            f"load: a table is a file, got the folder source={str(path)!r}. Name a file in it."
        )
    if not path.is_file():
        near = difflib.get_close_matches(path.name, available(), n=3)
        hint = (
            f"Did you mean {' or '.join(near)}?"
            if near
            else (f"The shipped ones are {', '.join(available())}.")
        )
        raise FileNotFoundError(
            f"load: no shipped multiplier and no file, got source={str(path)!r}. {hint}"
        )
    return path.read_bytes()


def _read_bin(path: pathlib.Path, content: bytes) -> tuple[np.ndarray, dict[str, Any]]:
    if len(content) != _TFAPPROX_BYTES:
        raise ValueError(
            f"load: a TFApprox table has {_TFAPPROX_BYTES} bytes, got {len(content)} in "
            f"{str(path)!r}. The file is cut short, or of another format."
        )
    products = np.frombuffer(content, "<u2").reshape(256, 256)
    return products, {"bits": 8, "signed": False}


def _read_npy(path: pathlib.Path, content: bytes) -> tuple[np.ndarray, dict[str, Any]]:
    try:
        products = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(
            f"load: a .npy file holds one array of integers, got {str(path)!r}: {error}. "
            "Write it with numpy.save."
        ) from error
    if products.ndim == 1 and products.size == 256 * 256:
        products = products.reshape(256, 256)
    return _integers(path, products), {}


def _read_npz(path: pathlib.Path, content: bytes) -> tuple[np.ndarray, dict[str, Any]]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            bits, signed = arrays["bits"], arrays["signed"]
            if "differences" in arrays:
                steps = arrays["differences"]
                products = np.cumsum(steps, axis=0, dtype=steps.dtype)
            else:
                products = arrays["products"]
            factors = Factors.from_arrays(arrays) if "plane_terms" in arrays else None
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"load: a .npz file holds the arrays products, bits and signed, got {str(path)!r}: "
            f"{error}. Write it with numpy.savez_compressed."
        ) from error
    found = {
        "bits": tuple(int(b) for b in bits),
        "signed": tuple(bool(s) for s in signed),
        "factors": factors,
    }
    return _integers(path, products), found


def _integers(path: pathlib.Path, products: np.ndarray) -> np.ndarray:
    if np.issubdtype(products.dtype, np.integer):
        return products
    raise ValueError(
        f"load: products are integers, got dtype={products.dtype} in {str(path)!r}. "
        "Round the table first."
    )


_READERS = {".bin": _read_bin, ".npy": _read_npy, ".npz": _read_npz}
