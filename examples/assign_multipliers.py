# SPDX-License-Identifier: Apache-2.0
"""A multiplier for each layer of a network on handwritten digits: accuracy against power.

python assign_multipliers.py --out assignment                 # about a minute on two cores
python assign_multipliers.py --generations 3 --population 8   # smoke test

Power is estimated: the share of an exact array multiplier's 64 cells that is left. That is fair
among truncated and broken-array multipliers, and only there; use measured figures for others.
"""

import argparse
import functools
import pathlib

import jax
import numpy as np

import axjax
from axjax import linen as axnn
from axjax.demo import model, training
from axjax.demo.data import load_digits
from axjax.search import assign_multipliers

BROKEN_ARRAY = {  # horizontal and vertical break level
    "mul8u_exact": (0, 0),
    "mul8u_trunc2": (0, 2),
    "mul8u_trunc4": (0, 4),
    "mul8u_trunc6": (0, 6),
    "mul8u_trunc8": (0, 8),
    "mul8u_bam_h1v4": (1, 4),
    "mul8u_bam_h2v6": (2, 6),
    "mul8u_bam_h4v8": (4, 8),
}
PRODUCTS = {  # output pixels x kernel x output channels
    "conv1": 64 * 9 * 16,
    "conv2": 64 * 9 * 16 * 32,
    "conv3": 16 * 9 * 32 * 32,
    "dense": 128 * 10,
}


def cells(horizontal, vertical):
    """Cells of an 8 x 8 array that are left, as a share."""
    row, column = np.ogrid[:8, :8]
    return float(((row >= horizontal) & (row + column >= vertical)).mean())


@jax.jit  # the multipliers are arguments: one program for every assignment
def hits(parameters, x, y, multipliers, ranges):
    def layer(of_flax, *args, name, **kwargs):
        quantization = axjax.Quantization(lhs=axjax.GivenRange(*ranges[name]))
        keywords = dict(multiplier=multipliers[name], quantization=quantization)
        return of_flax(*args, name=name, **keywords, **kwargs)

    network = model.DigitsNet(
        conv=functools.partial(layer, axnn.Conv), dense=functools.partial(layer, axnn.Dense)
    )
    scores = network.apply({"params": parameters}, x)
    return (scores.argmax(-1) == y).sum()


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--out", type=pathlib.Path, default=pathlib.Path("assignment"), help="folder")
    add("--population", type=int, default=24)
    add("--generations", type=int, default=20)
    add("--floor", type=float, default=1.0, help="points that may be lost (1)")
    add("--epochs", type=int, default=12, help="of training in float (12)")
    add("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    digits = load_digits()
    parameters = training.train(
        training.initial_parameters(options.seed),
        digits.train,
        training.Recipe(options.epochs, learning_rate=2e-3),
        seed=options.seed,
    )
    ranges = model.calibrate(parameters, digits.train.x)
    # The search looks at training images; the test images are for the report alone.
    search, test = digits.train, digits.test

    def accuracy(images, multipliers):
        found = hits(parameters, images.x, images.y, multipliers, ranges)
        return round(100 * int(found) / len(images.y), 4)

    multipliers = axjax.alike(axjax.load(name) for name in BROKEN_ARRAY)
    exact = accuracy(search, dict.fromkeys(PRODUCTS, multipliers[0]))
    front = assign_multipliers(
        functools.partial(accuracy, search),
        PRODUCTS,
        multipliers,
        {name: cells(*levels) for name, levels in BROKEN_ARRAY.items()},
        floor=exact - options.floor,
        population=options.population,
        generations=options.generations,
        seed=options.seed,
        checkpoint=options.out / "checkpoint.json",
    )
    front.write(options.out)
    by_name = {m.name: m for m in multipliers}
    print(f"{'power':>6} {'search %':>9} {'test %':>7}  " + "  ".join(PRODUCTS))
    for found in front.assignments:
        on_test = accuracy(test, {k: by_name[name] for k, name in found.multipliers.items()})
        names = "  ".join(name.removeprefix("mul8u_") for name in found.multipliers.values())
        print(f"{found.power:6.3f} {found.accuracy:9.2f} {on_test:7.2f}  {names}")
    print(f"{len(front.evaluated)} of {len(multipliers) ** len(PRODUCTS)} assignments tried")
    print(f"wrote {options.out}/front.json, front.csv and front.png")


if __name__ == "__main__":
    main()
