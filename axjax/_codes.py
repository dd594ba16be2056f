# SPDX-License-Identifier: Apache-2.0
"""An operand's codes, and the reals that they stand for: the same bits on every platform.

In plain JAX that is a score of operations, which XLA compiles anew for each operand of each
layer: most of the time that emulation takes to compile. On CPUs it is one native call
instead, of `xla_ffi/cpu/quantize.h`, and no more passes over the numbers than it needs.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from axjax._by_platform import by_platform
from axjax._code_type import CodeType
from axjax._manual_axes import result_type, varies
from axjax._partition_operand import partitioned
from axjax._quantization import QuantizationParameters, Quantizer, ScaleRule


def quantized(
    x: jax.Array, quantizer: Quantizer, code_type: CodeType, channel_axes: tuple[int, ...]
) -> tuple[jax.Array, QuantizationParameters]:
    """Codes as bytes, uint8 of the operand's shape, and the parameters behind them: (2).

    Where the operand or its range is not finite the scale is NaN.
    """
    x, rule, given = _prepared(x, quantizer, code_type, channel_axes)
    codes, scale, zero = _operation(_CODES, rule)(x, *given)
    known = rule.known_zero_point
    zero = zero if known is None else known
    return codes, QuantizationParameters(scale, zero, rule.low, code_type.max)


def quantized_and_back(
    x: jax.Array, quantizer: Quantizer, code_type: CodeType, channel_axes: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
    """The reals that the codes stand for, in the operand's dtype, and which was not clipped."""
    dtype = x.dtype
    x, rule, given = _prepared(x, quantizer, code_type, channel_axes)
    rounded, inside = _operation(_AND_BACK, rule)(x, *given)
    return rounded.astype(dtype), inside


def _prepared(x, quantizer, code_type, channel_axes):
    rule, given = quantizer.rule(x, code_type, channel_axes)
    if x.dtype not in (jnp.float32, jnp.bfloat16):
        x = x.astype(jnp.float32)
    return lax.stop_gradient(x), rule, lax.stop_gradient(given)


@dataclasses.dataclass(frozen=True)
class _Form:
    """One of the two things that are made of an operand.

    Attributes:
        plain: `(rule, x, *given)` to its results, in plain JAX: the specification.
        target: of the native call.
        results: of each, the dtype and whether it has the operand's shape, or that of scales.
    """

    plain: Callable[..., tuple[jax.Array, ...]]
    target: str
    results: tuple[tuple[Any, bool], ...]

    def native(self, rule: ScaleRule, x: jax.Array, *given: jax.Array) -> tuple[jax.Array, ...]:
        """The same by native code, for operands of which `_is_native` holds."""
        shapes = {True: x.shape, False: rule.scale_shape(x.shape)}
        types = [result_type(shapes[whole], dtype, x) for dtype, whole in self.results]
        code_type = rule.code_type
        out = jax.ffi.ffi_call(self.target, types)(
            x,
            *given,
            layout=np.array(_layout(rule, x.shape), np.int64),
            source=("numbers", "range", "scale").index(rule.source),
            symmetric=rule.symmetric,
            include_zero=rule.include_zero,
            codes=np.array([code_type.min, code_type.max, rule.zero_point], np.int64),
        )
        return tuple(out)


def _codes(rule: ScaleRule, x: jax.Array, *given: jax.Array) -> tuple[jax.Array, ...]:
    """Codes as bytes, scale and zero point."""
    found = rule.parameters(x, *given)
    codes = found.quantize(x).astype(jnp.int8 if rule.code_type.signed else jnp.uint8)
    if rule.code_type.signed:
        codes = lax.bitcast_convert_type(codes, jnp.uint8)
    shape = rule.scale_shape(x.shape)
    zero = jnp.asarray(found.zero_point, jnp.int32)
    return codes, jnp.broadcast_to(found.real_scale, shape), jnp.broadcast_to(zero, shape)


def _and_back(rule: ScaleRule, x: jax.Array, *given: jax.Array) -> tuple[jax.Array, ...]:
    """The codes' reals, float32, and which was not clipped."""
    found = rule.parameters(x, *given)
    return found.dequantize(found.quantize(x)), found.inside(x)


_CODES = _Form(
    _codes, "axjax_quantize_cpu", ((np.uint8, True), (np.float32, False), (np.int32, False))
)
_AND_BACK = _Form(
    _and_back, "axjax_quantize_and_back_cpu", ((np.float32, True), (np.bool_, True))
)


@functools.cache
def _operation(form: _Form, rule: ScaleRule) -> Callable[..., tuple[jax.Array, ...]]:
    """A form by platform, and how `vmap` maps it."""
    plain = functools.partial(form.plain, rule)

    def on_cpu(x, *given):
        if not _is_native(rule, x):
            return plain(x, *given)
        if varies(x):  # inside shard_map all is partitioned already
            return form.native(rule, x, *given)
        whole = tuple(is_whole for _, is_whole in form.results)
        ranks = tuple(end.ndim for end in given)
        return partitioned(form.native, rule, x.ndim, ranks, whole)(x, *given)

    @jax.custom_batching.custom_vmap
    def operation(x, *given):
        return by_platform(x, *given, cpu=on_cpu, default=plain)

    @operation.def_vmap
    def batch(size, batched, x, *given):
        """Each example is an operand of its own."""
        operands = [
            array if mapped else jnp.broadcast_to(array, (size, *array.shape))
            for array, mapped in zip((x, *given), batched, strict=True)
        ]
        ndim = operands[0].ndim
        operands = [a.reshape(*a.shape, *[1] * (ndim - a.ndim)) for a in operands]
        inner = dataclasses.replace(rule, examples=rule.examples + 1)
        out = _operation(form, inner)(*operands)
        if form is not _CODES or rule.source == "numbers" or any(batched[1:]):
            return out, (True,) * len(out)
        # Of a range that they share examples share the zero point, which pads images.
        codes, scale, zero = out
        return (codes, scale, zero[0]), (True, True, False)

    return operation


def _is_native(rule: ScaleRule, x: jax.Array) -> bool:
    """Whether there is native code for an operand."""
    one_nan_spoils_all_channels = rule.source != "numbers" and rule.channels
    return not (one_nan_spoils_all_channels or x.size == 0 or _layout(rule, x.shape) is None)


def _layout(rule: ScaleRule, shape: Sequence[int]) -> tuple[int, ...] | None:
    """An operand's shape as native code sees it, or None if it is of no such shape.

    As (outer, reduced, channels, inner), where numbers of one index of outer and of channels
    have one scale.
    """
    runs: list[tuple[bool, int]] = []  # of axes that are kept, or are not
    for axis, n in enumerate(shape):
        if runs and runs[-1][0] == rule.is_kept(axis):
            runs[-1] = runs[-1][0], runs[-1][1] * n
        elif n > 1:
            runs.append((rule.is_kept(axis), n))
    if len(runs) == 1 and runs[0][0]:  # nothing but channels: one row of them
        return 1, 1, math.prod(shape), 1
    sizes = [1]
    for kept, n in runs:
        if kept == bool(len(sizes) % 2):
            sizes.append(n)
        else:
            sizes += [1, n]
    sizes = sizes[1:]
    return tuple(sizes + [1] * (4 - len(sizes))) if len(sizes) <= 4 else None
