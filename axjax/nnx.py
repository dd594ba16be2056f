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
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from axjax._callers_function import keywords_of
from axjax._conv import conv_general_dilated
from axjax._dot import dot_general
from axjax._multiplier import Multiplier
from axjax._quantization import MovingAverage, Quantization

__all__ = ["ActivationRange", "Conv", "Linear"]


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
