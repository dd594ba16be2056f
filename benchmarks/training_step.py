# SPDX-License-Identifier: Apache-2.0
"""What a step of fine-tuning costs: ResNet-20 on CIFAR-10's shape, beside the exact step.

    python benchmarks/training_step.py --out benchmarks/results/training_step.json

A step augments, runs forward and backward, and updates, as examples/cifar10_training.py does.
Several are waited for together, so that what counts is the device, not the dispatch.
"""

import argparse
import concurrent.futures
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))

import _gpu
import cifar10_training
import jax
import jax.numpy as jnp
import numpy as np
from cifar10_resnet import GRADIENTS, PARAMETERS
from resnet import load_parameters

import axjax

MULTIPLIERS = ("mul8s_exact", "mul8s_trunc4", "mul8u_drum4", "mul8u_trunc8")


def programs(names, gradients):
    """Exact, then each multiplier with each gradient: name and multiplier."""
    yield "exact float32", None
    for name in names:
        multiplier = axjax.load(name)
        for gradient in gradients:
            tuned = multiplier.with_gradient(GRADIENTS[gradient](multiplier))
            terms = f"{multiplier.factors.terms} terms"
            yield f"{name}, {terms}, {gradient}", jax.tree.map(jnp.asarray, tuned)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--out", type=pathlib.Path, help="JSON file for the results")
    add("--parameters", type=pathlib.Path, default=PARAMETERS / "resnet20.npz")
    add("--multipliers", nargs="*", default=MULTIPLIERS, metavar="NAME")
    add("--gradients", nargs="*", default=["clipped_ste", "lut_difference"], choices=GRADIENTS)
    add("--batch", type=int, default=256)
    add("--engine", default="auto", choices=["auto", *axjax.ENGINES])
    add("--repeats", type=int, default=10)
    options = parser.parse_args()
    depth, variables, ranges = load_parameters(options.parameters)
    recipe = cifar10_training.Recipe(1, 0.005, batch=options.batch)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2 * options.batch, 32, 32, 3), np.uint8)
    labels = rng.integers(0, 10, len(images), np.int32)
    chosen = rng.permutation(len(images))[: options.batch]
    state = cifar10_training.optimizer(recipe, 1).init(variables["params"])
    fixed = jax.device_put((variables, state, images, labels, chosen, jax.random.key(0)))

    def compiled(multiplier):
        arguments = (*fixed, multiplier, ranges if multiplier is not None else {}, {})
        step = cifar10_training.training_step.lower(
            *arguments, recipe=recipe, steps=1, depth=depth, engine=options.engine
        )
        return step.compile(), arguments

    with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        made = dict(programs(options.multipliers, options.gradients))
        steps = dict(zip(made, pool.map(compiled, made.values()), strict=True))
    seconds = {}
    for name, (step, arguments) in steps.items():
        seconds[name] = _gpu.median_seconds(step, *arguments, repeats=options.repeats)
        ratio = seconds[name] / seconds["exact float32"]
        print(f"{name:<44} {1e3 * seconds[name]:9.3f} ms {ratio:6.2f} x exact", flush=True)
    _gpu.write(options.out, dict(batch=options.batch, depth=depth, seconds=seconds))


if __name__ == "__main__":
    main()
