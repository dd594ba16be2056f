# SPDX-License-Identifier: Apache-2.0
"""JAX's primitives that hold jaxprs: how data flows through each, and how each is built anew.

A container is built by the public function that made it, `lax.scan` for a scan, so that
nothing depends on what JAX keeps inside. Containers without layers are not built anew at all.

Beside results a jaxpr gives *notes*, what a calibration sees of its layers: they leave a loop
as part of its state. Emulation takes no notes, and then nothing of this costs anything.
"""

from __future__ import annotations

import abc
import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from jax import lax
from jax.extend.core import ClosedJaxpr

Enter = Callable[..., Any]


class Notes(abc.ABC):
    """What is written down about the layers of a jaxpr: values that can be merged."""

    @abc.abstractmethod
    def empty(self, number: int) -> Any:
        """Notes of jaxpr `number` of the equation, before it ran."""

    @abc.abstractmethod
    def merge(self, first: Any, second: Any) -> Any:
        """Notes of two runs, or of two jaxprs, as one."""


class Container(abc.ABC):
    """One primitive that holds jaxprs."""

    @abc.abstractmethod
    def jaxprs(self, eqn: Any) -> list[Any]:
        """The jaxprs that it runs, closed."""

    @abc.abstractmethod
    def flow(self, eqn: Any, operands: list[Any], enter: Enter, merge: Enter) -> list[Any]:
        """Abstract values of the results.

        Args:
            eqn: the equation.
            operands: abstract values of its operands.
            enter: follows values through a jaxpr: `enter(number, jaxpr, values, final)`.
            merge: the abstract value of what may be any of several.
        """

    @abc.abstractmethod
    def build(
        self, eqn: Any, operands: list[Any], enter: Enter, notes: Notes | None
    ) -> tuple[list[Any], Any]:
        """Results and notes.

        Args:
            eqn: the equation.
            operands: its operands.
            enter: runs a jaxpr: `enter(number, values)` gives results and notes.
            notes: None where nothing has to come out of the container but its results.
        """

    def calls(self, eqn: Any) -> int:
        """How often the jaxprs run, if that is known."""
        return 1


def jaxprs_in(eqn: Any) -> Iterator[Any]:
    """All jaxprs among the parameters of any primitive, closed."""
    for value in eqn.params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if hasattr(item, "eqns"):
                yield _closed(item)


def _closed(jaxpr: Any) -> Any:
    return jaxpr if hasattr(jaxpr, "jaxpr") else ClosedJaxpr(jaxpr, ())


