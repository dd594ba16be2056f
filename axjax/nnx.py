# SPDX-License-Identifier: Apache-2.0
"""flax.nnx's layers on approximate hardware.

Constructors, parameters and initial values are Flax's own, so that a checkpoint loads
unchanged. What axjax adds is keyword-only: `multiplier`, `quantization` and `engine`.

With `Quantization(lhs=MovingAverage())` a layer keeps the range of its activations in an
`ActivationRange` variable. It moves in training, from the first batch on, and stays as it is
after `model.eval()` and in `nnx.view(model, use_running_average=True)`, as the statistics of
`nnx.BatchNorm` do. A batch with NaN or infinite values leaves it: NaN makes that batch's result
NaN, infinities saturate.

`nnx.view(model, multiplier=other)` is the model on another multiplier. Inside a jitted function
that takes the multiplier as an argument, one program serves them all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from axjax._attention import attention_rule
from axjax._callers_function import keywords_of
from axjax._conv import conv_general_dilated
from axjax._dot import dot_general
from axjax._multiplier import Multiplier
from axjax._quantization import MovingAverage, Quantization
from axjax.emulation import Layer, Rule, emulate
from axjax.emulation._rule import match

__all__ = [
    "ActivationRange",
    "Conv",
    "ConvTranspose",
    "Linear",
    "LinearGeneral",
    "MultiHeadAttention",
    "convert",
]


class ActivationRange(nnx.Variable):
    """Least and greatest activation so far: float32 `(2,)`, NaN before the first batch."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Hardware:
    """What a layer runs on. Opaque to nnx: the layer's state stays that of Flax's layer.

    Another multiplier is another model to `nnx.jit`, which then compiles again. Multipliers
    compare by identity, quantizations by value unless they hold arrays.
    """

    multiplier: Multiplier | None
    quantization: Quantization | None
    engine: str

    def _identity(self) -> tuple[Any, ...]:
        quantization: Any = self.quantization
        try:
            hash(quantization)
        except TypeError:  # ranges that are arrays
            quantization = id(quantization)
        return id(self.multiplier), quantization, self.engine

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hardware) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())


