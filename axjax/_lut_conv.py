# SPDX-License-Identifier: Apache-2.0
"""The integer operation: codes and a table in, int32 sums out. Knows nothing of scales."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from axjax import engines
from axjax._code_type import CodeType
from axjax._geometry import (
    ConvGeometry,
    Padding,
    canonical_geometry,
    canonical_lhs_shape,
    canonical_rhs_shape,
    depth,
)
from axjax._manual_axes import vary_together
from axjax._multiplier import Multiplier


def lut_conv(
    lhs: jax.typing.ArrayLike,
    rhs: jax.typing.ArrayLike,
    multiplier: Multiplier,
    window_strides: Sequence[int] | int = 1,
    padding: Padding = "VALID",
    *,
    lhs_dilation: Sequence[int] | int | None = None,
    rhs_dilation: Sequence[int] | int | None = None,
    feature_group_count: int = 1,
    pad_code: jax.typing.ArrayLike = 0,
    engine: str = "auto",
) -> jax.Array:
    """Convolves codes, taking every product from the multiplier's table.

    `out[n, p, o] = sum_k table[x(n, p, k), w(k, o)]`, (5) of docs/arithmetic.md. Scales,
    zero points and bias do not appear here.

    Args:
        lhs: activation codes, channels last: `(..., *spatial, C)` with one to three spatial
            dimensions and any number of batch dimensions. uint8 or int8, as the
            multiplier's activation code type says. Of codes narrower than a byte the
            multiplier sees the low bits.
        rhs: weight codes `(*window, C / feature_group_count, O)`, uint8 or int8.
        multiplier: the table.
        window_strides: of each spatial dimension, or one number for all.
        padding: "SAME", "SAME_LOWER", "VALID", or (low, high) of each spatial dimension.
        lhs_dilation: input dilation; a transposed convolution has it.
        rhs_dilation: kernel dilation.
        feature_group_count: groups of channels that are convolved apart.
        pad_code: the code of padded pixels and of the holes of a dilated input. They go
            through the table, as in hardware. A scalar of `lhs`'s range.
        engine: "auto", or a name from `axjax.ENGINES`.
    Returns:
        int32 `(..., *out_spatial, O)`, exact: equal on every engine and device.
    Raises:
        TypeError: if codes have another dtype than the multiplier's code types.
        ValueError: if the shapes make no convolution, or sums could leave int32.
        RuntimeError: if the engine was not built or has no device here.

    >>> import axjax, numpy as np
    >>> x = np.full((1, 4, 4, 2), 3, np.uint8)
    >>> w = np.full((3, 3, 2, 5), 7, np.uint8)
    >>> out = axjax.lut_conv(x, w, axjax.Multiplier.exact(8))
    >>> out.shape, int(out[0, 0, 0, 0])
    ((1, 2, 2, 5), 378)
    """
    x, w = jnp.asarray(lhs), jnp.asarray(rhs)
    _check_codes("lut_conv", "lhs", x, multiplier.activation)
    _check_codes("lut_conv", "rhs", w, multiplier.weight)
    batch = x.shape[: x.ndim - w.ndim + 1]
    flat = x.reshape(math.prod(batch), *x.shape[len(batch) :])
    geometry = canonical_geometry(
        "lut_conv",
        flat.shape,
        w.shape,
        window_strides=window_strides,
        padding=padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        feature_group_count=feature_group_count,
    )
    pad = jnp.asarray(pad_code)
    if pad.ndim:
        raise ValueError(
            f"lut_conv: pad_code is one code, got shape={pad.shape}. Pass a scalar."
        )
    out = sum_products(
        "lut_conv", flat, w, multiplier, geometry, pad_code=pad.astype(x.dtype), engine=engine
    )
    spatial = out.shape[1 + 3 - (w.ndim - 2) : -1]
    return out.reshape(*batch, *spatial, w.shape[-1])


def lut_dot(
    lhs: jax.typing.ArrayLike,
    rhs: jax.typing.ArrayLike,
    multiplier: Multiplier,
    *,
    engine: str = "auto",
) -> jax.Array:
    """Multiplies matrices of codes, taking every product from the multiplier's table.

    Args:
        lhs: activation codes `(..., K)`, uint8 or int8 as the multiplier's code type says.
        rhs: weight codes `(K, N)`.
        multiplier: the table.
        engine: "auto", or a name from `axjax.ENGINES`.
    Returns:
        int32 `(..., N)`, exact.
    Raises:
        As `lut_conv`.

    >>> import axjax, numpy as np
    >>> x, w = np.array([[1, 2, 3]], np.uint8), np.array([[4], [5], [6]], np.uint8)
    >>> int(axjax.lut_dot(x, w, axjax.Multiplier.exact(8))[0, 0])
    32
    """
    x, w = jnp.asarray(lhs), jnp.asarray(rhs)
    _check_codes("lut_dot", "lhs", x, multiplier.activation)
    _check_codes("lut_dot", "rhs", w, multiplier.weight)
    if w.ndim != 2 or x.ndim < 1 or x.shape[-1] != w.shape[0]:
        raise ValueError(
            f"lut_dot: the last dimension of lhs equals the first of two of rhs, got shapes "
            f"{x.shape} and {w.shape}. Check the layouts, or use lut_conv."
        )
    flat = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    out = sum_products("lut_dot", flat, w, multiplier, ConvGeometry(), engine=engine)
    return out.reshape(*x.shape[:-1], w.shape[-1])


def sum_products(
    function: str,
    lhs: jax.Array,
    rhs: jax.Array,
    multiplier: Multiplier,
    geometry: ConvGeometry,
    *,
    pad_code: jax.Array | int = 0,
    engine: str = "auto",
) -> jax.Array:
    """The operation behind `lut_conv` and `lut_dot`, on checked operands.

    Args:
        function: name of the public function, for error messages.
        lhs: codes `(N, *spatial, C)`, up to three spatial dimensions.
        rhs: codes `(*window, C / groups, O)`.
        multiplier: the table.
        geometry: canonical.
        pad_code: scalar.
        engine: "auto", or the name of an engine.
    Returns:
        int32 `(N, D', H', W', O)`.
    """
    engine = engines.resolve(engine)
    engines.check(function, engine, has_factors=multiplier.factors is not None)
    check_depth(function, depth(rhs.shape), multiplier)
    operands = (
        _bytes(lhs).reshape(canonical_lhs_shape(lhs.shape)),
        _bytes(rhs).reshape(canonical_rhs_shape(rhs.shape)),
        jnp.asarray(multiplier.table),
        jax.tree.map(jnp.asarray, multiplier.factors),
        _bytes(jnp.asarray(pad_code, lhs.dtype)),
    )
    shape = geometry.output_shape(*(codes.shape for codes in operands[:2]))
    if 0 in shape or 0 in operands[1].shape:  # nothing to add: no engine has to know
        return jnp.zeros(shape, jnp.int32)
    return _batched(geometry, engine)(*vary_together(operands))


def check_depth(function: str, products: int, multiplier: Multiplier) -> None:
    """Raises if a sum of so many products could leave int32: (8) of docs/arithmetic.md."""
    limit = (2**31 - 1) // multiplier.bound
    if products > limit:
        raise ValueError(
            f"{function}: sums of products fit int32, which holds up to {limit} products per "
            f"output for entries up to {multiplier.bound}, got depth={products} (kernel taps "
            "times input channels of a group). Split the operation into parts and add them."
        )


def _check_codes(function: str, name: str, codes: jax.Array, code_type: CodeType) -> None:
    expected = "int8" if code_type.signed else "uint8"
    if codes.dtype != expected:
        raise TypeError(
            f"{function}: {code_type} codes are passed as {expected}, got "
            f"{name}.dtype={codes.dtype}. Quantize the operand, or cast the codes."
        )


def _bytes(codes: jax.Array) -> jax.Array:
    return codes if codes.dtype == jnp.uint8 else lax.bitcast_convert_type(codes, jnp.uint8)


@functools.cache
def _batched(geometry: ConvGeometry, engine: str) -> Callable[..., jax.Array]:
    """The operation with a batching rule: the one place that knows how `vmap` maps it."""

    @jax.custom_batching.custom_vmap
    def conv(lhs, rhs, table, factors, pad_code):
        return engines.run(lhs, rhs, table, factors, pad_code, geometry=geometry, engine=engine)

    @conv.def_vmap
    def rule(size, batched, lhs, rhs, table, factors, pad_code):
        lhs_batched, rhs_batched, *tables_batched, pad_batched = batched
        if any(jax.tree.leaves(tables_batched)):
            return _loop(conv, batched, (lhs, rhs, table, factors, pad_code)), True
        if pad_batched:  # every example pads with its own code, and then none has to
            if not lhs_batched:
                lhs = jnp.broadcast_to(lhs, (size, *lhs.shape))
            lhs = jax.vmap(lambda x, p: lax.pad(x, p, geometry.padding_config()))(lhs, pad_code)
            lhs_batched, pad_code = True, jnp.uint8(0)
        plain = geometry.without_padding() if pad_batched else geometry
        fold = _fold_images
        if rhs_batched:
            fold = functools.partial(_fold_kernels, lhs_batched=lhs_batched)
        return fold(plain, engine, lhs, rhs, (table, factors, pad_code)), True

    return conv


def _fold_images(geometry, engine, lhs, rhs, others):
    """Examples that share a kernel are a larger batch of images."""
    size, images = lhs.shape[:2]
    out = _batched(geometry, engine)(lhs.reshape(size * images, *lhs.shape[2:]), rhs, *others)
    return out.reshape(size, images, *out.shape[1:])


def _fold_kernels(geometry, engine, lhs, rhs, others, lhs_batched):
    """Examples with kernels of their own are further groups, or further outputs of a group."""
    size, *window, per_group, outputs = rhs.shape
    groups = geometry.feature_group_count
    kernels = rhs.reshape(size, *window, per_group, groups, outputs // groups)
    if lhs_batched:
        lhs = jnp.moveaxis(lhs, 0, -2)
        lhs = lhs.reshape(*lhs.shape[:-2], lhs.shape[-2] * lhs.shape[-1])
        kernels = jnp.moveaxis(kernels, 0, -3)  # example, group, output
        geometry = dataclasses.replace(geometry, feature_group_count=size * groups)
    else:
        kernels = jnp.moveaxis(kernels, 0, -2)  # group, example, output
    kernels = kernels.reshape(*window, per_group, size * outputs)
    out = _batched(geometry, engine)(lhs, kernels, *others)
    if lhs_batched:
        out = out.reshape(*out.shape[:-1], size, outputs)
        return jnp.moveaxis(out, -2, 0)
    out = out.reshape(*out.shape[:-1], groups, size, outputs // groups)
    out = jnp.moveaxis(out, -2, 0)
    return out.reshape(*out.shape[:-2], outputs)


def _loop(conv, batched, operands):
    """Examples with tables of their own run one after the other."""
    leaves, structure = jax.tree.flatten(operands)
    mapped = jax.tree.leaves(batched)

    def one(examples):
        rest = iter(examples)
        return conv(
            *jax.tree.unflatten(
                structure,
                [next(rest) if m else leaf for leaf, m in zip(leaves, mapped, strict=True)],
            )
        )

    return lax.map(one, [leaf for leaf, m in zip(leaves, mapped, strict=True) if m])
