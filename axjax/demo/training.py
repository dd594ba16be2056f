# SPDX-License-Identifier: Apache-2.0
"""Training and evaluation, each one jitted function that takes the multiplier as an argument.

A multiplier is a pytree: tables of one kind share a compiled program, and so does the whole
report.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import axjax
from axjax.demo.data import Images
from axjax.demo.model import DigitsNet, Ranges, network


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to train: Adam, its learning rate falling to zero along a half cosine.

    Args:
        epochs: passes over the training images.
        learning_rate: of the first step.
        batch: images a step. What is left of an epoch is left out.
    """

    epochs: int
    learning_rate: float
    batch: int = 64


def initial_parameters(seed: int) -> Any:
    """Flax's own initialisation."""
    variables = DigitsNet().init(jax.random.key(seed), jnp.zeros((1, 8, 8, 1)))
    return variables["params"]


def train(
    parameters: Any,
    images: Images,
    recipe: Recipe,
    *,
    seed: int,
    multiplier: axjax.Multiplier | None = None,
    ranges: Ranges | None = None,
    engine: str = "auto",
    after_epoch: Callable[[], None] = lambda: None,
) -> Any:
    """Trains, under a multiplier through straight-through gradients, or in float.

    Args:
        parameters: to start from.
        images: to learn from.
        recipe: how.
        seed: of the order of the images.
        multiplier: None for float.
        ranges: of the layers' inputs; for a multiplier.
        engine: for the sums of table entries.
        after_epoch: called after each epoch.
    Returns:
        The parameters after the last step; no step is picked by its result.
    """
    state = optax.adam(1.0).init(parameters)
    steps = max(1, len(images.y) // recipe.batch)
    rng = np.random.default_rng(seed)
    for epoch in range(recipe.epochs):
        order = rng.permutation(len(images.y))
        for i in range(steps):
            chosen = order[i * recipe.batch : (i + 1) * recipe.batch]
            done = (epoch * steps + i) / (recipe.epochs * steps)
            rate = recipe.learning_rate * 0.5 * (1 + np.cos(np.pi * done))
            parameters, state = training_step(
                parameters,
                state,
                images.x[chosen],
                images.y[chosen],
                np.float32(rate),
                multiplier,
                ranges or {},
                engine=engine,
            )
        jax.block_until_ready(parameters)
        after_epoch()
    return parameters


@functools.partial(jax.jit, static_argnames="engine")
def training_step(
    parameters: Any,
    state: Any,
    x: jax.Array,
    y: jax.Array,
    rate: jax.Array,
    multiplier: axjax.Multiplier | None,
    ranges: Ranges,
    *,
    engine: str,
) -> tuple[Any, Any]:
    """Parameters and optimiser state after one batch."""

    def loss(parameters: Any) -> jax.Array:
        scores = network(multiplier, ranges, engine).apply({"params": parameters}, x)
        return optax.softmax_cross_entropy_with_integer_labels(scores, y).mean()

    updates, state = optax.adam(1.0).update(jax.grad(loss)(parameters), state)
    return optax.apply_updates(parameters, jax.tree.map(lambda u: rate * u, updates)), state


@functools.partial(jax.jit, static_argnames="engine")
def predict(
    parameters: Any,
    x: jax.Array,
    multiplier: axjax.Multiplier | None,
    ranges: Ranges,
    *,
    engine: str,
) -> jax.Array:
    """The digits that the network sees: int32 `(N,)`."""
    scores: Any = network(multiplier, ranges, engine).apply({"params": parameters}, x)
    return scores.argmax(-1).astype(jnp.int32)


def compiled_programs() -> dict[str, int]:
    """How many programs JAX has compiled of each function so far in this process."""
    return {
        "evaluate": predict._cache_size(),  # type: ignore[attr-defined]
        "train": training_step._cache_size(),  # type: ignore[attr-defined]
    }
