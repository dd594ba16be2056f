# SPDX-License-Identifier: Apache-2.0
"""Dtypes that go into an emulated operation and that come out."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from axjax._quantization import FixedScale, Quantization


def operands(
    function: str, lhs: Any, rhs: Any, quantization: Quantization
) -> tuple[jax.Array, jax.Array]:
    """Both operands as arrays of dtypes that can be quantised.

    Raises:
        TypeError: for complex or boolean operands, integers without a fixed scale, or two
            floating-point dtypes that differ (as lax does).
    """
    lhs, rhs = jnp.asarray(lhs), jnp.asarray(rhs)
    for name, operand, quantizer in (
        ("lhs", lhs, quantization.lhs),
        ("rhs", rhs, quantization.rhs),
    ):
        if jnp.issubdtype(operand.dtype, jnp.floating):
            continue
        if not jnp.issubdtype(operand.dtype, jnp.integer):
            raise TypeError(
                f"{function}: operands are real, got {name}.dtype={operand.dtype}. "
                "Cast the operand to float32."
            )
        if not isinstance(quantizer, FixedScale):
            raise TypeError(
                f"{function}: an integer operand needs a fixed scale, got {name}.dtype="
                f"{operand.dtype} with {type(quantizer).__name__}. Pass "
                "quantization=Quantization.unit(), or cast the operand to float32."
            )
    if lhs.dtype != rhs.dtype and not _are_integers(lhs, rhs):
        raise TypeError(
            f"{function}: operands have one dtype, got lhs.dtype={lhs.dtype} and rhs.dtype="
            f"{rhs.dtype}. Cast one of them."
        )
    return lhs, rhs


def result_dtype(
    function: str, lhs: jax.Array, preferred: Any, quantization: Quantization
) -> Any:
    """Dtype of the result: `preferred_element_type`, or that of the operands.

    Integers give int32, the type of the accumulators; lax would wrap them to their own.

    Raises:
        TypeError: for an integer result of operands whose scales are not fixed.
    """
    if preferred is None:
        return jnp.dtype(jnp.int32) if _are_integers(lhs) else lhs.dtype
    dtype = jnp.dtype(preferred)
    fixed = isinstance(quantization.lhs, FixedScale) and isinstance(
        quantization.rhs, FixedScale
    )
    if jnp.issubdtype(dtype, jnp.integer) and not fixed:
        raise TypeError(
            f"{function}: sums are integers only at fixed scales, got preferred_element_type="
            f"{dtype}. Pass quantization=Quantization.unit(), or a floating-point type."
        )
    return dtype


def _are_integers(*arrays: jax.Array) -> bool:
    return all(jnp.issubdtype(a.dtype, jnp.integer) for a in arrays)
