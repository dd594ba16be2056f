# SPDX-License-Identifier: Apache-2.0
"""Accuracy of ResNet-20 on CIFAR-10 before and after fine-tuning under approximate multipliers.

    python benchmarks/finetune.py --data cifar10.npz --parameters resnet20.npz \\
        --out benchmarks/results/finetune.json

For each seed, multiplier and gradient: the same start, the same recipe, no step picked by its
result. The exact multiplier of each kind is fine-tuned too, for a fair comparison, and the
float network, whose seconds an epoch stand beside. Files are written after every result.
XLA is told to be deterministic; the first result is made twice and its bits are compared.
"""

import argparse
import concurrent.futures
import dataclasses
import os
import pathlib
import statistics
import sys
import time

# Before JAX starts: sums in an order that does not change from run to run.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_gpu_deterministic_ops=true"
sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))

import _gpu
import cifar10_training
import jax
import jax.numpy as jnp
import numpy as np
from cifar10_data import load_cifar10, normalize
from cifar10_resnet import GRADIENTS, predict, with_exact
from resnet import input_ranges, load_parameters

import axjax

MULTIPLIERS = [
    "mul8u_trunc4", "mul8u_trunc8", "mul8u_bam_h2v6", "mul8u_bam_h4v8", "mul8u_drum3",
    "mul8u_drum4", "mul8u_drum6", "mul8u_kulkarni", "mul8u_mitchell", "mul8s_trunc4",
    "mul8s_drum4", "mul8s_mitchell",
]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Job:
    """A multiplier with a gradient, as one of a kind that shares a compiled program."""

    name: str
    gradient: str
    multiplier: axjax.Multiplier | None


def jobs_of(multipliers, gradients):
    """All jobs; those of one kind have equal room for slopes, a power of two."""
    kinds = {}
    for gradient in gradients:
        for m in multipliers:
            tuned = m.with_gradient(GRADIENTS[gradient](m))
            room = max(tuned.gradient.terms).bit_length()
            sides = tuned.gradient.types is not None
            kinds.setdefault((m.activation, m.weight, sides, room), []).append(
                (gradient, tuned)
            )
    found = []
    for kind in kinds.values():
        alike = axjax.alike(m for _, m in kind)
        for (gradient, _), m in zip(kind, alike, strict=True):
            found.append(Job(m.name, gradient, jax.tree.map(jnp.asarray, m)))
    order = [m.name for m in multipliers]
    return sorted(found, key=lambda job: (gradients.index(job.gradient), order.index(job.name)))


def kind_of(job):
    leaves, structure = jax.tree.flatten(job.multiplier)
    return structure, tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)


