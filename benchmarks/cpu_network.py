# SPDX-License-Identifier: Apache-2.0
"""ResNet-20 over 1,000 images on the CPU: emulated, quantisation included, beside float32.

    python benchmarks/cpu_network.py --out benchmarks/results/cpu_network.json

Both networks are compiled with jit and take turns; the least time of each counts. Needs Optax
and Rich, as the example whose network this is (examples/resnet.py). Parameters and images are
random, which no time depends on but by how many activations are zero.
"""

import argparse
import functools
import os
import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from record import write_record

import axjax

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))
from cifar10_data import normalize
from resnet import input_ranges, resnet

IMAGES = 1000
MULTIPLIERS = ("mul8s_drum4", "mul8u_drum4", "random")
FACTORED = ("mul8s_exact", "mul8s_drum4", "mul8s_trunc4", "mul8u_drum4", "mul8u_trunc4")


def multiplier_of(name):
    if name == "random":
        table = np.random.default_rng(1).integers(0, 2**16, (256, 256))
        return axjax.Multiplier(table, name=name)
    return axjax.load(name)


def seconds(runs, repeats):
    """Least time of each, taking turns: CPU time on one core, the clock's on several."""
    clock = time.process_time if len(os.sched_getaffinity(0)) == 1 else time.perf_counter
    least = dict.fromkeys(runs, float("inf"))
    for _ in range(repeats):
        for name, run in runs.items():
            start = clock()
            run()
            least[name] = min(least[name], clock() - start)
    return least


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, help="JSON file for the results")
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    key = jax.random.key(0)
    images = jax.random.randint(key, (IMAGES, 32, 32, 3), 0, 256, jnp.uint8)
    batches = images.reshape(-1, options.batch, 32, 32, 3)
    variables = resnet(20, None, {}).init(key, normalize(batches[0]))
    ranges = input_ranges(variables, normalize(batches[0]), depth=20)

    @functools.partial(jax.jit, static_argnames="engine")
    def predict(variables, images, multiplier, ranges, engine):
        network = resnet(20, multiplier, ranges, engine)
        return network.apply(variables, normalize(images)).argmax(-1)

    def over_images(multiplier, engine="auto"):
        known = ranges if multiplier else {}

        def run():
            for batch in batches:
                predict(variables, batch, multiplier, known, engine).block_until_ready()

        run()  # compiles
        return run

    runs = {"float32": over_images(None)}
    for engine, names in (("cpu", MULTIPLIERS), ("cpu_factored", FACTORED)):
        for name in names:
            multiplier = jax.tree.map(jnp.asarray, multiplier_of(name))
            runs[f"{name}, {engine}"] = over_images(multiplier, engine)
    found = seconds(runs, options.repeats)
    for name, time_taken in found.items():
        print(f"{name}: {time_taken:.3f} s, {time_taken / found['float32']:.2f} of float32")
    if options.out:
        cores = len(os.sched_getaffinity(0))
        write_record(options.out, {"threads": cores, "batch": options.batch, "seconds": found})


if __name__ == "__main__":
    main()
