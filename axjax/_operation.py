# SPDX-License-Identifier: Apache-2.0
"""Convolution and matrix product: how they lay out operands, and nothing else."""

from __future__ import annotations

import abc
from typing import Any

import jax

from axjax._geometry import ConvGeometry


class Operation(abc.ABC):
    """A bilinear operation that is a convolution in canonical form. Hashable."""

    name: str
    """The public function, for error messages."""

    @abc.abstractmethod
    def exact(self, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
        """The operation itself, by JAX."""

    @abc.abstractmethod
    def rhs_channel_axes(self, rhs: jax.Array) -> tuple[int, ...]:
        """Axes of `rhs` that tell output channels apart."""

    @abc.abstractmethod
    def geometry(self, lhs_shape: tuple[int, ...], rhs_shape: tuple[int, ...]) -> ConvGeometry:
        """The convolution that it is."""

    @abc.abstractmethod
    def canonical_lhs(self, lhs: jax.Array) -> jax.Array:
        """`(N, D, H, W, C)`."""

    @abc.abstractmethod
    def canonical_rhs(self, rhs: jax.Array) -> jax.Array:
        """`(KD, KH, KW, C / groups, O)`. Also takes arrays with ones for all but channels."""

    @abc.abstractmethod
    def restore(self, out: jax.Array, lhs_shape: Any, rhs_shape: Any) -> jax.Array:
        """From `(N, D', H', W', O)` to the operation's own layout."""
