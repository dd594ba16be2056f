# SPDX-License-Identifier: Apache-2.0
"""TFApprox's `.bin`: 16-bit products without a header, `index = activation << 8 | weight`."""

from __future__ import annotations

import numpy as np

from axjax.tables._raw_table import RawTable

_BYTES = 256 * 256 * 2


def read_bin(content: bytes, path: str, bits: tuple[int, int] | None) -> RawTable:
    """Reads little-endian uint16; narrower operands only where the caller says so."""
    size = _BYTES if bits is None else 2 << sum(bits)
    if len(content) != size:
        raise ValueError(
            f"load: a TFApprox table has {size} bytes, got {len(content)} in {path!r}. "
            "The file is cut short, or of another format."
        )
    widths = bits or (8, 8)
    products = np.frombuffer(content, "<u2").reshape(1 << widths[0], 1 << widths[1])
    return RawTable(products, widths, (False, False))
