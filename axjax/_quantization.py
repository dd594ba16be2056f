# SPDX-License-Identifier: Apache-2.0
"""How real numbers become codes: scale, zero point, and where their range comes from.

Equations (1) to (3) of docs/arithmetic.md.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from axjax._code_type import CodeType

_LEAST_SCALE = 2.0**-100  # far from float32's subnormal numbers, which devices flush to zero


def _pytree(*leaves: str) -> Callable[[type], type]:
    """Registers a dataclass as a pytree, the named fields being its leaves.

    What is rebuilt from leaves is not checked again: they may be tracers, or gradients.
    """

    def register(cls: type) -> type:
        static = [field.name for field in dataclasses.fields(cls) if field.name not in leaves]

        def flatten(quantizer: Any) -> tuple[Any, Any]:
            keyed = [(jax.tree_util.GetAttrKey(n), getattr(quantizer, n)) for n in leaves]
            return keyed, tuple(getattr(quantizer, n) for n in static)

        def unflatten(structure: Any, children: Any) -> Any:
            new: Any = object.__new__(cls)
            values = [*zip(leaves, children, strict=True), *zip(static, structure, strict=True)]
            for name, value in values:
                object.__setattr__(new, name, value)
            return new

        jax.tree_util.register_pytree_with_keys(cls, flatten, unflatten)
        return cls

    return register


@dataclasses.dataclass(frozen=True)
class QuantizationParameters:
    """What turns an operand into codes: `real = scale * (code - zero_point)`, (1).

    Attributes:
        scale: float32, positive; a scalar, or an array that broadcasts against the operand.
            NaN where the range was not finite: all that it touches is NaN.
        zero_point: the code of real zero, int32 of the scale's shape; an int if it is known
            while tracing, so that corrections by zero are left out.
        low: least code in use.
        high: greatest code in use.
        has_nan: whether the operand holds a NaN, which codes cannot show; None if the scale
            shows it. Apart from the scale, so that quantising does not wait for the answer:
            one pass over the operand finds both.
    """

    scale: jax.Array
    zero_point: jax.Array | int
    low: int
    high: int
    has_nan: jax.Array | None = None

    @property
    def real_scale(self) -> jax.Array:
        """The scale of results: NaN where the operand or its range was not finite."""
        if self.has_nan is None:
            return self.scale
        return jnp.where(self.has_nan, jnp.nan, self.scale)

    def quantize(self, x: jax.Array) -> jax.Array:
        """Codes of real numbers, int32: (2)."""
        return jnp.clip(self._unbounded_codes(x), self.low, self.high)

    def dequantize(self, codes: jax.Array) -> jax.Array:
        """Real numbers of codes, float32: (1)."""
        return self.real_scale * (codes - self.zero_point).astype(jnp.float32)

    def inside(self, x: jax.Array) -> jax.Array:
        """Whether the code of each number is in use, so that it is not clipped."""
        codes = self._unbounded_codes(x)
        return (codes >= self.low) & (codes <= self.high)

    def _unbounded_codes(self, x: jax.Array) -> jax.Array:
        return nearest_multiple(x.astype(jnp.float32), self.scale) + self.zero_point


def nearest_multiple(x: jax.Array, scale: jax.Array) -> jax.Array:
    """`floor(x / scale + 1/2)`, exactly, as int32 between -2**10 and 2**10.

    A quotient in float32 is rounded, and differently on different devices, so that a code
    near a tie would depend on where it was computed. The quotient is a guess here, which
    the signs of two residuals put right. A residual is exact: the scale is split in halves
    of 12 bits, so that its products with half-integers of 11 bits are exact, and numbers
    that are close have an exact difference.

    Args:
        x: float32. NaN gives -1, and so does a scale of NaN.
        scale: float32, 2**-100 to 2**125, broadcasts against `x`. Beyond, halves or reciprocals
            of scales are subnormal numbers, which devices flush to zero.
    """
    bits = lax.bitcast_convert_type(scale, jnp.uint32)
    upper = lax.bitcast_convert_type(bits & jnp.uint32(0xFFFFF000), jnp.float32)
    lower = scale - upper

    def at_least(multiple: jax.Array) -> jax.Array:
        return (x - multiple * upper) - multiple * lower >= 0

    guess = jnp.clip(jnp.floor(x / scale + 0.5), -1023.0, 1023.0)
    guess = jnp.where(jnp.isnan(guess), 0.0, guess)
    guess += jnp.where(at_least(guess + 0.5), 1.0, jnp.where(at_least(guess - 0.5), 0.0, -1.0))
    return guess.astype(jnp.int32)


@dataclasses.dataclass(frozen=True)
class ScaleRule:
    """What an operand's scale is made of, as far as that is known while tracing. Hashable.

    Attributes:
        source: "numbers": the range of the operand's own; "range": one that is given, by its
            two ends; "scale": given itself.
        code_type: of the codes.
        channels: axes of the operand that tell its output channels apart, if these have scales
            of their own; counted without examples.
        symmetric: of a range: as many codes below zero as above.
        include_zero: of a range: widened to hold zero.
        zero_point: of a given scale.
        examples: leading axes, over which the operand is an operand each: by `vmap`.
    """

    source: str
    code_type: CodeType
    channels: tuple[int, ...] = ()
    symmetric: bool = False
    include_zero: bool = True
    zero_point: int = 0
    examples: int = 0

    @property
    def known_zero_point(self) -> int | None:
        """The zero point, if it does not depend on the range."""
        if self.source == "scale":
            return self.zero_point
        return self.low + self._steps if self.symmetric else None

    @property
    def low(self) -> int:
        """Least code in use. The greatest is the code type's."""
        of_range = self.source != "scale"
        return self.code_type.min + (1 if self.symmetric and of_range else 0)

    @property
    def _steps(self) -> int:
        return (self.code_type.max - self.code_type.min - 1) // 2

    def is_kept(self, axis: int) -> bool:
        """Whether indices of an axis have scales of their own."""
        return axis < self.examples or axis - self.examples in self.channels

    def spoiled(self, ndim: int) -> tuple[int, ...]:
        """Axes over which one NaN spoils all: of an operand, or of a channel's own range."""
        own_range = self.source == "numbers"
        return tuple(
            axis
            for axis in range(self.examples, ndim)
            if not (own_range and self.is_kept(axis))
        )

    def scale_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of an operand's scales, which broadcasts against it."""
        return tuple(n if self.is_kept(axis) else 1 for axis, n in enumerate(shape))

    def parameters(self, x: jax.Array, *given: jax.Array) -> QuantizationParameters:
        """Scale and zero point, in plain JAX: what native code has to equal.

        Args:
            x: the operand, real.
            given: the ends of the range, or the scale: scalars, or of `scale_shape`.
        """
        if self.source == "scale":
            (scale,) = given
            found = QuantizationParameters(scale, self.zero_point, self.low, self.code_type.max)
            return self._nan_if_operand_has(x, found)
        if self.source == "range":
            return self._nan_if_operand_has(x, self._of_range(*given))
        x = lax.stop_gradient(x.astype(jnp.float32))
        axes = self.spoiled(x.ndim)
        if x.size == 0:  # no values, no products: any scale will do
            low = high = jnp.zeros(self.scale_shape(x.shape))
        else:
            low, high = ends(x, axes)
        return dataclasses.replace(self._of_range(low, high), has_nan=has_nan(x, axes))

    def _of_range(self, low: jax.Array, high: jax.Array) -> QuantizationParameters:
        """Scale and zero point that cover a range: (3)."""
        degenerate = low == high
        if self.include_zero:
            low, high = jnp.minimum(low, 0.0), jnp.maximum(high, 0.0)
        else:  # a single value has no width: cover it from zero on
            low = jnp.where(degenerate, jnp.minimum(low, 0.0), low)
            high = jnp.where(degenerate, jnp.maximum(high, 0.0), high)
        least, most = self.low, self.code_type.max
        zero = self.known_zero_point
        if zero is not None:
            scale = _computed_once(_scale(jnp.maximum(-low, high), self._steps))
            return QuantizationParameters(scale, zero, least, most)
        scale = _computed_once(_scale(high - low, most - least))
        zero_point = jnp.clip(least + nearest_multiple(-low, scale), least, most)
        return QuantizationParameters(scale, _computed_once(zero_point), least, most)

    def _nan_if_operand_has(
        self, x: jax.Array, parameters: QuantizationParameters
    ) -> QuantizationParameters:
        if not jnp.issubdtype(x.dtype, jnp.inexact) or x.size == 0:
            return parameters
        return dataclasses.replace(parameters, has_nan=has_nan(x, self.spoiled(x.ndim)))


