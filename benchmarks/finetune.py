# SPDX-License-Identifier: Apache-2.0
"""Accuracy of ResNet-20 on CIFAR-10 before and after fine-tuning under approximate multipliers.

    python benchmarks/finetune.py --data cifar10.npz --out benchmarks/results/finetune.json

For each seed, multiplier and gradient: the same start, the same recipe, no step picked by its
result. The exact multiplier of each kind is fine-tuned too, for a fair comparison, and the
float network, whose seconds an epoch stand beside. The file is written after every result, and
a run with the settings of the file that it finds adds what is missing there.
XLA is told to be deterministic; the first result is made twice and its bits are compared.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import os
import pathlib
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
from cifar10_resnet import GRADIENTS, PARAMETERS, predict, with_exact
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
    add(
        "--parameters",
        type=pathlib.Path,
        default=PARAMETERS / "resnet20.npz",
        help=".npz of a trained network (our ResNet-20)",
    )
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
        return tuned, times

    settings = dict(
        data=pathlib.Path(options.data).name, parameters=options.parameters.name, depth=depth,
        train_images=len(y_train), test_images=len(y_test), batch=recipe.batch,
        epochs=recipe.epochs, learning_rate=recipe.learning_rate, engine=options.engine,
    )  # fmt: skip
    floating = Job("float", "exact", None)
    multipliers = with_exact([axjax.load(name) for name in options.multipliers])
    jobs = [floating, *jobs_of(multipliers, options.gradients)]
    rows = {(job.name, job.gradient): dict(after={}, seconds_per_epoch=[]) for job in jobs}
    rows |= earlier_rows(options.out, settings)
    missing = [
        (seed, job)
        for seed in options.seeds
        for job in jobs
        if str(seed) not in rows[job.name, job.gradient]["after"]
    ]
    jobs = [job for job in jobs if any(job is other for _, other in missing)]
    if not jobs:
        print(f"{options.out} has all of it")
        return
    kinds = compile_all(jobs, fit, evaluate)
    print(f"{kinds} kinds compiled in {time.perf_counter() - began:.0f} s", flush=True)
    # No gradient shows in it: once for each multiplier.
    before = {name: evaluate(job) for name, job in {job.name: job for job in jobs}.items()}
    first, again = (fit(jobs[-1], seed=options.seeds[0])[0] for _ in range(2))
    same_bits = all(
        np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(again), strict=True)
    )
    print(f"the same seed gives the same bits: {same_bits}", flush=True)

    for seed, job in missing:
        if time.perf_counter() - began > options.seconds:
            print("out of time: the same command goes on with what is left out", flush=True)
            break
        row = rows[job.name, job.gradient]
        tuned, seconds = fit(job, seed=seed)
        row["before"] = round(before[job.name], 4)
        row["after"][str(seed)] = found = round(evaluate(job, tuned), 4)
        row["seconds_per_epoch"] += [round(s, 3) for s in seconds]
        print(
            f"{job.name:<24} {job.gradient:<15} seed {seed}: {row['before']:6.2f} -> "
            f"{found:6.2f} %, {seconds[-1]:.2f} s an epoch",
            flush=True,
        )
        written = [
            dict(multiplier=m, gradient=g, **row)
            for (m, g), row in rows.items()
            if row["after"]
        ]
        results = dict(settings=settings, kinds=kinds, same_bits=same_bits, rows=written)
        _gpu.write(options.out, results)


def earlier_rows(path, settings):
    """What a file of results with these settings holds, by multiplier and gradient."""
    if path is None or not path.exists():
        return {}
    results = json.loads(path.read_text(encoding="utf-8"))["results"]
    if results["settings"] != settings:
        raise SystemExit(
            f"finetune: results of one file have equal settings, got {settings} for {path} "
            f"with {results['settings']}. Name another file."
        )
    return {(row.pop("multiplier"), row.pop("gradient")): row for row in results["rows"]}


if __name__ == "__main__":
    main()
