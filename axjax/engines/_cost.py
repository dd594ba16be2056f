# SPDX-License-Identifier: Apache-2.0
"""What an operation costs on a GPU: the model by which "auto" chooses, and no more than that.

Fitted to benchmarks/gpu_engines.py on one Hopper GPU. Other GPUs differ in the constants, but
little in their ratios, which alone matter here.
"""

from __future__ import annotations

import dataclasses
import math

from axjax._geometry import ConvGeometry, depth
from axjax.factorization import PackedFactors

GATHER_SECONDS = 1 / 2.3e12
"""A product by a load from the table."""

DEPTHWISE_SECONDS = {"cuda_gather": 1 / 0.39e12, "cuda_texture": 1 / 0.54e12}
"""A product where groups have one output: the tiles of the texture engine suit it better."""

CHUNK_SECONDS, TERM_SECONDS = 4.9e-15, 1.08e-15
"""A product on tensor cores: whatever the number of terms, and for each int8 term."""

COPY_SECONDS = {16: 0.8e-12, 4: 2.9e-12}
"""To bring a pixel's code to a tile, at least: in pieces of 16 channels, or of 4 in groups
whose channels are no multiple of 16. It is what narrow tiles take."""

LAUNCH_SECONDS = {"cuda_gather": 5e-6, "cuda_texture": 5e-6, "cuda_tensor_core": 10e-6}

CPU_ROOM = 64
"""Terms up to which the CPU's handler of factors is called. At every call it chooses between
int8 products and the table. With more terms products do not pay, and the table is ready for
engine `cpu`, where this handler had to multiply it out."""

_CHUNK = 32  # depth positions that the tensor-core kernel takes at a time
_ROWS = 128  # pixels of its smallest tile
_TILES = {128: 128, 64: 81, 32: 61}
"""Outputs of its tiles, and how many outputs of the widest cost as much."""


@dataclasses.dataclass(frozen=True)
class Work:
    """The sizes of one operation.

    Attributes:
        pixels: output positions of all images (M of a matrix product).
        depth: products an output (K): kernel taps times channels.
        channels: input channels of a group.
        outputs: output channels of a group (N).
        groups: groups of channels.
        terms: int8 products that replace one, as far as is known; None without factors.
        room: terms that the factors have room for: all that a compiled program knows.
    """

    pixels: int
    depth: int
    channels: int
    outputs: int
    groups: int
    terms: int | None
    room: int | None = None

    @property
    def depthwise(self) -> bool:
        return self.groups > 1 and self.outputs == 1

    @property
    def products(self) -> int:
        return self.pixels * self.depth * self.outputs * self.groups


def work_of(
    lhs_shape: tuple[int, ...],
    rhs_shape: tuple[int, ...],
    geometry: ConvGeometry,
    factors: PackedFactors | None,
) -> Work:
    """The sizes of a canonical operation."""
    out = geometry.output_shape(lhs_shape, rhs_shape)
    groups = geometry.feature_group_count
    return Work(
        pixels=math.prod(out[:-1]),
        depth=depth(rhs_shape),
        channels=rhs_shape[-2],
        outputs=out[-1] // groups,
        groups=groups,
        terms=None if factors is None else _terms(factors),
        room=None if factors is None else factors.planes * factors.capacity,
    )


def _terms(factors: PackedFactors) -> int:
    """How many there are, or could be where that is traced: tables then share a program."""
    known = factors.terms
    return factors.planes * factors.capacity if known is None else known


def gpu_seconds(work: Work, *, int8_tensor_cores: bool) -> dict[str, float]:
    """Estimated seconds of the GPU engines that can do the work."""
    lookups = DEPTHWISE_SECONDS if work.depthwise else {"cuda_gather": GATHER_SECONDS}
    seconds = {
        engine: LAUNCH_SECONDS[engine] + work.products * each
        for engine, each in lookups.items()
    }
    if work.terms is not None and int8_tensor_cores:
        launch = LAUNCH_SECONDS["cuda_tensor_core"]
        seconds["cuda_tensor_core"] = launch + _tensor_core_seconds(work)
    return seconds


def _tensor_core_seconds(work: Work) -> float:
    """Of the tiles, idle rows, columns and channels included."""
    assert work.terms is not None
    taps = work.depth // max(1, work.channels)
    positions = _up(work.pixels, _ROWS) * _up(taps * _up(work.channels, 4), _CHUNK)
    copying = COPY_SECONDS[16 if work.channels % 16 == 0 else 4]
    multiplying = CHUNK_SECONDS + work.terms * TERM_SECONDS
    of_position = min(
        -(-work.outputs // tile) * max(copying, cost * multiplying)
        for tile, cost in _TILES.items()
    )
    return positions * work.groups * of_position


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
