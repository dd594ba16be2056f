# SPDX-License-Identifier: Apache-2.0
"""What EvoApproxLib's files say of themselves in their header comments."""

from __future__ import annotations

import re

from axjax._metrics import Metrics

_FIGURE = re.compile(
    r"^//\s*([A-Z][A-Z0-9_]*%?)\s*=\s*([-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)(?![\w.])", re.MULTILINE
)


def published_figures(text: str) -> dict[str, str]:
    """Figures by their names there, as printed: `{"MAE%": "0.081", "PDK45_PWR": "0.301", ...}`.

    Errors are in EvoApproxLib's scales, power in mW, area in um2, delay in ns.
    """
    return dict(_FIGURE.findall(text))


def disagreements(published: dict[str, str], metrics: Metrics) -> dict[str, tuple[str, float]]:
    """Error figures that the table does not reproduce: `{name: (printed, found)}`.

    A figure agrees if it is within half a unit of its last printed digit.
    """
    found = metrics.asdict()
    return {
        name: (digits, found[name])
        for name, digits in published.items()
        if name in found and not _agrees(digits, found[name])
    }


def _agrees(digits: str, value: float) -> bool:
    mantissa, _, exponent = digits.lower().partition("e")
    decimals = len(mantissa.partition(".")[2]) - int(exponent or 0)
    return abs(value - float(digits)) <= 0.5 * 10.0**-decimals * (1 + 1e-9)
