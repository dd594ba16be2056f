# SPDX-License-Identifier: Apache-2.0
"""The products of two activations in Flax's attention layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from axjax._multiplier import Multiplier
from axjax._quantization import CurrentRange, MovingAverage, Quantization
from axjax.emulation import Rule, emulate


@dataclasses.dataclass(frozen=True)
class AttentionProduct:
    """Gives an `einsum` on approximate hardware. Both of its operands are activations.

    A type of its own tells it from the caller's functions when a layer is cloned.
    """

    rule: Rule

    def __call__(self) -> Callable[..., jax.Array]:
        def einsum(subscripts: str, *operands: jax.Array) -> jax.Array:
            return emulate(lambda *o: jnp.einsum(subscripts, *o), [self.rule])(*operands)

        return einsum


def attention_product(layer: Any) -> AttentionProduct | None:
    """What a layer's attention multiplies with; None where it stays exact."""
    if layer.multiplier is None:
        return None
    return AttentionProduct(attention_rule(layer.multiplier, layer.quantization, layer.engine))


def attention_rule(
    multiplier: Multiplier, quantization: Quantization | None, engine: str
) -> Rule:
    """The rule for products of two activations, whatever is known of where they come from."""
    if quantization is not None and isinstance(quantization.lhs, MovingAverage):
        current = CurrentRange(symmetric=quantization.lhs.symmetric)
        quantization = dataclasses.replace(quantization, lhs=current)
    return Rule(".*", multiplier, quantization, engine, weight="none")
