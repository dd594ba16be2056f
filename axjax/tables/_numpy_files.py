# SPDX-License-Identifier: Apache-2.0
"""NumPy's `.npy` and `.npz`: read without trust in what their headers say."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np

from axjax.factorization import Factors
from axjax.tables._raw_table import RawTable

_MOST_BYTES = 8 << 20  # an array of 65,536 entries has 512 KiB in int64


def read_npy(content: bytes, path: str) -> RawTable:
    """Reads one array of integers, `(2**activation bits, 2**weight bits)` or flat."""
    try:
        products = _array(content)
    except Exception as error:  # NumPy raises whatever its parts raise: tokenize, ast, ...
        raise ValueError(
            f"load: a .npy file holds one array of integers, got {path!r}: {_line(error)}. "
            "Write it with numpy.save."
        ) from error
    if products.ndim == 1 and products.size == 256 * 256:
        products = products.reshape(256, 256)
    return RawTable(_integers(products, path))


def read_npz(content: bytes, path: str) -> RawTable:
    """Reads `products`, or `differences` of its rows, with `bits` and `signed`."""
    try:
        arrays = _arrays(content)
        bits = tuple(int(b) for b in arrays["bits"].ravel())
        signed = tuple(bool(s) for s in arrays["signed"].ravel())
        if len(bits) != 2 or len(signed) != 2:
            raise ValueError("bits and signed are (activation, weight)")
        if "differences" in arrays:
            steps = arrays["differences"]
            products = np.cumsum(steps, axis=0, dtype=steps.dtype)
        else:
            products = arrays["products"]
        factors = Factors.from_arrays(arrays) if "plane_terms" in arrays else None
        published = _figures(arrays.get("published"))
    except Exception as error:  # as above, and zipfile and zlib do too
        raise ValueError(
            f"load: a .npz file holds the arrays products, bits and signed, got {path!r}: "
            f"{_line(error)}. Write it with numpy.savez_compressed, or axjax.save."
        ) from error
    return RawTable(
        _integers(products, path),
        bits,
        signed,
        factors=factors,
        published=published,
    )


def _figures(text: np.ndarray | None) -> dict[str, float]:
    """The figures in `published`: one string, which is a JSON object."""
    if text is None:
        return {}
    return {str(name): float(value) for name, value in json.loads(str(text)).items()}


def _arrays(content: bytes) -> dict[str, np.ndarray]:
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for member in archive.infolist():
            if member.file_size > _MOST_BYTES:
                raise ValueError(f"{member.filename} unpacks to {member.file_size} bytes")
            name = member.filename.removesuffix(".npy")
            arrays[name] = _array(archive.read(member))
    return arrays


def _array(content: bytes) -> np.ndarray:
    """The array in the content of a .npy file, unless it is greater than any table."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise ValueError(f"version {version}")
    shape, _, kind = read(file)
    # The header is not to be believed: it could ask for all memory there is.
    if kind.itemsize * int(np.prod(shape, dtype=object)) > len(content):
        raise ValueError(f"the data end before shape {shape} of {kind} is full")
    return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)


def _integers(products: np.ndarray, path: str) -> np.ndarray:
    if np.issubdtype(products.dtype, np.integer):
        return products
    raise ValueError(
        f"load: products are integers, got dtype={products.dtype} in {path!r}. "
        "Round the table first."
    )


def _line(error: Exception) -> str:
    """The error's first line, and no more of it than helps."""
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
