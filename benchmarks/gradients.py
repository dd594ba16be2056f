# SPDX-License-Identifier: Apache-2.0
"""What `lut_difference` costs: terms of its slopes, and time of a gradient beside the others'.

    python benchmarks/gradients.py --out benchmarks/results/gradients.json

Times are those of the gradient of 3x3 convolutions of ResNet-20, forward pass included, beside
that of JAX's exact convolution. `--tables` adds files to the terms.
"""

import argparse
import pathlib

import _gpu
import jax
import jax.numpy as jnp

import axjax
from axjax import Gradient

NUMBERS = ("NHWC", "HWIO", "NHWC")
TIMED = ("mul8u_drum3", "mul8u_bam_h4v8", "mul8u_mitchell")
LAYERS = {
    "32 x 32, 16 channels": ((32, 32, 16), (3, 3, 16, 16)),
    "16 x 16, 32 channels": ((16, 16, 32), (3, 3, 32, 32)),
}
TOLERANCES = (0.0, 0.001, 0.01, 0.03)


def terms_of(multiplier):
    return {
        str(tolerance): Gradient.lut_difference(multiplier, tolerance=tolerance).terms
        for tolerance in TOLERANCES
    }


def gradient_of(multiplier, x, w):
    quantization = None
    if multiplier is not None:
        quantization = axjax.Quantization(lhs=axjax.GivenRange(-4.0, 4.0))

    def loss(x, w):
        out = axjax.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=NUMBERS, multiplier=multiplier,
            quantization=quantization,
        )  # fmt: skip
        return (out**2).sum()

    return jax.grad(loss, (0, 1))(x, w)


def times_of(shape, kernel, batch, repeats):
    x = jax.random.normal(jax.random.key(0), (batch, *shape))
    w = jax.random.normal(jax.random.key(1), kernel)
    programs = {"exact": None}
    for name in TIMED:
        multiplier = axjax.load(name)
        for gradient in (None, Gradient.lut_difference(multiplier)):
            terms = "" if gradient is None else f", {gradient.terms} terms"
            programs[f"{name}{terms}"] = multiplier.with_gradient(gradient)
    function = jax.jit(gradient_of)
    return {
        name: _gpu.median_seconds(
            function, jax.tree.map(jnp.asarray, multiplier), x, w, repeats=repeats, inner=3
        )
        for name, multiplier in programs.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, help="JSON file for the results")
    parser.add_argument("--tables", nargs="*", default=[], help="files besides what ships")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    results = {"terms": {}, "batch": options.batch, "seconds": {}}
    print(f"terms for activations and for weights, by tolerance: {TOLERANCES}")
    for source in [*axjax.available(), *options.tables]:
        multiplier = axjax.load(source)
        results["terms"][multiplier.name] = found = terms_of(multiplier)
        print(f"  {multiplier.name:<18}", *found.values())
    for layer, shapes in LAYERS.items():
        results["seconds"][layer] = found = times_of(*shapes, options.batch, options.repeats)
        print(f"{layer}, {options.batch} images")
        for name, seconds in found.items():
            share = seconds / found["exact"]
            print(f"  {name:<36} {1e3 * seconds:9.3f} ms {share:6.2f} x exact", flush=True)
    _gpu.write(options.out, results)


if __name__ == "__main__":
    main()