class Quantizer(abc.ABC):
    """Where the scale and zero point of one operand come from. Immutable; a pytree."""

    @abc.abstractmethod
    def rule(
        self, x: jax.Array, code_type: CodeType, channel_axes: tuple[int, ...]
    ) -> tuple[ScaleRule, tuple[jax.Array, ...]]:
        """What the scale of an operand is made of, and what is given for it.

        Args:
            x: the operand, real.
            code_type: the multiplier input that takes the codes.
            channel_axes: axes of `x` that tell output channels apart; empty for activations.
        """

    def parameters(
        self, x: jax.Array, code_type: CodeType, channel_axes: tuple[int, ...]
    ) -> QuantizationParameters:
        """Scale and zero point of an operand; arguments as of `rule`."""
        rule, given = self.rule(x, code_type, channel_axes)
        return rule.parameters(x, *given)


@_pytree()
@dataclasses.dataclass(frozen=True)
class CurrentRange(Quantizer):
    """The range of the values at hand, so that nothing is clipped.

    Results then depend on what shares a batch: use `GivenRange` or `MovingAverage` for
    activations where that matters.

    Args:
        symmetric: real zero at the middle code, as many codes below as above. By default
            where codes are signed. Otherwise affine: the codes span the range.
        per_channel: a scale for each output channel. For kernels only.
        include_zero: the range is widened to hold zero. Without it the zero point is
            clamped and values beyond saturate, as TensorFlow's fake quantisation does.
    """

    symmetric: bool | None = None
    per_channel: bool = False
    include_zero: bool = True

    def rule(
        self, x: jax.Array, code_type: CodeType, channel_axes: tuple[int, ...]
    ) -> tuple[ScaleRule, tuple[jax.Array, ...]]:
        if self.per_channel and not channel_axes:
            raise ValueError(
                "CurrentRange: only a kernel has output channels, got per_channel=True for "
                "an activation. Use it for Quantization.rhs."
            )
        symmetric = code_type.signed if self.symmetric is None else self.symmetric
        channels = _axes(x, channel_axes) if self.per_channel else ()
        return ScaleRule("numbers", code_type, channels, symmetric, self.include_zero), ()


