# SPDX-License-Identifier: Apache-2.0
"""ResNet for CIFAR-10 in Flax, with a `conv` argument, and its parameters in a file.

Layers have flat names (`layer1_0_conv1`), so that each finds its own activation range.
"""

from __future__ import annotations

import functools
import pathlib
import zipfile
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import axjax
from axjax import linen as axnn

Ranges = dict[str, tuple[Any, Any]]
"""Least and greatest input of each convolution, by its name."""


class ResNet(nn.Module):
    """The CIFAR-10 network of depth 6n + 2, shortcuts without parameters (option A).

    Args:
        depth: 8, 14, 20, 32, ...
        conv: makes a convolution as `flax.linen.Conv` does.

    Source: K. He, X. Zhang, S. Ren, J. Sun, Deep Residual Learning for Image Recognition,
    CVPR 2016, section 4.2.
    """

    depth: int = 20
    conv: Callable[..., Any] = nn.Conv

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Scores of ten classes for images `(N, 32, 32, 3)`, normalised."""
        conv = functools.partial(
            self.conv, kernel_size=(3, 3), padding=((1, 1), (1, 1)), use_bias=False
        )
        norm = functools.partial(
            nn.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=1e-5
        )
        x = nn.relu(norm(name="bn1")(conv(16, name="conv1")(x)))
        for stage, features in enumerate((16, 32, 64), start=1):
            for block in range(blocks_per_stage(self.depth)):
                name = f"layer{stage}_{block}"
                stride = 2 if stage > 1 and block == 0 else 1
                shortcut = x
                x = conv(features, strides=(stride, stride), name=f"{name}_conv1")(x)
                x = nn.relu(norm(name=f"{name}_bn1")(x))
                x = conv(features, name=f"{name}_conv2")(x)
                x = norm(name=f"{name}_bn2")(x)
                if stride == 2:
                    added = (features - shortcut.shape[-1]) // 2
                    shortcut = shortcut[:, ::2, ::2]
                    shortcut = jnp.pad(shortcut, ((0, 0), (0, 0), (0, 0), (added, added)))
                x = nn.relu(x + shortcut)
        return nn.Dense(10, name="linear")(x.mean((1, 2)))


def blocks_per_stage(depth: int) -> int:
    """n of a depth 6n + 2."""
    if depth < 8 or depth % 6 != 2:
        raise ValueError(
            f"ResNet: a depth is 6n + 2, got depth={depth}. Pass 8, 14, 20, 32, 44, 56 or 110."
        )
    return depth // 6


def resnet(
    depth: int,
    multiplier: axjax.Multiplier | None,
    ranges: Ranges,
    engine: str = "auto",
) -> ResNet:
    """The network with all convolutions on an approximate multiplier; None is float.

    Batch normalisation, shortcuts and the last layer stay in float, as in TFApprox.
    """
    if multiplier is None:
        return ResNet(depth)

    def conv(*args: Any, name: str, **kwargs: Any) -> axnn.Conv:
        return axnn.Conv(
            *args,
            name=name,
            multiplier=multiplier,
            quantization=axjax.Quantization(lhs=axjax.GivenRange(*ranges[name])),
            engine=engine,
            **kwargs,
        )

    return ResNet(depth, conv)


@functools.partial(jax.jit, static_argnames="depth")
def input_ranges(variables: Any, x: jax.Array, *, depth: int) -> Ranges:
    """Least and greatest input of each convolution of the float network over images."""
    found: Ranges = {}

    def record(layer: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if isinstance(context.module, nn.Conv):
            found[context.module.name] = (args[0].min(), args[0].max())
        return layer(*args, **kwargs)

    with nn.intercept_methods(record):
        ResNet(depth).apply(variables, x)
    return found


_LEAVES = {  # kind of layer and name in the file: collection and name in Flax
    ("bn", "weight"): ("params", "scale"),
    ("bn", "bias"): ("params", "bias"),
    ("bn", "running_mean"): ("batch_stats", "mean"),
    ("bn", "running_var"): ("batch_stats", "var"),
    ("conv", "weight"): ("params", "kernel"),
    ("linear", "weight"): ("params", "kernel"),
    ("linear", "bias"): ("params", "bias"),
}


def save_parameters(path: pathlib.Path, variables: Any, ranges: Ranges | None = None) -> None:
    """Writes an .npz in the layout that `load_parameters` reads.

    Names are those of PyTorch's usual state dict: `layer1.0.conv1.weight`, `bn1.bias`,
    `bn1.running_mean`, `linear.weight`; convolutions are HWIO, the last layer is (in, out).
    Activation ranges are added as `layer1.0.conv1.input_range`, (least, greatest).
    """
    leaves = {(kind, *flax): leaf for (kind, leaf), flax in _LEAVES.items()}
    arrays = {}
    for collection in ("params", "batch_stats"):
        for layer, named in variables[collection].items():
            for name, array in named.items():
                leaf = leaves[_kind(layer), collection, name]
                arrays[f"{layer.replace('_', '.')}.{leaf}"] = np.asarray(array)
    for layer, ends in (ranges or {}).items():
        arrays[f"{layer.replace('_', '.')}.input_range"] = np.array(ends, np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


def load_parameters(path: pathlib.Path) -> tuple[int, Any, Ranges | None]:
    """Depth, Flax variables and, where the file has them, activation ranges."""
    variables: Any = {"params": {}, "batch_stats": {}}
    ranges: Ranges = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"load_parameters: a network is an .npz file, got path={str(path)!r}: {error}. "
            "Write it with save_parameters."
        ) from error
    for key, array in arrays.items():
        layer, _, leaf = key.rpartition(".")
        layer = layer.replace(".", "_")
        if leaf == "input_range":
            ranges[layer] = tuple(array)
        elif (_kind(layer), leaf) in _LEAVES:  # else a step counter, or none of ours
            collection, name = _LEAVES[_kind(layer), leaf]
            variables[collection].setdefault(layer, {})[name] = array
    convolutions = [layer for layer in variables["params"] if _kind(layer) == "conv"]
    depth = len(convolutions) + 1
    _check(path, depth, variables)
    return depth, variables, ranges or None


def _check(path: pathlib.Path, depth: int, variables: Any) -> None:
    """Raises ValueError unless every array of the network is there, in its shape."""
    image = jnp.zeros((1, 32, 32, 3))
    fits = depth >= 8 and depth % 6 == 2
    if fits:
        needed = jax.eval_shape(ResNet(depth).init, jax.random.key(0), image)
        fits = jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, dict(needed))
    if not fits:
        raise ValueError(
            f"load_parameters: a file holds all arrays of a ResNet, got path={str(path)!r} "
            f"with {depth - 1} convolutions. Write it with save_parameters."
        )


def _kind(layer: str) -> str:
    return layer.split("_")[-1].rstrip("0123456789")
