# SPDX-License-Identifier: Apache-2.0
"""A small convolutional network, in float or on approximate hardware."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

import axjax
from axjax import linen as axnn

Ranges = dict[str, tuple[Any, Any]]
"""Least and greatest input of each layer, by the layer's name."""

LAYERS = ("conv1", "conv2", "conv3", "dense")


class DigitsNet(nn.Module):
    """Three convolutions and a dense layer: 8 x 8 images to the scores of ten digits.

    Args:
        conv: makes a convolution as `flax.linen.Conv` does.
        dense: makes a dense layer as `flax.linen.Dense` does.
    """

    conv: Callable[..., Any] = nn.Conv
    dense: Callable[..., Any] = nn.Dense

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(self.conv(16, (3, 3), name="conv1")(x))
        x = nn.relu(self.conv(32, (3, 3), name="conv2")(x))
        x = nn.max_pool(x, (2, 2), strides=(2, 2))
        x = nn.relu(self.conv(32, (3, 3), name="conv3")(x))
        x = nn.max_pool(x, (2, 2), strides=(2, 2))
        return self.dense(10, name="dense")(x.reshape(x.shape[0], -1))


def network(
    multiplier: axjax.Multiplier | None, ranges: Ranges, engine: str = "auto"
) -> DigitsNet:
    """The network with every product taken from a multiplier; None is the float network.

    Args:
        multiplier: of all layers.
        ranges: of every layer's input. Fixed, so that what an image gives does not depend
            on the images that share its batch.
        engine: for the sums of table entries.
    """
    if multiplier is None:
        return DigitsNet()

    def on_hardware(layer: Callable[..., Any]) -> Callable[..., Any]:
        def make(*args: Any, name: str, **kwargs: Any) -> Any:
            return layer(
                *args,
                name=name,
                multiplier=multiplier,
                quantization=axjax.Quantization(lhs=axjax.GivenRange(*ranges[name])),
                engine=engine,
                **kwargs,
            )

        return make

    return DigitsNet(conv=on_hardware(axnn.Conv), dense=on_hardware(axnn.Dense))


def calibrate(parameters: Any, x: jax.typing.ArrayLike) -> Ranges:
    """The range of what enters each layer of the float network, over the images `x`."""
    found: Ranges = {}

    def record(layer: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if context.module.name in LAYERS:
            found[context.module.name] = (args[0].min(), args[0].max())
        return layer(*args, **kwargs)

    with nn.intercept_methods(record):
        DigitsNet().apply({"params": parameters}, x)
    return found