@_pytree("low", "high")
@dataclasses.dataclass(frozen=True)
class GivenRange(Quantizer):
    """A range that was chosen or calibrated before. Values beyond it saturate.

    A NaN among the values makes the whole result NaN.

    Args:
        low: least real value; a number, or one for each output channel. Widened to hold
            zero, as `high` is.
        high: greatest real value.
        symmetric: as in `CurrentRange`.
    Raises:
        ValueError: for a range that is not finite or upside down.
    """

    low: Any
    high: Any
    symmetric: bool | None = None

    def __post_init__(self) -> None:
        if not (_is_concrete(self.low) and _is_concrete(self.high)):
            return
        low, high = np.asarray(self.low), np.asarray(self.high)
        if not (np.isfinite(low).all() and np.isfinite(high).all() and (low <= high).all()):
            raise ValueError(
                f"GivenRange: low and high are finite and low <= high, got low={self.low} and "
                f"high={self.high}. Calibrate on finite data."
            )

    def rule(
        self, x: jax.Array, code_type: CodeType, channel_axes: tuple[int, ...]
    ) -> tuple[ScaleRule, tuple[jax.Array, ...]]:
        given = tuple(
            _along_channels("GivenRange", jnp.asarray(end, jnp.float32), x, channel_axes)
            for end in (self.low, self.high)
        )
        symmetric = code_type.signed if self.symmetric is None else self.symmetric
        channels = _axes(x, channel_axes) if any(end.ndim for end in given) else ()
        return ScaleRule("range", code_type, channels, symmetric), given


