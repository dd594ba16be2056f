# SPDX-License-Identifier: Apache-2.0
"""Straight-through gradients beside slopes of the table, on handwritten digits.

    python benchmarks/finetune_digits.py --out benchmarks/results/finetune_digits.json

The network of `axjax demo` is trained in float, and fine-tuned for a few epochs under each
multiplier by each gradient from the same start, for several seeds. Accuracy on the 500 test
images in percent; no step, rate or half window is picked by its result.
"""

import argparse
import pathlib
import statistics

import _gpu
import jax
import numpy as np

import axjax
from axjax.demo import model, training
from axjax.demo.data import load_digits

MULTIPLIERS = ["mul8u_drum3", "mul8u_bam_h4v8", "mul8u_trunc8", "mul8u_mitchell"]


def gradients(multiplier, half_windows):
    yield "clipped_ste", None
    for half in half_windows:
        yield f"half window {half}", axjax.Gradient.lut_difference(multiplier, half)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--out", type=pathlib.Path, help="JSON file for the results")
    add("--multipliers", nargs="*", default=MULTIPLIERS, help="names or files")
    add("--half-windows", type=int, nargs="*", default=[4, 16, 64])
    add("--seeds", type=int, nargs="*", default=[0, 1, 2])
    add("--float-epochs", type=int, default=12)
    add("--epochs", type=int, default=3)
    options = parser.parse_args()
    digits = load_digits()
    multipliers = [axjax.load(name) for name in options.multipliers]
    found = {m.name: {} for m in multipliers}
    for seed in options.seeds:
        start = training.train(
            training.initial_parameters(seed),
            digits.train,
            training.Recipe(options.float_epochs, 2e-3),
            seed=seed,
        )
        ranges = model.calibrate(start, digits.train.x)

        def accuracy(parameters, multiplier, ranges=ranges):
            multiplier = jax.tree.map(np.asarray, multiplier.with_gradient(None))
            seen = training.predict(
                parameters, digits.test.x, multiplier, ranges, engine="auto"
            )
            return 100 * float((np.asarray(seen) == digits.test.y).mean())

        for multiplier in multipliers:
            row = found[multiplier.name]
            row.setdefault("before", []).append(accuracy(start, multiplier))
            for name, gradient in gradients(multiplier, options.half_windows):
                tuned = training.train(
                    start,
                    digits.train,
                    training.Recipe(options.epochs, 1e-3),
                    seed=seed + 1,
                    multiplier=multiplier.with_gradient(gradient),
                    ranges=ranges,
                )
                row.setdefault(name, []).append(accuracy(tuned, multiplier))
    for name, row in found.items():
        means = (
            f"{k} {statistics.mean(v):.1f} ({min(v):.1f} to {max(v):.1f})"
            for k, v in row.items()
        )
        print(f"{name}: " + ", ".join(means))
    settings = {k: v for k, v in vars(options).items() if k != "out"}
    settings["multipliers"] = [m.name for m in multipliers]
    _gpu.write(options.out, {"settings": settings, "accuracy": found})


if __name__ == "__main__":
    main()