def compile_all(jobs, fit, evaluate):
    """Runs one step and one evaluation of each kind, many kinds at a time."""
    kinds = {kind_of(job): job for job in jobs}
    with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        waiting = [pool.submit(fit, job, seed=0, one_step=True) for job in kinds.values()]
        waiting += [pool.submit(evaluate, job) for job in kinds.values()]
        for done in waiting:
            done.result()
    return len(kinds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", required=True, help=".npz, folder cifar-10-batches-bin, or synthetic")
    add("--parameters", type=pathlib.Path, required=True, help=".npz of a trained network")
    add("--out", type=pathlib.Path, help="JSON file for the results")
    add("--multipliers", nargs="*", default=MULTIPLIERS, metavar="NAME")
    add("--gradients", nargs="*", default=["clipped_ste", "lut_difference"], choices=GRADIENTS)
    add("--seeds", type=int, nargs="*", default=[0, 1, 2])
    add("--epochs", type=int, default=2)
    add("--learning-rate", type=float, default=0.005)
    add("--batch", type=int, default=256)
    add("--train-images", type=int, default=20_000)
    add("--test-images", type=int, default=10_000)
    add("--test-batch", type=int, default=1000)
    add("--engine", default="auto", choices=["auto", *axjax.ENGINES])
    add("--seconds", type=float, default=480, help="begin no further result after so many")
    options = parser.parse_args()
    began = time.perf_counter()

    data = load_cifar10(options.data)
    x_train, y_train = (a[: options.train_images] for a in (data.x_train, data.y_train))
    x_test, y_test = (a[: options.test_images] for a in (data.x_test, data.y_test))
    batch = min(options.test_batch, len(y_test))
    x_test, y_test = (a[: len(y_test) // batch * batch] for a in (x_test, y_test))
    depth, variables, ranges = load_parameters(options.parameters)
    variables = jax.device_put(variables)
    if ranges is None:
        ranges = input_ranges(variables, normalize(x_train[:1000]), depth=depth)
    recipe = cifar10_training.Recipe(options.epochs, options.learning_rate, batch=options.batch)
    seconds = {}

    def evaluate(job, tuned=variables):
        m = job.multiplier and job.multiplier.with_gradient(None)
        classes = [
            predict(tuned, x, m, ranges if m else {}, depth=depth, engine=options.engine)
            for x in x_test.reshape(-1, batch, 32, 32, 3)
        ]
        return 100 * float((np.concatenate(classes) == y_test).mean())

    def fit(job, *, seed, one_step=False):
        times = []
        tuned = cifar10_training.fit(
            variables, x_train, y_train, recipe, multiplier=job.multiplier, ranges=ranges,
            depth=depth, engine=options.engine, seed=seed,
            progress=lambda steps, title: steps[:1] if one_step else steps,
            after_epoch=lambda epoch: times.append(epoch.seconds),
        )  # fmt: skip
        if not one_step:
            seconds.setdefault((job.name, job.gradient), []).extend(times)
        return tuned

    floating = Job("float", "exact", None)
    multipliers = with_exact([axjax.load(name) for name in options.multipliers])
    jobs = [floating, *jobs_of(multipliers, options.gradients)]
    kinds = compile_all(jobs, fit, evaluate)
    print(f"{kinds} kinds compiled in {time.perf_counter() - began:.0f} s", flush=True)
    before = {job.name: evaluate(job) for job in jobs}
    first, again = (fit(jobs[1], seed=options.seeds[0]) for _ in range(2))
    same_bits = all(
        np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(again), strict=True)
    )
    print(f"the same seed gives the same bits: {same_bits}", flush=True)

    after = {}
    for seed in options.seeds:
        for job in jobs:
            if time.perf_counter() - began > options.seconds:
                print("out of time: the rest is left out", flush=True)
                break
            found = evaluate(job, fit(job, seed=seed))
            after.setdefault((job.name, job.gradient), {})[seed] = found
            print(
                f"{job.name:<24} {job.gradient:<15} seed {seed}: {before[job.name]:6.2f} -> "
                f"{found:6.2f} %, {seconds[job.name, job.gradient][-1]:.2f} s an epoch",
                flush=True,
            )
            settings = vars(options) | {"data": str(options.data)} | dict(
                parameters=str(options.parameters), out=None, depth=depth, kinds=kinds,
                train_images=len(y_train), test_images=len(y_test), same_bits=same_bits,
            )  # fmt: skip
            _gpu.write(
                options.out, dict(settings=settings, rows=rows_of(before, after, seconds))
            )


def rows_of(before, after, seconds):
    """A row for each multiplier and gradient, with mean and spread over seeds."""
    return [
        dict(
            multiplier=name,
            gradient=gradient,
            before=round(before[name], 4),
            after={str(seed): round(accuracy, 4) for seed, accuracy in of_seed.items()},
            mean=round(statistics.mean(of_seed.values()), 4),
            deviation=round(statistics.pstdev(of_seed.values()), 4),
            seconds_per_epoch=statistics.median(seconds[name, gradient]),
        )
        for (name, gradient), of_seed in after.items()
    ]


if __name__ == "__main__":
    main()
