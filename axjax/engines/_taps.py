# SPDX-License-Identifier: Apache-2.0
"""The input of a convolution as its taps see it, in plain JAX: what the XLA engines read."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from axjax._geometry import SPATIAL, ConvGeometry
from axjax._reference import padded_codes


class Taps:
    """A padded input, from which the codes of one kernel tap are sliced.

    Attributes:
        out_shape: `(N, D', H', W', O)` of the convolution.
        window: `(KD, KH, KW)`.
        groups: groups of channels.
        channels: of a group.
    """

    def __init__(
        self,
        lhs: jax.Array,
        rhs_shape: tuple[int, ...],
        pad_code: jax.Array,
        geometry: ConvGeometry,
    ) -> None:
        self.out_shape = geometry.output_shape(lhs.shape, rhs_shape)
        self.window = rhs_shape[:SPATIAL]
        self.groups, self.channels = geometry.feature_group_count, rhs_shape[SPATIAL]
        padded = padded_codes(lhs, pad_code, geometry)
        self._x = padded.reshape(*padded.shape[:-1], self.groups, self.channels)
        sizes = zip(self.out_shape[1:-1], geometry.window_strides, strict=True)
        # Every stride-th code from k * dilation on.
        self._extent = [(size - 1) * stride + 1 for size, stride in sizes]
        self._strides = (1, *geometry.window_strides, 1, 1)
        self._dilation = jnp.asarray(geometry.rhs_dilation, jnp.int32)

    def codes(self, tap: jax.Array, channel: jax.Array, channels: int) -> jax.Array:
        """uint8 `(N, D', H', W', groups, channels)`.

        Args:
            tap: flat index of the kernel tap, int32.
            channel: first channel of each group, int32.
            channels: how many.
        """
        at = jnp.stack(jnp.unravel_index(tap, self.window)) * self._dilation
        start = (jnp.int32(0), *at, jnp.int32(0), channel)
        size = (self.out_shape[0], *self._extent, self.groups, channels)
        codes = lax.dynamic_slice(self._x, start, size)
        return lax.slice(codes, (0,) * codes.ndim, codes.shape, self._strides)

    def zeros(self) -> jax.Array:
        """Sums to begin with: int32 `(N, D', H', W', groups, O / groups)`."""
        outputs = self.out_shape[-1] // self.groups
        shape = (*self.out_shape[:-1], self.groups, outputs)
        # Varies over the mesh axes of the operands, as the sums will.
        return jnp.zeros_like(self._x, jnp.int32, shape=shape)
