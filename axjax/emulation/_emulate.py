# SPDX-License-Identifier: Apache-2.0
"""emulate: a whole function on approximate hardware, without a line of it changed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from axjax._code_counts import counted_as
from axjax.emulation._find import find
from axjax.emulation._interpreter import Interpreter
from axjax.emulation._product import Ranges, check_layers, emulated
from axjax.emulation._rule import Rule, check_rules, emulated_layers
from axjax.emulation._trace import trace


def emulate(
    fn: Callable[..., Any],
    rules: Sequence[Rule],
    ranges: Ranges | None = None,
    *,
    fold_batch_norm: bool = False,
) -> Callable[..., Any]:
    """The function on approximate hardware: its convolutions and products follow the rules.

    A call traces `fn` and runs the trace with `axjax.conv_general_dilated` and
    `axjax.dot_general` in the place of lax's. Layers inside `jit`, `scan`, `while`, `cond`,
    `checkpoint`, `custom_jvp`, `custom_vjp`, `vmap` and `shard_map` are replaced where they
    stand. The result is an ordinary JAX function: jit it, differentiate it, map it, shard it.
    Gradients are straight-through. Called without `jit`, it traces `fn` anew each time.

    *Which operand is the weight.* A convolution's kernel is its second operand. In a product
    an operand that depends on the result of an earlier layer is an activation, the other the
    weight. If both do, both are activations, as in attention; if neither does, as in a first
    layer, the second operand is the weight. `Rule(weight=...)` decides otherwise.

    *Own derivatives.* A function with a `custom_vjp` or `custom_jvp` rule keeps it: its result
    is emulated, and its residuals and derivative are what its own rule computes, exactly.

    Layers of a backward pass, where `fn` itself takes a gradient, stay exact: to train on the
    hardware, take the gradient of what `emulate` returns.

    Args:
        fn: any function of arrays: `model.apply` in linen, a model or a function that takes one
            in nnx, a function in plain JAX. It leaves its arguments unchanged.
        rules: the first one that matches a layer decides.
        ranges: of activations by layer, as `axjax.calibrate` returns them. Without them each
            call's activations are quantised by their own range.
        fold_batch_norm: multiply what follows a layer channel by channel, such as a frozen
            batch normalisation, into its kernel before that is quantised, as hardware does.
    Returns:
        A function of `fn`'s arguments that returns what `fn` returns. It raises ValueError for
        a rule that matches nothing, a layer without a range or too deep for int32, and a
        primitive that holds products and cannot be entered.

    >>> import axjax, jax, jax.numpy as jnp
    >>> def network(params, x):
    ...     return jax.nn.relu(x @ params["hidden"]) @ params["out"]
    >>> params = {"hidden": jnp.ones((4, 8)), "out": jnp.ones((8, 2))}
    >>> rules = [axjax.Rule("out", None), axjax.Rule(".*", axjax.load("mul8s_trunc4"))]
    >>> on_hardware = jax.jit(axjax.emulate(network, rules))
    >>> on_hardware(params, jnp.ones((3, 4))).shape
    (3, 2)
    """
    check_rules("emulate", rules)

    # The name, since `jit` shows it; not `__wrapped__`, by which JAX reads fn's signature.
    @functools.wraps(fn, assigned=("__name__", "__qualname__", "__doc__"), updated=())
    def on_hardware(*args: Any, **kwargs: Any) -> Any:
        traced = trace("emulate", fn, args, kwargs)
        found = find(traced)
        chosen = emulated_layers("emulate", rules, found.layers)
        check_layers("emulate", list(chosen.values()), ranges)

        def apply(layer: Any, eqn: Any, lhs: Any, rhs: Any) -> tuple[Any, None]:
            _, rule = chosen[layer.position]
            with counted_as(layer.key):
                return emulated("emulate", rule, layer, ranges, eqn, lhs, rhs), None

        layers = [layer for layer, _ in chosen.values()]
        interpreter = Interpreter(found, layers, apply, fold=fold_batch_norm)
        out, _ = interpreter.run(traced)
        return out

    del on_hardware.__wrapped__
    return on_hardware