def rebind(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    """Runs an equation as it is."""
    out = eqn.primitive.bind(*operands, **eqn.primitive.get_bind_params(eqn.params))
    return list(out) if eqn.primitive.multiple_results else [out]


class _Call(Container):
    """A primitive that runs one jaxpr on its operands."""

    def __init__(self, parameter: str = "jaxpr") -> None:
        self.parameter = parameter

    def jaxprs(self, eqn):
        return [_closed(eqn.params[self.parameter])]

    def flow(self, eqn, operands, enter, merge):
        return enter(0, self.jaxprs(eqn)[0], operands, True)

    def build(self, eqn, operands, enter, notes):
        if notes is not None:
            return enter(0, operands)
        return self.wrap(eqn, lambda *args: enter(0, args)[0])(*operands), None

    def wrap(self, eqn: Any, run: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
        """The function that runs the jaxpr, as the primitive had it. Inline by default."""
        return run


class _Jit(_Call):
    """Compiled inside another function. Called by itself it runs inline: what is built anew
    for each call would be compiled anew for each."""

    def wrap(self, eqn, run):
        params = eqn.params
        shardings = {
            side: [None if "Unspecified" in repr(s) else s for s in params.get(side, ())]
            for side in ("in_shardings", "out_shardings")
        }
        sharded: dict[str, Any] = {
            side: kind(given)  # of the type that arguments, and that results come in
            for (side, given), kind in zip(shardings.items(), (tuple, list), strict=True)
            if any(sharding is not None for sharding in given)
        }
        run.__name__ = run.__qualname__ = params["name"]
        jitted = jax.jit(run, keep_unused=params["keep_unused"], **sharded)

        def inline_if_concrete(*operands: Any) -> list[Any]:
            traced = any(isinstance(operand, jax.core.Tracer) for operand in operands)
            return (jitted if traced or sharded else run)(*operands)

        return inline_if_concrete


class _Checkpoint(_Call):
    def wrap(self, eqn, run):
        if eqn.params["differentiated"]:  # the backward pass has begun: it saves nothing more
            return lambda *operands: run(*lax.optimization_barrier(operands))
        keep = {name: eqn.params[name] for name in ("prevent_cse", "policy")}
        return jax.checkpoint(run, **keep)


class _CustomJvp(_Call):
    """The result is emulated, the tangent is the function's own rule, exact."""

    def wrap(self, eqn, run):
        emulated = jax.custom_jvp(run)

        @emulated.defjvp
        def _(primals, tangents):
            _, out = jax.jvp(functools.partial(_rebound, eqn), primals, tangents)
            return emulated(*primals), out

        return emulated


class _CustomVjp(_Call):
    """The result is emulated; residuals and backward pass are the function's own, exact."""

    def wrap(self, eqn, run):
        emulated = jax.custom_vjp(run)

        def forward(*operands):
            _, pullback = jax.vjp(functools.partial(_rebound, eqn), *operands)
            return run(*operands), pullback

        emulated.defvjp(forward, lambda pullback, cotangents: pullback(cotangents))
        return emulated


def _rebound(eqn: Any, *operands: Any) -> list[Any]:
    return rebind(eqn, operands)


class _ShardMap(_Call):
    def build(self, eqn, operands, enter, notes):
        if notes is not None:
            raise ValueError(
                "calibrate: ranges are taken over all devices, got a layer inside shard_map. "
                "Calibrate the function without shard_map."
            )
        return super().build(eqn, operands, enter, notes)

    def wrap(self, eqn, run):
        params = eqn.params
        return jax.shard_map(
            run,
            mesh=params["mesh"],
            in_specs=tuple(params["in_specs"]),
            out_specs=list(params["out_specs"]),
            check_vma=params["check_vma"],
            axis_names=set(params["newly_manual_axes"]),
        )


class _Scan(Container):
    def calls(self, eqn):
        return eqn.params["length"]

    def jaxprs(self, eqn):
        return [_closed(eqn.params["jaxpr"])]

    def _sizes(self, eqn: Any) -> tuple[int, int]:
        """How many of the operands are constants, and how many the carry."""
        if "num_consts" in eqn.params:
            return eqn.params["num_consts"], eqn.params["num_carry"]
        constants, carry, _ = eqn.params["ft_in"].unpack()  # since JAX 0.12
        return len(constants), len(carry)

    def flow(self, eqn, operands, enter, merge):
        consts, carry, xs = _cut(operands, *self._sizes(eqn))
        run = lambda carry, final: enter(0, self.jaxprs(eqn)[0], [*consts, *carry, *xs], final)
        carry = _settled(carry, lambda c: run(c, False)[: len(carry)], merge)
        out = run(carry, True)
        return [*map(merge, zip(carry, out, strict=False)), *out[len(carry) :]]

    def build(self, eqn, operands, enter, notes):
        params = eqn.params
        consts, carry, xs = _cut(operands, *self._sizes(eqn))

        def body(state, xs):
            carry, noted = state
            out, new = enter(0, [*consts, *carry, *xs])
            if notes is not None:
                noted = notes.merge(noted, new)
            return (out[: len(carry)], noted), out[len(carry) :]

        start = (carry, None if notes is None else notes.empty(0))
        length, reverse, unroll = params["length"], params["reverse"], params["unroll"]
        (carry, noted), ys = lax.scan(body, start, xs, length, reverse, unroll)
        return [*carry, *ys], noted


class _While(Container):
    def jaxprs(self, eqn):
        return [_closed(eqn.params["cond_jaxpr"]), _closed(eqn.params["body_jaxpr"])]

    def _cut(self, eqn: Any, operands: list[Any]) -> tuple[list[Any], ...]:
        return _cut(operands, eqn.params["cond_nconsts"], eqn.params["body_nconsts"])

    def flow(self, eqn, operands, enter, merge):
        cond_consts, consts, carry = self._cut(eqn, operands)
        cond, body = self.jaxprs(eqn)
        carry = _settled(carry, lambda c: enter(1, body, [*consts, *c], False), merge)
        enter(0, cond, [*cond_consts, *carry], True)
        out = enter(1, body, [*consts, *carry], True)
        return [merge(pair) for pair in zip(carry, out, strict=True)]

    def build(self, eqn, operands, enter, notes):
        cond_consts, consts, carry = self._cut(eqn, operands)

        def body(state):
            carry, noted = state
            carry, new = enter(1, [*consts, *carry])
            if notes is not None:
                noted = with_condition(carry, notes.merge(noted, new))
            return carry, noted

        def goes_on(state):
            return enter(0, [*cond_consts, *state[0]])[0][0]

        def with_condition(carry, noted):  # a condition gives no notes: it runs again for them
            _, new = enter(0, [*cond_consts, *carry])
            return notes.merge(noted, new)

        noted = None
        if notes is not None:
            noted = with_condition(carry, notes.merge(notes.empty(0), notes.empty(1)))
        return lax.while_loop(goes_on, body, (carry, noted))


class _Cond(Container):
    def jaxprs(self, eqn):
        return [_closed(branch) for branch in eqn.params["branches"]]

    def flow(self, eqn, operands, enter, merge):
        index, *inputs = operands
        outs = [enter(n, branch, inputs, True) for n, branch in enumerate(self.jaxprs(eqn))]
        return [merge((index, *results)) for results in zip(*outs, strict=True)]

    def build(self, eqn, operands, enter, notes):
        index, *inputs = operands
        count = len(eqn.params["branches"])
        empty = None
        if notes is not None:
            empty = functools.reduce(notes.merge, map(notes.empty, range(count)))

        def branch(number: int) -> Callable[..., Any]:
            def run(*values):
                out, new = enter(number, values)
                return out, None if notes is None else notes.merge(empty, new)

            return run

        return lax.switch(index, [branch(number) for number in range(count)], *inputs)


def _cut(values: Sequence[Any], first: int, second: int) -> tuple[list[Any], ...]:
    values = list(values)
    return values[:first], values[first : first + second], values[first + second :]


def _settled(carry: list[Any], step: Callable[[list[Any]], list[Any]], merge: Enter) -> Any:
    """The carry of a loop once further iterations tell nothing new."""
    while True:
        new = [merge(pair) for pair in zip(carry, step(carry), strict=True)]
        if all(map(operator.eq, new, carry)):
            return carry
        carry = new


CONTAINERS: dict[str, Container] = {
    "jit": _Jit(),
    "pjit": _Jit(),
    "closed_call": _Call("call_jaxpr"),
    "core_call": _Call("call_jaxpr"),
    "checkpoint": _Checkpoint(),
    "remat": _Checkpoint(),
    "remat2": _Checkpoint(),
    "custom_jvp_call": _CustomJvp("call_jaxpr"),
    "custom_vjp_call": _CustomVjp("call_jaxpr"),
    "custom_vmap_call": _Call("call"),  # batched by what is inside
    "shard_map": _ShardMap(),
    "scan": _Scan(),
    "while": _While(),
    "cond": _Cond(),
}
"""Every primitive that can be entered, by its name."""
