# SPDX-License-Identifier: Apache-2.0
"""Layer: one operation of a traced function that hardware could take over."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax.numpy as jnp

KINDS = ("conv", "depthwise", "dense", "attention", "opaque")
WEIGHTS = ("lhs", "rhs", "none")

Position = tuple[int, ...]
"""Where an equation stands: numbers of equations and of jaxprs in them, outermost first."""


@dataclasses.dataclass(frozen=True)
class Layer:
    """One operation of a traced function that hardware could take over.

    Attributes:
        key: the path, followed by #1, #2, ... where it occurs again. Ranges go by it.
        path: what rules match: the names that Flax, or `jax.named_scope`, put around the
            operation; where there are none, the place of its weight among the arguments;
            otherwise the name of the operation.
        op: JAX's primitive.
        kind: "conv", "depthwise", "dense", "attention", or "opaque": a primitive that holds
            products and cannot be entered.
        index: number in the trace, from 0.
        lhs_shape, rhs_shape, out_shape: of the operation.
        dtype: of the result.
        weight: which operand is the weight: "lhs", "rhs", or "none" for two activations.
        out_channels: outputs that each input goes into, in all groups.
        groups: feature groups of a convolution, batch elements of a product.
        depth: products that add up to an output.
        calls: how often it runs in a call of the function. Iterations of a `while` are not
            known and count as one.
        position: where it stands in the trace.
    """

    key: str
    path: str
    op: str
    kind: str
    index: int
    lhs_shape: tuple[int, ...]
    rhs_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    dtype: str
    weight: str
    out_channels: int
    groups: int
    depth: int
    calls: int
    position: Position = dataclasses.field(repr=False)

    def with_weight(self, weight: str | None) -> Layer:
        """The layer with another operand as its weight, if it is a product."""
        if weight is None or self.op != "dot_general":
            return self
        kind = "attention" if weight == "none" else "dense"
        return dataclasses.replace(self, weight=weight, kind=kind)

    @property
    def macs(self) -> int:
        """Multiply-accumulates in a call of the function."""
        return math.prod(self.out_shape) * self.depth * self.calls


def is_layer(eqn: Any) -> bool:
    """Whether an equation is a convolution or product of real numbers.

    Integers are no activations: they are indices, masks, or another emulation's codes.
    """
    return eqn.primitive.name in ("conv_general_dilated", "dot_general") and all(
        jnp.issubdtype(var.aval.dtype, jnp.floating) for var in (*eqn.invars, *eqn.outvars)
    )


def depth_of(eqn: Any) -> int:
    """Products that add up to an output of a convolution or product."""
    lhs, rhs = (var.aval.shape for var in eqn.invars)
    numbers = eqn.params["dimension_numbers"]
    if eqn.primitive.name == "dot_general":
        return math.prod(lhs[axis] for axis in numbers[0][0])
    return math.prod(rhs[axis] for axis in numbers.rhs_spec[1:])


def channels_of(eqn: Any, weight: str) -> tuple[int, int]:
    """Output channels in all groups, and groups, of a convolution or product."""
    numbers = eqn.params["dimension_numbers"]
    if eqn.primitive.name == "conv_general_dilated":
        channels = eqn.invars[1].aval.shape[numbers.rhs_spec[0]]
        return channels, eqn.params["feature_group_count"] * eqn.params["batch_group_count"]
    side = 0 if weight == "lhs" else 1
    shape, (contracted, batch) = eqn.invars[side].aval.shape, numbers
    free = [n for axis, n in enumerate(shape) if axis not in (*contracted[side], *batch[side])]
    groups = math.prod(shape[axis] for axis in batch[side])
    return groups * math.prod(free), groups


def kind_of(eqn: Any, weight: str) -> str:
    """Kind of a convolution or product."""
    if eqn.primitive.name == "dot_general":
        return "attention" if weight == "none" else "dense"
    channels_per_group = eqn.invars[1].aval.shape[eqn.params["dimension_numbers"].rhs_spec[1]]
    depthwise = eqn.params["feature_group_count"] > 1 and channels_per_group == 1
    return "depthwise" if depthwise else "conv"
