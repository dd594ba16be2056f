# SPDX-License-Identifier: Apache-2.0
"""Rule: which layers of a network run on which multiplier."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Sequence
from typing import Any

import jax

from axjax._multiplier import Multiplier
from axjax._quantization import Quantization
from axjax.emulation._layer import KINDS, WEIGHTS, Layer, Position
from axjax.engines import ENGINES


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["multiplier", "quantization"],
    meta_fields=["pattern", "engine", "kind", "kernel_shape", "index", "weight"],
)
@dataclasses.dataclass(frozen=True)
class Rule:
    """Which layers run on which multiplier. The first rule that matches a layer decides.

    A layer is a floating-point `conv_general_dilated` or `dot_general` of the function;
    `axjax.layers` lists them. A rule matches if everything that it names does. A layer that
    no rule matches stays exact.

    A pytree with the multiplier and the quantisation as its leaves: rules can be arguments of
    a jitted function, which then runs with other multipliers of the same kind without
    compiling again, and `jax.vmap` runs over rules whose multipliers are stacked.

    Args:
        pattern: regular expression for the whole of the layer's path (`re.fullmatch`).
        multiplier: the approximate multiplier. None leaves the layer exact.
        quantization: how operands become codes, `Quantization()` by default. Ranges that were
            calibrated take the place of `CurrentRange` and `MovingAverage`.
        engine: "auto", or a name from `axjax.ENGINES`.
        kind: "conv", "depthwise", "dense" (a product with a weight) or "attention" (a product
            of two activations), or several of these.
        kernel_shape: shape of the second operand, as lax has it; None stands for any size.
        index: number of the layer in the trace, from 0, or several.
        weight: which operand of the product is the weight, "lhs" or "rhs", or "none" if both
            are activations; by default found from the flow of data, as `axjax.emulate` says.
            Applies to dot products.
    Raises:
        ValueError: for a pattern that is no regular expression, an unknown kind, engine or
            weight.

    >>> import axjax
    >>> mul = axjax.load("mul8s_trunc4")
    >>> rules = [axjax.Rule(".*/conv_init", None), axjax.Rule(".*", mul, kind="conv")]
    """

    pattern: str
    multiplier: Multiplier | None
    quantization: Quantization | None = None
    engine: str = "auto"
    kind: str | Sequence[str] | None = None
    kernel_shape: Sequence[int | None] | None = None
    index: int | Sequence[int] | None = None
    weight: str | None = None

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except (re.error, TypeError) as error:
            raise ValueError(
                f"Rule: a pattern is a regular expression, got pattern={self.pattern!r}: "
                f"{error}. Escape characters that are meant as they stand (re.escape)."
            ) from error
        _check_names("kind", self.kind, KINDS)
        _check_names("weight", self.weight, WEIGHTS)
        _check_names("engine", self.engine, ("auto", *ENGINES))
        for field in ("kind", "kernel_shape", "index"):  # meta fields have to be hashable
            value = getattr(self, field)
            if isinstance(value, Iterable) and not isinstance(value, str):
                object.__setattr__(self, field, tuple(value))

    def matches(self, layer: Layer) -> bool:
        """Whether the rule applies to a layer."""
        return (
            re.fullmatch(self.pattern, layer.path) is not None
            and _is_among(layer.kind, self.kind)
            and _is_among(layer.index, self.index)
            and _fits(layer.rhs_shape, self.kernel_shape)
        )


def match(
    function: str, rules: Sequence[Rule], layers: Sequence[Layer]
) -> list[tuple[Layer, int | None]]:
    """The layers, each with the number of the rule that decides it, None where none does.

    Where the rule says which operand is the weight, so does the layer that is returned.

    Raises:
        TypeError: for something else than rules.
        ValueError: for a rule that matches no layer.
    """
    check_rules(function, rules)
    for number, rule in enumerate(rules):
        if not any(rule.matches(layer) for layer in layers):
            paths = ", ".join(repr(layer.path) for layer in layers[:8]) or "none"
            more = f" and {len(layers) - 8} more" if len(layers) > 8 else ""
            raise ValueError(
                f"{function}: a rule matches a layer, got none for rules[{number}]="
                f"{describe(rule)}. Paths are matched as a whole; those of this function are "
                f"{paths}{more}. axjax.layers lists them."
            )
    return [_decided(rules, layer) for layer in layers]


def emulated_layers(
    function: str, rules: Sequence[Rule], layers: Sequence[Layer]
) -> dict[Position, tuple[Layer, Rule]]:
    """The layers that run on a multiplier, with their rules, by their position."""
    return {
        layer.position: (layer, rules[number])
        for layer, number in match(function, rules, layers)
        if number is not None and rules[number].multiplier is not None
    }


def _decided(rules: Sequence[Rule], layer: Layer) -> tuple[Layer, int | None]:
    for number, rule in enumerate(rules):
        if rule.matches(layer):
            return layer.with_weight(rule.weight), number
    return layer, None


def check_rules(function: str, rules: Any) -> None:
    """Raises TypeError unless `rules` is a sequence of rules."""
    if not isinstance(rules, Sequence) or not all(isinstance(rule, Rule) for rule in rules):
        raise TypeError(
            f"{function}: rules are a list of axjax.Rule, got rules={rules!r}. "
            "Pass [axjax.Rule('.*', multiplier)]."
        )


def describe(rule: Rule) -> str:
    """The rule as a person writes it, without what is left at its default."""
    fields = [repr(rule.pattern), str(rule.multiplier)]
    for field in dataclasses.fields(rule)[2:]:
        value = getattr(rule, field.name)
        if value != field.default:
            fields.append(f"{field.name}={value!r}")
    return f"Rule({', '.join(fields)})"


def _check_names(field: str, value: Any, known: Sequence[str]) -> None:
    given = [value] if value is None or isinstance(value, str) else list(value)
    if any(name is not None and name not in known for name in given):
        raise ValueError(
            f"Rule: {field} is one of {', '.join(known)}, got {field}={value!r}. "
            "Pass one of these."
        )


def _is_among(value: Any, wanted: Any) -> bool:
    return wanted is None or (value in wanted if isinstance(wanted, tuple) else value == wanted)


def _fits(shape: Sequence[int], wanted: Sequence[int | None] | None) -> bool:
    if wanted is None:
        return True
    return len(shape) == len(wanted) and all(
        want is None or want == size for size, want in zip(shape, wanted, strict=True)
    )
