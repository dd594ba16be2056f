# SPDX-License-Identifier: Apache-2.0
"""Weight remapping: another code in the place of a weight's, where the multiplier errs less."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from axjax._multiplier import Multiplier

_LOSSES = {"absolute": np.abs, "squared": np.square}


def remap(
    multiplier: Multiplier, activation_codes: Any = None, *, loss: str = "absolute"
) -> Multiplier:
    """The multiplier as it multiplies once every weight code is replaced by the best one.

    For a weight code w that is the code w' with the least expected error of M[x, w'] against
    the exact x w over the activation codes x; w itself, then the nearest, among equals. The
    accuracy lost to an approximate multiplier is partly won back without training: only what
    the weight memory holds changes.

    Args:
        multiplier: the table M.
        activation_codes: how often each activation code occurs, in the order of the table's
            rows, `(2**bits,)`; uniform by default. `axjax.activation_codes` measures it.
        loss: "absolute", as in the paper, or "squared".
    Returns:
        A multiplier whose column w is column w' of M, of the same kind, with factors if M has
        them.
    Raises:
        ValueError: for frequencies that do not fit the table, or an unknown loss.
    Source: Mrazek, Vasicek, Sekanina, Hanif, Shafique, ALWANN, ICCAD 2019.

    >>> import axjax
    >>> mul = axjax.load("mul8u_drum3")
    >>> axjax.remap(mul).metrics().mae < mul.metrics().mae
    True
    """
    if loss not in _LOSSES:
        raise ValueError(
            f"remap: a loss is one of {', '.join(_LOSSES)}, got loss={loss!r}. "
            "Pass one of these."
        )
    x, w = multiplier.activation.values(), multiplier.weight.values()
    frequency = _frequency(activation_codes, len(x))
    products = multiplier.products()
    best = np.empty(len(w), np.int64)
    for column, code in enumerate(w):
        error = _LOSSES[loss](products - (x * code)[:, None]).astype(np.float64)
        expected = frequency @ error
        candidates = np.flatnonzero(expected == expected.min())
        best[column] = candidates[np.argmin(np.abs(w[candidates] - code))]
    columns = best[multiplier.weight.patterns_of_bytes()]
    new = Multiplier(
        products[:, best],
        bits=(multiplier.activation.bits, multiplier.weight.bits),
        signed=(multiplier.activation.signed, multiplier.weight.signed),
        name=f"{multiplier.name} remapped",
    )
    factors = multiplier.factors
    if factors is not None:
        v, beta = np.asarray(factors.v)[:, columns], np.asarray(factors.beta)[columns]
        new = new.with_factors(dataclasses.replace(factors, v=v, beta=beta))
    return new


def _frequency(activation_codes: Any, count: int) -> np.ndarray:
    if activation_codes is None:
        return np.full(count, 1 / count)
    frequency = np.asarray(activation_codes, np.float64)
    if frequency.shape != (count,) or not (frequency >= 0).all() or not frequency.sum() > 0:
        raise ValueError(
            f"remap: a frequency for each of {count} activation codes, none negative, got "
            f"activation_codes of shape {frequency.shape} with sum {frequency.sum()}. "
            "Pass what axjax.activation_codes returned for the layer."
        )
    return frequency / frequency.sum()