@_pytree("scale")
@dataclasses.dataclass(frozen=True)
class FixedScale(Quantizer):
    """A scale and zero point that are given. With the defaults, integers are their own codes.

    Args:
        scale: real value of a step; a number, or one for each output channel.
        zero_point: the code of real zero.
    Raises:
        ValueError: for a scale that is not finite and positive.
    """

    scale: Any = 1.0
    zero_point: int = 0

    def __post_init__(self) -> None:
        if _is_concrete(self.scale):
            scale = np.asarray(self.scale)
            if not (np.isfinite(scale).all() and (scale > 0).all()):
                raise ValueError(
                    f"FixedScale: a scale is finite and positive, got scale={self.scale}. "
                    "Pass the real value of one step."
                )

    def rule(
        self, x: jax.Array, code_type: CodeType, channel_axes: tuple[int, ...]
    ) -> tuple[ScaleRule, tuple[jax.Array, ...]]:
        if not code_type.min <= self.zero_point <= code_type.max:
            raise ValueError(
                f"FixedScale: the zero point is one of the codes, got zero_point="
                f"{self.zero_point} for {code_type}. Pass {code_type.min} to {code_type.max}."
            )
        scale = jnp.asarray(self.scale, jnp.float32)
        scale = _along_channels("FixedScale", scale, x, channel_axes)
        channels = _axes(x, channel_axes) if scale.ndim else ()
        rule = ScaleRule("scale", code_type, channels, zero_point=self.zero_point)
        return rule, (scale,)


