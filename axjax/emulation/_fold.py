# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation as hardware has it: multiplied into the kernel before quantisation.

What follows a convolution is `y -> m y + b` for each output channel, as long as it adds,
subtracts, multiplies and divides by numbers that depend on the channel alone: a bias, the
constants of a normalisation that is frozen. `m` goes into the kernel, `b` is added in float.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Literal


@dataclasses.dataclass(frozen=True)
class Chain:
    """Affine operations that follow a layer, up to the last multiplication.

    Attributes:
        steps: numbers of their equations, in order.
        channel_axis: of the layer's result.
    """

    steps: tuple[int, ...]
    channel_axis: int


def affine_chains(
    jaxpr: Any, weights: Mapping[int, str], computed: Collection[Any]
) -> dict[int, Chain]:
    """The chains that follow layers; none for a layer where nothing is to be multiplied.

    Args:
        jaxpr: open.
        weights: by the number of each layer's equation, which operand is the weight.
        computed: variables that depend on activations, which no kernel can hold.
    """
    users: dict[Any, list[int]] = {}
    for number, eqn in enumerate(jaxpr.eqns):
        for atom in eqn.invars:
            if not isinstance(atom, Literal):
                users.setdefault(atom, []).append(number)
    results = {atom for atom in jaxpr.outvars if not isinstance(atom, Literal)}
    chains = {}
    for start, weight in weights.items():
        axis = _channel_axis(jaxpr.eqns[start], weight)
        if axis is None:
            continue
        steps: list[int] = []
        var, multiplied = jaxpr.eqns[start].outvars[0], 0
        while var not in results and len(users.get(var, ())) == 1:
            (number,) = users[var]
            eqn = jaxpr.eqns[number]
            if not _is_affine(eqn, var, axis, computed):
                break
            steps.append(number)
            var = eqn.outvars[0]
            if eqn.primitive.name in ("mul", "div"):
                multiplied = len(steps)
        if multiplied:
            chains[start] = Chain(tuple(steps[:multiplied]), axis)
    return chains


def _channel_axis(eqn: Any, weight: str) -> int | None:
    """Axis of the result that tells the weight's output channels apart."""
    if weight != "rhs":
        return None
    numbers = eqn.params["dimension_numbers"]
    if eqn.primitive.name == "conv_general_dilated":
        return numbers.out_spec[1]
    (_, contracted), (_, batch) = numbers
    if batch or len(eqn.invars[1].aval.shape) - len(contracted) != 1:
        return None
    return len(eqn.outvars[0].aval.shape) - 1


def _is_affine(eqn: Any, var: Any, axis: int, computed: Collection[Any]) -> bool:
    name = eqn.primitive.name
    if name == "convert_element_type":
        return jnp.issubdtype(eqn.outvars[0].aval.dtype, jnp.floating)
    if name not in ("add", "sub", "mul", "div") or eqn.outvars[0].aval.shape != var.aval.shape:
        return False
    if name == "div" and eqn.invars[0] is not var:
        return False
    others = [atom for atom in eqn.invars if atom is not var]
    if len(others) != 1:
        return False
    (other,) = others
    if isinstance(other, Literal):
        return jnp.ndim(other.val) == 0
    if other in computed:
        return False
    shape = other.aval.shape
    return all(size == 1 for a, size in enumerate(shape) if a != axis) and (
        not shape or shape[axis] in (1, var.aval.shape[axis])
    )


def follow(
    eqns: list[Any], chain: Chain, var: Any, read: Callable[[Any], Any]
) -> tuple[jax.Array, jax.Array, Any]:
    """`m` and `b` of a chain, float32 of one number or one for each channel, and its result.

    Args:
        eqns: of the jaxpr.
        chain: the chain.
        var: the layer's result.
        read: value of a variable or literal.
    """
    m, b = jnp.ones((1,), jnp.float32), jnp.zeros((1,), jnp.float32)
    for number in chain.steps:
        eqn = eqns[number]
        name = eqn.primitive.name
        if name != "convert_element_type":
            first = eqn.invars[0] is var
            other = jnp.asarray(read(eqn.invars[1 if first else 0]), jnp.float32).reshape(-1)
            if name == "mul":
                m, b = m * other, b * other
            elif name == "div":
                m, b = m / other, b / other
            elif name == "add":
                b = b + other
            elif first:
                b = b - other
            else:
                m, b = -m, other - b
        var = eqn.outvars[0]
    return m, b, var


def scaled_kernel(eqn: Any, kernel: jax.Array, m: jax.Array) -> jax.Array:
    """The kernel with every output channel multiplied by its number."""
    numbers = eqn.params["dimension_numbers"]
    if eqn.primitive.name == "conv_general_dilated":
        axis = numbers.rhs_spec[0]
    else:
        (axis,) = set(range(kernel.ndim)) - set(numbers[0][1])
    factor = lax.expand_dims(m, [a for a in range(kernel.ndim) if a != axis])
    return (kernel.astype(jnp.float32) * factor).astype(kernel.dtype)


def shifted(out: jax.Array, b: jax.Array, axis: int, dtype: Any) -> jax.Array:
    """The result with every channel's number added."""
    shift = lax.expand_dims(b, [a for a in range(out.ndim) if a != axis])
    return (out.astype(jnp.float32) + shift).astype(dtype)
