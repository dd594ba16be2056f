# SPDX-License-Identifier: Apache-2.0
"""Whole networks on the GPU, emulated beside exact, in one run.

    python benchmarks/gpu_networks.py --out benchmarks/results/gpu_networks.json

Forward passes under jit with parameters at their initial values: ResNet-50 on 256 images of
224 x 224, ResNet-20 on 1024 of 32 x 32. Every convolution is emulated; activations have given
ranges, kernels a scale for each output channel. Exact is float32 in JAX's default precision.
"""

import argparse
import functools
import pathlib

import _gpu
import jax
import jax.numpy as jnp
import networks

import axjax
from axjax import linen as axnn

MULTIPLIERS = {  # name, and how much room for noise its table leaves
    "signed, 4 terms": "mul8s_exact",
    "signed, 8 terms": "mul8s_drum4",
    "signed, 68 terms": "mul8s_mitchell",
    "unsigned, 8 terms": "mul8u_trunc4",
}


def measure(network, shape, multipliers, engines, repeats):
    x = jax.random.normal(jax.random.key(0), shape)
    exact = network()
    variables = jax.jit(exact.init)(jax.random.key(1), x[:2])
    seconds = {}

    def time(name, model, *arguments):
        apply = jax.jit(lambda v, x, *a: model(*a).apply(v, x))
        seconds[name] = _gpu.median_seconds(
            apply, variables, x, *arguments, repeats=repeats, inner=3
        )
        print(f"  {name:<48} {seconds[name] * 1e3:9.3f} ms", flush=True)

    time("exact float32", network)
    quantization = axjax.Quantization(lhs=axjax.GivenRange(-4.0, 4.0))
    for engine in engines:
        for label, file in multipliers.items():

            def emulated(multiplier, engine=engine):
                conv = functools.partial(
                    axnn.Conv, multiplier=multiplier, quantization=quantization, engine=engine
                )
                return network(conv=conv)

            multiplier = jax.tree.map(jnp.asarray, axjax.load(file))
            time(f"{engine}: {label}", emulated, multiplier)
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, help="JSON file for the results")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--engines", nargs="*", default=["auto"])
    parser.add_argument("--multipliers", type=int, default=4, help="the first so many")
    options = parser.parse_args()
    chosen = dict(list(MULTIPLIERS.items())[: options.multipliers])
    results = {}
    for name, (network, shape) in networks.NETWORKS.items():
        print(f"{name}, {shape[0]} images", flush=True)
        seconds = measure(network, shape, chosen, options.engines, options.repeats)
        exact = seconds["exact float32"]
        results[name] = {
            label: {"seconds": s, "ratio to exact float32": s / exact}
            for label, s in seconds.items()
        }
        for label, s in seconds.items():
            print(f"  {label:<48} {s / exact:6.2f} x exact")
    _gpu.write(options.out, results)


if __name__ == "__main__":
    main()
