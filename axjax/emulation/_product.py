# SPDX-License-Identifier: Apache-2.0
"""One layer on approximate hardware."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from axjax._conv import conv_general_dilated
from axjax._dot import dot_general
from axjax._lut_conv import check_depth
from axjax._quantization import (
    CurrentRange,
    GivenRange,
    MovingAverage,
    Quantization,
    Quantizer,
)
from axjax.emulation._layer import Layer
from axjax.emulation._rule import Rule

Ranges = Mapping[str, Any]
"""By a layer's key: (least, greatest) of its activations, or of both where both are such."""


def check_layers(
    function: str, layers: Sequence[tuple[Layer, Rule]], ranges: Ranges | None
) -> None:
    """Raises ValueError for layers that their rule cannot run.

    Args:
        function: name of the public function, for messages.
        layers: each with its rule, which has a multiplier.
        ranges: calibrated ranges, if there are any.
    """
    for layer, rule in layers:
        if layer.kind == "opaque":
            raise ValueError(
                f"{function}: a layer is a convolution or product that can be entered, got the "
                f"primitive {layer.op!r} at {layer.key!r}. Leave it exact with a rule before: "
                f"Rule({layer.path!r}, None)."
            )
        assert rule.multiplier is not None
        check_depth(f"{function}, layer {layer.key!r}", layer.depth, rule.multiplier)
    if ranges is None:
        return
    missing = [
        layer.key
        for layer, rule in layers
        if any(map(_takes_range, activation_quantizers(rule, layer)))
        and layer.key not in ranges
    ]
    if missing:
        known = ", ".join(map(repr, ranges)) or "none"
        raise ValueError(
            f"{function}: every layer has a range, got none for "
            f"{', '.join(map(repr, missing))}; there are ranges for {known}. "
            "Calibrate the same function with the same rules."
        )


def activation_quantizers(rule: Rule, layer: Layer) -> tuple[Quantizer, ...]:
    """The rule's quantizers of those operands that are activations: one or two."""
    quantizer = (rule.quantization or Quantization()).lhs
    return (quantizer, quantizer) if layer.weight == "none" else (quantizer,)


def activations(layer: Layer, lhs: Any, rhs: Any) -> tuple[Any, ...]:
    """The operands that are activations, in the order of `activation_quantizers`."""
    return {"rhs": (lhs,), "lhs": (rhs,), "none": (lhs, rhs)}[layer.weight]


def emulated(
    function: str, rule: Rule, layer: Layer, ranges: Ranges | None, eqn: Any, lhs: Any, rhs: Any
) -> jax.Array:
    """The layer's result on the rule's multiplier, in the layer's own layout and dtype."""
    quantization = _quantization(rule, layer, ranges)
    keywords: dict[str, Any] = dict(
        multiplier=rule.multiplier, quantization=quantization, engine=rule.engine
    )
    common = jnp.promote_types(lhs.dtype, rhs.dtype)
    lhs, rhs = lhs.astype(common), rhs.astype(common)
    params = eqn.params | {"preferred_element_type": eqn.outvars[0].aval.dtype}
    try:
        if layer.op == "conv_general_dilated":
            return conv_general_dilated(lhs, rhs, **params, **keywords)
        if layer.weight == "lhs":
            return _dot_of_weight_and_activation(lhs, rhs, params, keywords)
        return dot_general(lhs, rhs, **params, **keywords)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{function}, layer {layer.key!r}: {error}") from error


def _dot_of_weight_and_activation(lhs: Any, rhs: Any, params: Any, keywords: Any) -> jax.Array:
    """A product whose first operand is the weight: exchanged, and its result put in order."""
    (contracted, batch) = params["dimension_numbers"]
    numbers = (contracted[::-1], batch[::-1])
    out = dot_general(rhs, lhs, **params | {"dimension_numbers": numbers}, **keywords)
    batches = len(batch[0])
    rhs_free = rhs.ndim - batches - len(contracted[1])
    axes = list(range(out.ndim))
    return lax.transpose(
        out, axes[:batches] + axes[batches + rhs_free :] + axes[batches : batches + rhs_free]
    )


def _quantization(rule: Rule, layer: Layer, ranges: Ranges | None) -> Quantization:
    quantization = rule.quantization or Quantization()
    found = quantizers(rule, layer, ranges)
    if len(found) == 2:
        return Quantization(lhs=found[0], rhs=found[1])
    return dataclasses.replace(quantization, lhs=found[0])


def quantizers(rule: Rule, layer: Layer, ranges: Ranges | None) -> list[Quantizer]:
    """The quantizers of the operands that are activations, with their calibrated ranges."""
    return [
        _with_range(quantizer, layer, ranges, number)
        for number, quantizer in enumerate(activation_quantizers(rule, layer))
    ]


def _takes_range(quantizer: Quantizer) -> bool:
    return isinstance(quantizer, CurrentRange | MovingAverage)


def _with_range(
    quantizer: Quantizer, layer: Layer, ranges: Ranges | None, number: int
) -> Quantizer:
    if ranges is None or not isinstance(quantizer, CurrentRange | MovingAverage):
        return quantizer
    ends = jnp.asarray(ranges[layer.key], jnp.float32).reshape(-1, 2)[number]
    given = jax.tree.structure(GivenRange(0.0, 0.0, quantizer.symmetric))
    return jax.tree.unflatten(given, (ends[0], ends[1]))  # unchecked: may be traced