class _Emulation:
    """What the layers have in common: the emulated operation in place of lax's.

    Stands before Flax's layer among the bases, whose constructor it extends.
    """

    hardware: _Hardware
    _given: Callable[..., Any]

    def __init__(
        self,
        *args: Any,
        multiplier: Multiplier | None = None,
        quantization: Quantization | None = None,
        engine: str = "auto",
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._set_hardware(multiplier, quantization, engine)

    def _set_hardware(
        self, multiplier: Multiplier | None, quantization: Quantization | None, engine: str
    ) -> None:
        self.hardware = _Hardware(multiplier, quantization, engine)
        if multiplier is None or hasattr(self, "activation_range"):
            return
        if quantization is not None and isinstance(quantization.lhs, MovingAverage):
            self.activation_range = ActivationRange(jnp.full(2, jnp.nan, jnp.float32))
            self.use_running_average = False  # set by model.eval() and model.train()

    @property
    def multiplier(self) -> Multiplier | None:
        """The approximate multiplier."""
        return self.hardware.multiplier

    def set_multiplier(self, multiplier: Multiplier | None) -> None:
        """Runs the layer on another multiplier. (nnx refuses to set an attribute to one.)"""
        self._set_hardware(multiplier, self.hardware.quantization, self.hardware.engine)

    def set_view(self, multiplier: Any = ..., use_running_average: bool | None = None) -> None:
        """Called by `nnx.view` on the layer of the view.

        Args:
            multiplier: another one, or None for the exact layer.
            use_running_average: whether a moving range stays as it is.
        """
        if multiplier is not ...:
            self.set_multiplier(multiplier)
        if use_running_average is not None and hasattr(self, "activation_range"):
            self.use_running_average = use_running_average

    def _emulated(
        self, original: Callable[..., Any], function: Callable[..., Any]
    ) -> Callable[..., Any]:
        """What the layer runs: `function`, or the caller's if it is not lax's `original`."""
        bound = keywords_of(original, self._given)
        if self.multiplier is None or bound is None:
            return self._given

        def emulated(lhs: jax.Array, *args: Any, **keywords: Any) -> jax.Array:
            return function(
                lhs,
                *args,
                multiplier=self.multiplier,
                quantization=self._quantization(lhs),
                engine=self.hardware.engine,
                **bound | keywords,
            )

        return emulated

    def _quantization(self, inputs: jax.Array) -> Quantization | None:
        quantization = self.hardware.quantization
        if quantization is None or not isinstance(quantization.lhs, MovingAverage):
            return quantization
        low, high = self.activation_range[...]
        if not self.use_running_average:
            low, high = quantization.lhs.update(low, high, inputs)
            self.activation_range[...] = jnp.stack([low, high])
        elif not isinstance(low, jax.core.Tracer) and np.isnan(low):
            raise ValueError(
                f"{type(self).__name__}: a moving average needs a batch before it is frozen, "
                "got no batch before eval(). Call the model on training data first."
            )
        return dataclasses.replace(quantization, lhs=quantization.lhs.freeze(low, high))


class Conv(_Emulation, nnx.Conv):
    """`flax.nnx.Conv`, its products taken from a multiplier's table.

    Args:
        *args, **kwargs: those of `flax.nnx.Conv`. A `conv_general_dilated` of the caller's
            other than lax's goes before the multiplier.
        multiplier: the approximate multiplier. None is exactly Flax's layer.
        quantization: how inputs and kernel become codes, `Quantization()` by default.
        engine: "auto", or a name from `axjax.ENGINES`.

    >>> import axjax, jax.numpy as jnp
    >>> from axjax import nnx as axnnx
    >>> from flax import nnx
    >>> mul = axjax.load("mul8u_trunc4")
    >>> layer = axnnx.Conv(3, 8, (3, 3), multiplier=mul, rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((2, 5, 5, 3))).shape
    (2, 5, 5, 8)
    """

    # Flax stores the caller's function under this name and calls what stands there.
    @property
    def conv_general_dilated(self) -> Callable[..., Any]:
        """The convolution that the layer runs."""
        return self._emulated(lax.conv_general_dilated, conv_general_dilated)

    @conv_general_dilated.setter
    def conv_general_dilated(self, function: Callable[..., Any]) -> None:
        self._given = function


class Linear(_Emulation, nnx.Linear):
    """`flax.nnx.Linear`, its products taken from a multiplier's table.

    Args:
        *args, **kwargs: those of `flax.nnx.Linear`. A `dot_general` of the caller's other
            than lax's goes before the multiplier.
        multiplier: the approximate multiplier. None is exactly Flax's layer.
        quantization: how inputs and kernel become codes, `Quantization()` by default.
        engine: "auto", or a name from `axjax.ENGINES`.
    """

    @property
    def dot_general(self) -> Callable[..., Any]:
        """The product that the layer runs."""
        return self._emulated(lax.dot_general, dot_general)

    @dot_general.setter
    def dot_general(self, function: Callable[..., Any]) -> None:
        self._given = function


class LinearGeneral(_Emulation, nnx.LinearGeneral):
    """`flax.nnx.LinearGeneral`, its products taken from a multiplier's table.

    Args:
        *args, **kwargs: those of `flax.nnx.LinearGeneral`. A `dot_general` of the caller's
            other than lax's, or a `dot_general_cls`, goes before the multiplier.
        multiplier, quantization, engine: as in `Linear`.
    """

    dot_general = Linear.dot_general


class ConvTranspose(_Emulation, nnx.ConvTranspose):
    """`flax.nnx.ConvTranspose`, its products taken from a multiplier's table.

    The zeros between pixels go through the table, as in hardware: (7) of docs/arithmetic.md.

    Args:
        *args, **kwargs: those of `flax.nnx.ConvTranspose`.
        multiplier, quantization, engine: as in `Conv`.
    """

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """As Flax's layer."""
        layer = super().__call__
        if self.multiplier is None:
            return layer(inputs)
        # Flax's layer calls lax by its name: what it computes is a function to emulate.
        rule = Rule(".*", self.multiplier, self._quantization(inputs), self.hardware.engine)
        return emulate(lambda inputs: layer(inputs), [rule])(inputs)


class MultiHeadAttention(_Emulation, nnx.MultiHeadAttention):
    """`flax.nnx.MultiHeadAttention`, all its products taken from a multiplier's table.

    Queries, keys, values and the output are products with weights; scores, and values weighted
    by them, are products of two activations. With a `MovingAverage` the latter are quantised
    by the range of the batch at hand. (`axjax.calibrate` finds ranges for both operands.)

    Args:
        *args, **kwargs: those of `flax.nnx.MultiHeadAttention`. An `attention_fn` of the
            caller's runs as it is.
        multiplier, quantization, engine: as in `Linear`.
    """

    def _set_hardware(
        self, multiplier: Multiplier | None, quantization: Quantization | None, engine: str
    ) -> None:
        self.hardware = _Hardware(multiplier, quantization, engine)
        for name in ("query", "key", "value", "out"):
            setattr(self, name, _on_hardware(getattr(self, name), self.hardware))

    def set_view(  # type: ignore[override]  # Flax's two bases agree on nothing but the name
        self,
        deterministic: bool | None = None,
        decode: bool | None = None,
        batch_size: Any = None,
        max_length: int | None = None,
        multiplier: Any = ...,
    ) -> None:
        """Called by `nnx.view`: as Flax's layer, and `multiplier` as the other layers."""
        nnx.MultiHeadAttention.set_view(self, deterministic, decode, batch_size, max_length)
        if multiplier is not ...:
            self.set_multiplier(multiplier)

    @property
    def attention_fn(self) -> Callable[..., Any]:
        """The attention that the layer runs."""
        if self.multiplier is None or self._given is not nnx.dot_product_attention:
            return self._given
        hardware = self.hardware
        rule = attention_rule(self.multiplier, hardware.quantization, hardware.engine)

        def attention(*args: Any, module: Any = None, **kwargs: Any) -> Any:
            if module is not None:
                raise ValueError(
                    "MultiHeadAttention: emulated attention keeps its weights to itself, got "
                    "sow_weights=True. Pass sow_weights=False."
                )
            return emulate(nnx.dot_product_attention, [rule])(*args, **kwargs)

        return attention

    @attention_fn.setter
    def attention_fn(self, function: Callable[..., Any]) -> None:
        self._given = function


_CLASSES: dict[type, tuple[type[Any], str | None]] = {
    nnx.Conv: (Conv, "conv_general_dilated"),
    nnx.ConvTranspose: (ConvTranspose, None),
    nnx.Linear: (Linear, "dot_general"),
    nnx.LinearGeneral: (LinearGeneral, "dot_general"),
    nnx.MultiHeadAttention: (MultiHeadAttention, "attention_fn"),
}
"""Ours for each of Flax's layers, and the attribute that is a property of ours."""


def convert(model: nnx.Module, rules: Sequence[Rule]) -> nnx.Module:
    """Puts the layers of a live model on approximate hardware, in place.

    Layers of `axjax.nnx` take the places of Flax's, with the same variables: optimisers and
    checkpoints stay valid. The first rule that matches a layer decides; layers without one
    stay as they are, and `Rule(..., None)` makes a layer exact again.

    Args:
        model: any nnx model.
        rules: matched against a layer's path in the model ("body/0"), its kind ("conv",
            "depthwise", "dense"; "attention" for the products of two activations in an
            attention layer), its kernel's shape and its number.
    Returns:
        The model; if it is a single layer of Flax's, the one that takes its place.
    Raises:
        ValueError: for a rule that matches no layer.

    >>> import axjax
    >>> from flax import nnx
    >>> model = nnx.Sequential(nnx.Linear(4, 8, rngs=nnx.Rngs(0)), nnx.relu)
    >>> rules = [axjax.Rule("layers/0", axjax.load("mul8u_trunc4"))]
    >>> axjax.nnx.convert(model, rules) is model
    True
    >>> type(model.layers[0]).__module__
    'axjax.nnx'
    """
    found = [
        (layer, _describe(layer, "/".join(map(str, path)), number))
        for number, (path, layer) in enumerate(
            (path, module)
            for path, module in nnx.iter_modules(model)
            if type(module) in _CLASSES or isinstance(module, _Emulation)
        )
    ]
    decided = match("convert", rules, [description for _, description in found])
    new: dict[int, Any] = {}
    for (layer, _), (_, number) in zip(found, decided, strict=True):
        if number is not None:
            rule = rules[number]
            hardware = _Hardware(rule.multiplier, rule.quantization, rule.engine)
            # The projections of an attention layer are layers too, and have rules of their own.
            alone = isinstance(layer, nnx.MultiHeadAttention)
            new[id(layer)] = _on_hardware(layer, hardware, alone=alone)
    for node in [node for _, node in nnx.iter_graph((model, list(new.values())))]:
        for name, child in list(getattr(node, "__dict__", {}).items()):
            if id(child) in new and new[id(child)] is not child:
                setattr(node, name, new[id(child)])
    return new.get(id(model), model)


def _describe(layer: Any, path: str, number: int) -> Layer:
    """A layer of a model, as rules see it."""
    kernel = () if isinstance(layer, nnx.MultiHeadAttention) else tuple(layer.kernel.shape)
    kind = "dense"
    if isinstance(layer, nnx.MultiHeadAttention):
        kind = "attention"
    elif isinstance(layer, nnx.Conv | nnx.ConvTranspose):
        groups = getattr(layer, "feature_group_count", 1)
        kind = "depthwise" if groups > 1 and kernel[-2] == 1 else "conv"
    return Layer(
        key=path,
        path=path,
        op=type(layer).__name__,
        kind=kind,
        index=number,
        lhs_shape=(),
        rhs_shape=kernel,
        out_shape=(),
        dtype="",
        weight="rhs",
        out_channels=0,
        groups=1,
        depth=0,
        calls=1,
        position=(),
    )


def _on_hardware(layer: Any, hardware: _Hardware, *, alone: bool = False) -> Any:
    """One of our layers that runs on the hardware: itself, or in the place of Flax's.

    Args:
        layer: Flax's or ours.
        hardware: what it runs on.
        alone: whether layers inside it are left.
    """
    found = _CLASSES.get(type(layer))
    if found is not None:
        ours, attribute = found
        attributes = dict(vars(layer))  # the very variables
        given = None if attribute is None else attributes.pop(attribute)
        layer = object.__new__(ours)
        vars(layer).update(attributes)
        if attribute is not None:
            layer._given = given
    if alone:
        layer.hardware = hardware
    else:
        layer._set_hardware(hardware.multiplier, hardware.quantization, hardware.engine)
    return layer
