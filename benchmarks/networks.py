# SPDX-License-Identifier: Apache-2.0
"""The networks that benchmarks run, with a `conv` argument, and the layers in them."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp


class ResNet50(nn.Module):
    """ResNet-50 for ImageNet, stride in the 3x3 convolutions.

    Source: K. He, X. Zhang, S. Ren, J. Sun, Deep Residual Learning for Image Recognition, CVPR
    2016.
    """

    conv: Callable[..., Any] = nn.Conv

    @nn.compact
    def __call__(self, x):
        conv = functools.partial(self.conv, use_bias=False)
        norm = functools.partial(nn.BatchNorm, use_running_average=True)
        x = nn.relu(norm()(conv(64, (7, 7), (2, 2), padding=[(3, 3), (3, 3)])(x)))
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
        for stage, blocks in enumerate((3, 4, 6, 3)):
            width = 64 << stage
            for block in range(blocks):
                strides = (2, 2) if stage > 0 and block == 0 else (1, 1)
                y = nn.relu(norm()(conv(width, (1, 1))(x)))
                y = nn.relu(norm()(conv(width, (3, 3), strides)(y)))
                y = norm()(conv(4 * width, (1, 1))(y))
                if x.shape != y.shape:
                    x = norm()(conv(4 * width, (1, 1), strides)(x))
                x = nn.relu(x + y)
        return nn.Dense(1000)(x.mean((1, 2)))


class ResNet20(nn.Module):
    """ResNet-20 for CIFAR-10, shortcuts without parameters. Source: as `ResNet50`."""

    conv: Callable[..., Any] = nn.Conv
    blocks: int = 3

    @nn.compact
    def __call__(self, x):
        conv = functools.partial(self.conv, kernel_size=(3, 3), use_bias=False)
        norm = functools.partial(nn.BatchNorm, use_running_average=True)
        x = nn.relu(norm()(conv(16)(x)))
        for stage, width in enumerate((16, 32, 64)):
            for block in range(self.blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                y = nn.relu(norm()(conv(width, strides=(stride, stride))(x)))
                y = norm()(conv(width)(y))
                if stride == 2:
                    added = (width - x.shape[-1]) // 2
                    x = jnp.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (added, added)))
                x = nn.relu(x + y)
        return nn.Dense(10)(x.mean((1, 2)))


NETWORKS = {
    "ResNet-50": (ResNet50, (256, 224, 224, 3)),
    "ResNet-20": (ResNet20, (1024, 32, 32, 3)),
}
"""Network and input shape."""

LAYERS = {
    "3x3, (M, K, N) = (65536, 1152, 128)": ((64, 32, 32, 128), (3, 3, 128, 128), 1),
    "ResNet-50 stem 7x7": ((256, 224, 224, 3), (7, 7, 3, 64), 2),
    "ResNet-50 stage 1, 1x1 64 to 256": ((256, 56, 56, 64), (1, 1, 64, 256), 1),
    "ResNet-50 stage 1, 3x3": ((256, 56, 56, 64), (3, 3, 64, 64), 1),
    "ResNet-50 stage 2, 3x3": ((256, 28, 28, 128), (3, 3, 128, 128), 1),
    "ResNet-50 stage 3, 3x3": ((256, 14, 14, 256), (3, 3, 256, 256), 1),
    "ResNet-50 stage 3, 1x1 1024 to 256": ((256, 14, 14, 1024), (1, 1, 1024, 256), 1),
    "ResNet-50 stage 4, 3x3": ((256, 7, 7, 512), (3, 3, 512, 512), 1),
    "ResNet-20 stage 1": ((1024, 32, 32, 16), (3, 3, 16, 16), 1),
    "ResNet-20 stage 2": ((1024, 16, 16, 32), (3, 3, 32, 32), 1),
    "ResNet-20 stage 3": ((1024, 8, 8, 64), (3, 3, 64, 64), 1),
    "MobileNet depthwise 3x3": ((256, 28, 28, 256), (3, 3, 1, 256), 1),
}
"""Input, kernel and stride. Padding is SAME."""
