# SPDX-License-Identifier: Apache-2.0
"""A function's trace: arrays become its inputs, everything else stays what it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np


@dataclasses.dataclass(frozen=True)
class Trace:
    """What a call of a function computes.

    Attributes:
        jaxpr: the computation; its inputs are the arrays among the arguments.
        inputs: these arrays.
        names: the place of each in the arguments: "params/Dense_0/kernel".
        result: puts the function's result together from the computation's.
    """

    jaxpr: Any
    inputs: list[Any]
    names: list[str]
    result: Callable[[list[Any]], Any]


def trace(
    function: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Trace:
    """Traces a call.

    Python numbers, strings and whatever else is no array keep their values, as in a call
    without `jit`. A callable that holds arrays, such as a model in nnx, is an input too.

    Raises:
        ValueError: if the function changes an argument in place: the change would be lost.
    """
    callee = None if _is_plain(fn) else fn
    keyed, structure = jax.tree_util.tree_flatten_with_path((callee, args, kwargs))
    is_input = [isinstance(leaf, jax.Array | np.ndarray | np.generic) for _, leaf in keyed]
    inputs = [leaf for (_, leaf), yes in zip(keyed, is_input, strict=True) if yes]
    names = [_name(path) for (path, _), yes in zip(keyed, is_input, strict=True) if yes]
    restore: list[Callable[[list[Any]], Any]] = []

    def on_arrays(*arrays: Any) -> list[Any]:
        given = iter(arrays)
        leaves = [
            next(given) if yes else leaf for (_, leaf), yes in zip(keyed, is_input, strict=True)
        ]
        callee, args, kwargs = jax.tree.unflatten(structure, leaves)
        out = (fn if callee is None else callee)(*args, **kwargs)
        _check_unchanged(function, (callee, args, kwargs), leaves, keyed)
        arrays_out, merge = _split(out)
        restore.append(merge)
        return arrays_out

    jaxpr = jax.make_jaxpr(on_arrays)(*inputs)
    return Trace(jaxpr, inputs, names, restore[-1])


def _is_plain(fn: Any) -> bool:
    """Whether a callable is opaque to JAX: a function, a bound method, a linen module."""
    leaves = jax.tree.leaves(fn)
    return len(leaves) == 1 and leaves[0] is fn


def _split(tree: Any) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    leaves, structure = jax.tree.flatten(tree)
    is_array = [isinstance(leaf, jax.Array | np.ndarray | np.generic) for leaf in leaves]
    arrays = [leaf for leaf, yes in zip(leaves, is_array, strict=True) if yes]
    others = [None if yes else leaf for leaf, yes in zip(leaves, is_array, strict=True)]

    def merge(values: list[Any]) -> Any:
        given = iter(values)
        return jax.tree.unflatten(
            structure,
            [
                next(given) if yes else other
                for other, yes in zip(others, is_array, strict=True)
            ],
        )

    return arrays, merge


def _check_unchanged(function: str, arguments: Any, leaves: list[Any], keyed: Any) -> None:
    """Raises if an object among the arguments holds another array than before.

    A dictionary or list of the caller's was rebuilt for the call, and may be changed as under
    `jit`; the state of a model may not.
    """
    changed = jax.tree.leaves(arguments)
    if len(changed) != len(leaves):
        return
    for new, old, (path, _) in zip(changed, leaves, keyed, strict=True):
        if new is not old and any(hasattr(key, "name") for key in path):
            raise ValueError(
                f"{function}: the function leaves its arguments as they are, got a change of "
                f"{_name(path)!r} in place, which would be lost. Call model.eval() first, or "
                "split the model (flax.nnx.split) and return its new state."
            )


def _name(path: Any) -> str:
    """Place of an array: the number of the argument left out, as one reads it."""
    inner = path[1:] if path[0].idx == 0 else path[2:]
    parts = jax.tree_util.keystr(inner, simple=True, separator="/").split("/")
    return "/".join(part for part in parts if part)
