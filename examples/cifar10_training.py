# SPDX-License-Identifier: Apache-2.0
"""Training of the CIFAR-10 networks: one jitted step for every multiplier of a kind.

Multiplier, ranges and teacher are arguments of the step, which compiles once for each kind. An
epoch depends on its number, the seed, and nothing that came before but the state: training
that goes on from a checkpoint gives the same bits.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import time
from collections.abc import Callable, Iterable
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from cifar10_data import normalize
from resnet import Ranges, ResNet, resnet

import axjax


@dataclasses.dataclass(frozen=True)
class Recipe:
    """SGD with Nesterov momentum, its rate falling along a half cosine; decay of kernels.

    Args:
        epochs: passes over the training images.
        learning_rate: of the first step.
        weight_decay: of kernels.
        batch: images a step. What is left of an epoch is left out.
        distillation: share of the loss that is the distance to the teacher's scores.
        temperature: by which both scores are divided in that distance.
    """

    epochs: int
    learning_rate: float
    weight_decay: float = 5e-4
    batch: int = 128
    distillation: float = 0.0
    temperature: float = 4.0


@flax.struct.dataclass
class State:
    """All that training carries from one epoch to the next. A pytree."""

    variables: Any
    optimizer: Any
    epoch: int


@dataclasses.dataclass(frozen=True)
class Epoch:
    """What is known after an epoch."""

    number: int
    loss: float
    seconds: float


def optimizer(recipe: Recipe, steps: int) -> optax.GradientTransformation:
    def kernels(parameters):
        return jax.tree.map(lambda p: p.ndim > 1, parameters)

    rate = optax.cosine_decay_schedule(recipe.learning_rate, steps)
    return optax.chain(
        optax.add_decayed_weights(recipe.weight_decay, mask=kernels),
        optax.sgd(rate, 0.9, nesterov=True),
    )


def augment(images: jax.Array, key: jax.Array) -> jax.Array:
    """Shifts by up to four pixels, filled with black, and mirrors every other image."""
    shift_key, flip_key = jax.random.split(key)
    padded = jnp.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))
    shifts = jax.random.randint(shift_key, (len(images), 2), 0, 9)
    cut = jax.vmap(lambda x, s: jax.lax.dynamic_slice(x, (s[0], s[1], 0), (32, 32, 3)))
    mirrored = jax.random.bernoulli(flip_key, 0.5, (len(images), 1, 1, 1))
    images = cut(padded, shifts)
    return jnp.where(mirrored, images[:, :, ::-1], images)


@functools.partial(jax.jit, static_argnames=("recipe", "steps", "depth", "engine"))
def training_step(
    variables: Any,
    state: Any,
    images: jax.Array,
    labels: jax.Array,
    chosen: jax.Array,
    key: jax.Array,
    multiplier: axjax.Multiplier | None,
    ranges: Ranges,
    teacher: Any,
    *,
    recipe: Recipe,
    steps: int,
    depth: int,
    engine: str,
) -> tuple[Any, Any, jax.Array]:
    """Variables, optimiser state and loss after one batch of `images[chosen]`."""
    x, y = normalize(augment(images[chosen], key)), labels[chosen]
    network = resnet(depth, multiplier, ranges, engine)

    def loss(parameters):
        scores, updated = network.apply(
            {**variables, "params": parameters}, x, train=True, mutable=["batch_stats"]
        )
        found = optax.softmax_cross_entropy_with_integer_labels(scores, y).mean()
        if recipe.distillation:
            distance = distance_to(ResNet(depth).apply(teacher, x), scores, recipe.temperature)
            found = (1 - recipe.distillation) * found + recipe.distillation * distance
        return found, updated

    (found, updated), gradient = jax.value_and_grad(loss, has_aux=True)(variables["params"])
    updates, state = optimizer(recipe, steps).update(gradient, state, variables["params"])
    parameters = optax.apply_updates(variables["params"], updates)
    return {"params": parameters, **updated}, state, found


def distance_to(teacher: jax.Array, scores: jax.Array, temperature: float) -> jax.Array:
    """Kullback-Leibler divergence of softened scores, times the temperature squared.

    Source: G. Hinton, O. Vinyals, J. Dean, Distilling the Knowledge in a Neural Network, 2015
    (arXiv:1503.02531).
    """
    target = jax.nn.log_softmax(jax.lax.stop_gradient(teacher) / temperature)
    found = jax.nn.log_softmax(scores / temperature)
    return temperature**2 * optax.losses.kl_divergence_with_log_targets(found, target).mean()


def fit(
    variables: Any,
    images: np.ndarray,
    labels: np.ndarray,
    recipe: Recipe,
    *,
    multiplier: axjax.Multiplier | None = None,
    schedule: Callable[[int], axjax.Multiplier | None] | None = None,
    ranges: Ranges | None = None,
    depth: int = 20,
    engine: str = "auto",
    seed: int = 0,
    checkpoint: pathlib.Path | None = None,
    progress: Callable[[Any, str], Iterable[Any]] = lambda steps, title: steps,
    after_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> Any:
    """Trains in float, or on a multiplier, and returns the variables after the last step.

    Args:
        variables: to start from; with distillation also the teacher's.
        images: uint8 `(N, 32, 32, 3)`.
        labels: int `(N,)`.
        recipe: how.
        multiplier: None for float.
        schedule: the multiplier of each epoch, in place of `multiplier`.
        ranges: of the convolutions' inputs; for a multiplier.
        depth: of the network.
        engine: for the sums of table entries.
        seed: of the order and the augmentation of the images.
        checkpoint: a file that is written after each epoch, and that training goes on from if
            it is there.
        progress: wraps the steps of an epoch.
        after_epoch: called after each epoch.
    """
    batch = min(recipe.batch, len(labels))
    per_epoch = len(labels) // batch
    steps = recipe.epochs * per_epoch
    teacher = variables if recipe.distillation else {}
    state = State(variables, optimizer(recipe, steps).init(variables["params"]), 0)
    if checkpoint is not None and checkpoint.exists():
        state = flax.serialization.from_bytes(state, checkpoint.read_bytes())
    state = jax.tree.map(jnp.asarray, state)
    # The images lie on the device for all of the training; a step is told which to take.
    x, y = jnp.asarray(images), jnp.asarray(labels)
    key = jax.random.key(seed)
    for epoch in range(int(state.epoch), recipe.epochs):
        on = multiplier if schedule is None else schedule(epoch)
        order = np.random.default_rng([seed, epoch]).permutation(len(labels))
        order = order[: per_epoch * batch].reshape(per_epoch, batch)
        variables, of_optimizer = state.variables, state.optimizer
        losses = []
        started = time.perf_counter()
        title = f"epoch {epoch + 1} of {recipe.epochs}"
        for i, chosen in enumerate(progress(order, title)):
            variables, of_optimizer, found = training_step(
                variables,
                of_optimizer,
                x,
                y,
                chosen,
                jax.random.fold_in(key, epoch * per_epoch + i),
                on,
                {} if on is None else ranges or {},
                teacher,
                recipe=recipe,
                steps=steps,
                depth=depth,
                engine=engine,
            )
            losses.append(found)
        loss = float(np.mean(jax.device_get(losses)))
        state = State(variables, of_optimizer, epoch + 1)
        after_epoch(Epoch(epoch + 1, loss, time.perf_counter() - started))
        if checkpoint is not None:
            save(checkpoint, state)
    return state.variables


def save(path: pathlib.Path, state: State) -> None:
    """Writes a checkpoint, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_bytes(flax.serialization.to_bytes(state))
    os.replace(new, path)