@_pytree()
@dataclasses.dataclass(frozen=True)
class MovingAverage(Quantizer):
    """The moving average of batch ranges, kept by a module and frozen at evaluation.

    For activations in `axjax.linen` and `axjax.nnx` modules, which hold the state.

    Args:
        momentum: share of the old range that a training step keeps, 0 to 1.
        symmetric: as in `CurrentRange`.
    """

    momentum: float = 0.99
    symmetric: bool | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.momentum <= 1:
            raise ValueError(
                f"MovingAverage: momentum is from 0 to 1, got momentum={self.momentum}. "
                "Pass the share of the old range that a step keeps, such as 0.99."
            )

    def update(
        self, low: jax.Array, high: jax.Array, x: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """The range after a batch.

        Args:
            low: least value so far, float32 scalar; NaN if there was no batch yet.
            high: greatest value so far.
            x: the batch. One that is empty, or has values that are not finite, leaves the
                range as it is.
        """
        if x.size == 0:
            return low, high
        x = lax.stop_gradient(x.astype(jnp.float32))
        first = jnp.isnan(low) | jnp.isnan(high)
        finite = jnp.isfinite(x).all()

        def moved(old: jax.Array, new: jax.Array) -> jax.Array:
            average = jnp.where(first, new, self.momentum * old + (1 - self.momentum) * new)
            return jnp.where(finite, average, old)

        return moved(low, x.min()), moved(high, x.max())

    def freeze(self, low: jax.Array, high: jax.Array) -> GivenRange:
        """The quantizer that uses a range. Where that is NaN, not set yet, so is the result."""
        given = jax.tree.structure(GivenRange(0.0, 0.0, self.symmetric))
        return jax.tree.unflatten(given, (low, high))  # unchecked, traced or not

    def rule(
        self, x: jax.Array, code_type: CodeType, channel_axes: tuple[int, ...]
    ) -> tuple[ScaleRule, tuple[jax.Array, ...]]:
        raise ValueError(
            "MovingAverage: a moving average is state that a module keeps, got it in a plain "
            "function. Use axjax.linen or axjax.nnx, or pass GivenRange(low, high)."
        )


@_pytree("lhs", "rhs")
@dataclasses.dataclass(frozen=True)
class Quantization:
    """How both operands of an emulated operation become codes. A pytree.

    Args:
        lhs: quantizer of the activations.
        rhs: quantizer of the kernel: by default a range for each output channel.

    >>> from axjax import CurrentRange, GivenRange, Quantization
    >>> relu6 = Quantization(lhs=GivenRange(0.0, 6.0))
    >>> per_tensor = Quantization(rhs=CurrentRange(per_channel=False))
    """

    lhs: Quantizer = dataclasses.field(default_factory=CurrentRange)
    rhs: Quantizer = dataclasses.field(default_factory=lambda: CurrentRange(per_channel=True))

    @classmethod
    def tfapprox(cls) -> Quantization:
        """TFApprox's quantisation: affine per tensor, ranges of the current operands.

        Source: Vaverka, Mrazek, Vasicek, Sekanina, TFApprox, DATE 2020.
        """
        quantizer = CurrentRange(symmetric=False, include_zero=False)
        return cls(lhs=quantizer, rhs=quantizer)

    @classmethod
    def unit(cls) -> Quantization:
        """Integers are their own codes: scale 1, zero point 0. Results are exact."""
        return cls(lhs=FixedScale(), rhs=FixedScale())


def _computed_once(values: jax.Array) -> jax.Array:
    """The same values, which XLA does not compute anew for each element that they scale.

    On a CPU it fuses whatever goes element by element into all that uses it, and drops
    optimization barriers before; but not sums over windows, such as of values and zeros. Of
    their bits, since XLA's sums of 4096 such windows of float32 and more count the value twice
    (seen with jaxlib 0.10.2 and 0.12.0.1).
    """
    bits = lax.bitcast_convert_type(values, jnp.int32)
    pairs = jnp.stack([bits, jnp.zeros_like(bits)])
    window = (2, *[1] * values.ndim)
    sums = lax.reduce_window(pairs, np.int32(0), lax.add, window, window, "VALID")[0]
    return lax.bitcast_convert_type(sums, values.dtype)


def _scale(width: jax.Array, steps: int) -> jax.Array:
    scale = jnp.maximum(width / steps, _LEAST_SCALE)
    scale = jnp.where(width == 0, 1.0, scale)  # nothing but zeros: any scale is right
    return jnp.where(jnp.isfinite(width), scale, jnp.nan)


def _axes(x: jax.Array, axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(axis % x.ndim for axis in axes))


def ends(x: jax.Array, axes: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Least and greatest value over some axes, which stay with a size of one."""
    return x.min(axes, keepdims=True), x.max(axes, keepdims=True)


def has_nan(x: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """Whether there is a NaN. `max` does not tell: XLA's on CPUs loses it in large arrays."""
    return lax.stop_gradient(jnp.isnan(x).any(axes, keepdims=True))


def _along_channels(
    name: str, values: jax.Array, x: jax.Array, channel_axes: tuple[int, ...]
) -> jax.Array:
    """Numbers for each output channel in a shape that broadcasts against the operand."""
    if values.ndim == 0:
        return values
    axes = {axis % x.ndim for axis in channel_axes}
    shape = [n if a in axes else 1 for a, n in enumerate(x.shape)]
    if not axes or values.size != np.prod(shape):
        raise ValueError(
            f"{name}: a number, or one for each output channel of a kernel, got shape="
            f"{values.shape} for an operand of shape {x.shape} with channel axes "
            f"{tuple(channel_axes)}. Pass a scalar."
        )
    return values.reshape(shape)


def _is_concrete(value: Any) -> bool:
    if isinstance(value, jax.Array):
        return not isinstance(value, jax.core.Tracer)
    return isinstance(value, int | float | np.ndarray | np.generic)
