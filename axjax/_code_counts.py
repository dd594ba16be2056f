# SPDX-License-Identifier: Apache-2.0
"""Which pairs of codes a network multiplies, and how often, layer by layer.

Over uniform codes the mean error of a multiplier says little about what it does to a network:
activations crowd near zero, and so do weights. What counts are the pairs that meet.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax import lax

from axjax._code_type import CodeType
from axjax._geometry import SPATIAL, ConvGeometry


class CodeCounts(Mapping[str, np.ndarray]):
    """How often each pair of codes was multiplied, by layer.

    Values are int64 `(2**activation bits, 2**weight bits)` in the order of bit patterns, which
    is what `axjax.metrics` takes as weights; iteration is in the order of the layers' first
    calls.
    """

    def __init__(self) -> None:
        self._counts: dict[str, np.ndarray] = {}
        self._open = True

    def __getitem__(self, layer: str) -> np.ndarray:
        return self._counts[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self._counts)

    def __len__(self) -> int:
        return len(self._counts)

    def total(self) -> np.ndarray:
        """The sum over all layers, which have to have one kind of codes."""
        return np.sum(list(self.values()), axis=0)

    def _register(self, layer: str, shape: tuple[int, int]) -> None:
        known = self._counts.setdefault(layer, np.zeros(shape, np.int64))
        if known.shape != shape:
            raise ValueError(
                f"count_codes: a layer has one kind of codes, got layer={layer!r} with tables "
                f"of shape {known.shape} and {shape}. Count them in two passes."
            )

    def _add(self, layer: str, counts: np.ndarray) -> None:
        if self._open:  # else by a program that was compiled while it was
            shape = self._counts[layer].shape
            self._counts[layer] += counts[: shape[0], : shape[1]]


_counting: list[CodeCounts] = []
_layers: list[str] = []


@contextlib.contextmanager
def count_codes() -> Iterator[CodeCounts]:
    """Counts the codes that axjax multiplies while the context is open.

    Call the network inside, not under `jax.jit`, or under one that is made inside: a program
    that was compiled before does not count. Layers of Flax linen are called by their paths,
    those of `axjax.emulate` by their keys; elsewhere all operations of one kernel shape count
    as one layer.
    Counting is exact and done on the host: it costs a few seconds for a few images. Padding
    counts as what it is, the zero point. Codes depend on the quantisation, and in deeper layers
    on what the multiplier did before.

    Yields:
        `CodeCounts`, filled as layers run.
    Raises:
        RuntimeError: at the end, if nothing has been counted.

    >>> import axjax, jax, jax.numpy as jnp
    >>> mul = axjax.load("mul8u_trunc4")
    >>> x, w = jnp.linspace(-1, 1, 6).reshape(2, 3), jnp.linspace(-1, 1, 12).reshape(3, 4)
    >>> with axjax.count_codes() as counts:
    ...     y = axjax.dot_general(x, w, (((1,), (0,)), ((), ())), multiplier=mul)
    >>> ((layer, pairs),) = counts.items()
    >>> int(pairs.sum())  # 2 x 4 outputs of 3 products
    24
    >>> mul.metrics(pairs).wce <= mul.metrics().wce
    True
    """
    import flax.linen as nn

    counts = CodeCounts()
    _counting.append(counts)
    try:
        with nn.intercept_methods(_name_by_path):
            yield counts
        jax.effects_barrier()
    finally:
        _counting.remove(counts)
        counts._open = False
    if not counts:
        raise RuntimeError(
            "count_codes: an operation of axjax runs inside, got none. Call the network "
            "without jax.jit, or jit it inside: a compiled program does not count."
        )


@contextlib.contextmanager
def counted_as(name: str) -> Iterator[None]:
    """Names the operations inside for `count_codes`."""
    _layers.append(name)
    try:
        yield
    finally:
        _layers.pop()


def _name_by_path(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
    with counted_as("/".join(context.module.path)):
        return call(*args, **kwargs)


def counting() -> bool:
    """Whether `record` would count."""
    return bool(_counting)


def record(
    operation: str,
    activation: CodeType,
    weight: CodeType,
    lhs: jax.Array,
    rhs: jax.Array,
    pad_code: jax.Array,
    geometry: ConvGeometry,
) -> None:
    """Counts the products of one operation; its operands are those of an engine, as codes."""
    name = (_layers and _layers[-1]) or f"{operation} {tuple(rhs.shape)}"
    shape = (1 << activation.bits, 1 << weight.bits)
    for counts in _counting:
        counts._register(name, shape)
        jax.debug.callback(
            functools.partial(_callback, counts, name, geometry),
            *map(lax.stop_gradient, (lhs, rhs, pad_code)),
        )


def _callback(
    counts: CodeCounts, name: str, geometry: ConvGeometry, lhs: Any, rhs: Any, pad_code: Any
) -> None:
    counts._add(name, pair_counts(np.asarray(lhs), np.asarray(rhs), int(pad_code), geometry))


def pair_counts(
    lhs: np.ndarray, rhs: np.ndarray, pad_code: int, geometry: ConvGeometry
) -> np.ndarray:
    """How often each pair meets in `axjax._reference.lut_conv`: int64 `(256, 256)`, by bytes.

    An output multiplies what stands at one position of the kernel with the weight there. So
    for each tap and channel, the histogram of the activations that it sees, over all pixels,
    times that of its weights, over all outputs.
    """
    groups = geometry.feature_group_count
    lhs, rhs = (np.asarray(codes).astype(np.int64) & 255 for codes in (lhs, rhs))
    padded = _padded(lhs, int(pad_code) & 255, geometry)
    shape = geometry.output_shape(lhs.shape, rhs.shape)
    channels, outputs = lhs.shape[-1], rhs.shape[-1] // groups
    pixels = math.prod(shape[:-1])
    total = np.zeros((256, 256), np.float64)  # exact below 2**53
    for tap in itertools.product(*map(range, rhs.shape[:SPATIAL])):
        window = tuple(
            slice(k * d, k * d + (size - 1) * s + 1 if size else 0, s)
            for k, d, s, size in zip(
                tap, geometry.rhs_dilation, geometry.window_strides, shape[1:-1], strict=True
            )
        )
        x = padded[(slice(None), *window)].reshape(pixels, channels)
        # A channel's weights are those of its group's outputs.
        w = (rhs[tap] & 255).reshape(channels // groups, groups, outputs)
        w = w.swapaxes(0, 1).reshape(channels, outputs)
        total += _histograms(x.T).T @ _histograms(w)
    return total.astype(np.int64)


def _padded(codes: np.ndarray, pad_code: int, geometry: ConvGeometry) -> np.ndarray:
    """What `lax.pad` makes of a canonical input."""
    shape = (codes.shape[0], *geometry.padded_size(codes.shape), codes.shape[-1])
    padded = np.full(shape, pad_code, np.int64)
    target, source = [], []
    for size, low, dilation, room in zip(
        codes.shape[1:-1], geometry.padding_low, geometry.lhs_dilation, shape[1:-1], strict=True
    ):
        first = max(0, -(low // dilation)) if low < 0 else 0
        start = low + first * dilation
        fit = min(size - first, max(0, (room - start + dilation - 1) // dilation))
        target.append(slice(start, start + max(fit - 1, 0) * dilation + (fit > 0), dilation))
        source.append(slice(first, first + max(fit, 0)))
    padded[(slice(None), *target)] = codes[(slice(None), *source)]
    return padded


def _histograms(codes: np.ndarray) -> np.ndarray:
    """Counts of the 256 bytes in each row: float64 `(rows, 256)`."""
    rows = len(codes)
    index = codes.astype(np.int64) + 256 * np.arange(rows)[:, None]
    return np.bincount(index.ravel(), minlength=256 * rows).reshape(rows, 256).astype(float)
