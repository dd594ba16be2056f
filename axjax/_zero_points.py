# SPDX-License-Identifier: Apache-2.0
"""What zero points add to the sums of products: the exact corrections of (6).

On CPUs it is one native call, of `xla_ffi/cpu/corrected_sums.h`, with the same bits.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from axjax._by_platform import by_platform
from axjax._code_type import CodeType
from axjax._geometry import SPATIAL, ConvGeometry, depth
from axjax._manual_axes import result_type, varies
from axjax.engines import attributes, partitioned


@dataclasses.dataclass(frozen=True)
class ZeroPoints:
    """The corrections of one operation, as far as they are known while tracing. Hashable.

    Its functions take codes as bytes in canonical layout, the zero point of the activations,
    int32 `()`, and that of the weights, int32 `(1,)` or `(O,)`.

    Attributes:
        types: of the codes of both operands.
        present: whether the zero point of either may be other than zero.
        geometry: of the convolution.
    """

    types: tuple[CodeType, CodeType]
    present: tuple[bool, bool]
    geometry: ConvGeometry

    def corrected(
        self,
        sums: jax.Array,
        lhs: jax.Array,
        rhs: jax.Array,
        lhs_zero: jax.Array,
        rhs_zero: jax.Array,
    ) -> jax.Array:
        """The bracket of (6) from sums of table entries, float32, rounded once."""
        if not any(self.present):
            return sums.astype(jnp.float32)
        if sums.size == 0 or rhs.size == 0:
            return self._plain(sums, lhs, rhs, lhs_zero, rhs_zero)
        return _by_platform(self)(sums, lhs, rhs, lhs_zero, rhs_zero)

    def terms(
        self, lhs: jax.Array, rhs: jax.Array, lhs_zero: jax.Array, rhs_zero: jax.Array
    ) -> list[jax.Array]:
        """Those of `-z_w sum x`, `-z_x sum w` and `K z_x z_w` that may be other than zero.

        Each fits int32 wherever the sum of products does; their sum with it may not.
        """
        lhs, rhs = (_values(*pair) for pair in zip((lhs, rhs), self.types, strict=True))
        rhs_zero = rhs_zero.reshape(1, 1, 1, 1, -1)
        of_lhs, of_rhs = self.present
        terms = []
        if of_rhs:
            terms.append(-rhs_zero * _window_sums(lhs, lhs_zero, rhs.shape, self.geometry))
        if of_lhs:
            sums = rhs.sum((0, 1, 2, 3), dtype=jnp.int32, keepdims=True)
            terms.append(-lhs_zero * sums)
        if of_lhs and of_rhs:
            terms.append(depth(rhs.shape) * lhs_zero * rhs_zero)
        return terms

    def _plain(self, sums, *operands):
        return _sum_to_float([sums, *self.terms(*operands)])

    def _native(self, sums, *operands):
        signed = zip(("lhs_signed", "rhs_signed"), self.types, strict=True)
        call = jax.ffi.ffi_call(
            "axjax_correct_sums_cpu", result_type(sums.shape, jnp.float32, sums)
        )
        flags = {name: code_type.signed for name, code_type in signed}
        return call(sums, *operands, **attributes(self.geometry), **flags)


@functools.cache
def _by_platform(zero_points: ZeroPoints) -> Callable[..., jax.Array]:
    plain, native = zero_points._plain, zero_points._native

    def on_cpu(sums, lhs, rhs, lhs_zero, rhs_zero):
        operands = (sums, lhs, rhs, lhs_zero, rhs_zero)
        if varies(sums):  # inside shard_map all is partitioned already
            return native(*operands)
        channels = "channels" if rhs_zero.size == rhs.shape[-1] else 1
        roles = ("out", "lhs", "rhs", 0, channels)
        return partitioned(native, roles, zero_points.geometry)(*operands)

    @jax.custom_batching.custom_vmap
    def corrected(*operands):
        return by_platform(*operands, cpu=on_cpu, default=plain)

    @corrected.def_vmap
    def batch(size, batched, *operands):
        return jax.vmap(plain, [0 if mapped else None for mapped in batched])(*operands), True

    return corrected


def _values(codes: jax.Array, code_type: CodeType) -> jax.Array:
    return lax.bitcast_convert_type(codes, jnp.int8) if code_type.signed else codes


def _window_sums(
    codes: jax.Array, pad_code: jax.Array, rhs_shape: tuple[int, ...], geometry: ConvGeometry
) -> jax.Array:
    """Sum of the codes that each output reads: int32 `(N, D', H', W', O)`.

    A reduction over windows pads with nothing, so that it adds how far codes are from the pad
    code. XLA fuses it with nothing: each sum is computed once and not for every channel.
    """
    groups = geometry.feature_group_count
    shape = geometry.output_shape(codes.shape, rhs_shape)
    if 0 in (*shape, *rhs_shape):
        return jnp.zeros(shape, jnp.int32)
    per_group = codes.reshape(*codes.shape[:-1], groups, rhs_shape[-2])
    sums = per_group.sum(-1, dtype=jnp.int32) - pad_code * rhs_shape[-2]
    sums = lax.reduce_window(
        sums,
        np.int32(0),
        lax.add,
        (1, *rhs_shape[:SPATIAL], 1),
        (1, *geometry.window_strides, 1),
        ((0, 0), *zip(geometry.padding_low, geometry.padding_high, strict=True), (0, 0)),
        (1, *geometry.lhs_dilation, 1),
        (1, *geometry.rhs_dilation, 1),
    )
    sums += pad_code * depth(rhs_shape)
    return jnp.repeat(sums, rhs_shape[-1] // groups, axis=-1)


def _sum_to_float(terms: list[jax.Array]) -> jax.Array:
    """The sum of int32 arrays as the nearest float32, also where it leaves int32.

    High and low halves are summed apart. Both sums, and the high one times 2**16, are exact
    in float32 for up to 128 terms, so that the last addition alone rounds.
    """
    high = sum((t >> 16 for t in terms[1:]), start=terms[0] >> 16)
    low = sum((t & 0xFFFF for t in terms[1:]), start=terms[0] & 0xFFFF)
    return high.astype(jnp.float32) * 65536.0 + low.astype(jnp.float32)
