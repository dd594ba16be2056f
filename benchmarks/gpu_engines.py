# SPDX-License-Identifier: Apache-2.0
"""Products per second of the GPU engines, layer by layer, beside JAX's own convolutions.

    python benchmarks/gpu_engines.py --out benchmarks/results/gpu_engines.json

A product is one multiply-accumulate that is emulated. Every engine's sums are first compared
with those of another engine, bit for bit. Times are medians over repeats of several calls that
are waited for together. `gpu_report.py` draws the result.
"""

import argparse
import math
import pathlib

import _gpu
import jax
import jax.numpy as jnp
import numpy as np
from networks import LAYERS

import axjax

NUMBERS = ("NHWC", "HWIO", "NHWC")
TERMS = (4, 8, 16, 32, 64, 128, 256)
FETCHES_A_CLOCK, MACS_A_CLOCK = 4, 4096  # of a multiprocessor, compute capability 9.0


def emulated(multiplier, engine, stride, groups):
    def conv(lhs, rhs):
        return axjax.lut_conv(
            lhs, rhs, multiplier, stride, "SAME",
            pad_code=3, feature_group_count=groups, engine=engine,
        )  # fmt: skip

    return jax.jit(conv)


def exact(precision, stride, groups):
    def conv(lhs, rhs):
        return jax.lax.conv_general_dilated(
            lhs, rhs, (stride, stride), "SAME", dimension_numbers=NUMBERS,
            feature_group_count=groups, precision=precision,
        )  # fmt: skip

    return jax.jit(conv)


def candidates(rng, lhs, rhs, stride, groups):
    """Name, function and operands of everything that is timed."""
    table = axjax.Multiplier(rng.integers(0, 2**16, (256, 256)), name="random")
    table = jax.tree.map(jnp.asarray, table)
    codes = (lhs, rhs)
    yield "cuda_texture", emulated(table, "cuda_texture", stride, groups), codes
    yield "cuda_gather", emulated(table, "cuda_gather", stride, groups), codes
    for terms in TERMS:
        conv = emulated(_gpu.random_factored(rng, terms), "cuda_tensor_core", stride, groups)
        yield f"cuda_tensor_core, {terms} terms", conv, codes
    yield "plain JAX gather", emulated(table, "xla", stride, groups), codes
    for name, dtype, precision in (
        ("exact float32", jnp.float32, None),
        ("exact float32, highest", jnp.float32, "highest"),
        ("exact bfloat16", jnp.bfloat16, None),
    ):
        operands = tuple(a.astype(dtype) for a in codes)
        yield name, exact(precision, stride, groups), operands


def check(rng, lhs_shape, rhs_shape, stride, groups):
    """Raises unless all engines agree on a few images of the layer's shape."""
    lhs = jnp.asarray(rng.integers(0, 256, (2, *lhs_shape[1:]), dtype=np.uint8))
    rhs = jnp.asarray(rng.integers(0, 256, rhs_shape, dtype=np.uint8))
    for terms in (4, 20):
        multiplier = _gpu.random_factored(rng, terms)
        expected = emulated(multiplier, "xla", stride, groups)(lhs, rhs)
        for engine in ("cuda_texture", "cuda_gather", "cuda_tensor_core"):
            out = emulated(multiplier, engine, stride, groups)(lhs, rhs)
            assert (out == expected).all(), (engine, terms, lhs_shape, rhs_shape)


def measure(lhs_shape, rhs_shape, stride, repeats):
    rng = np.random.default_rng(0)
    groups = lhs_shape[-1] // rhs_shape[-2]
    check(rng, lhs_shape, rhs_shape, stride, groups)
    lhs = jnp.asarray(rng.integers(0, 256, lhs_shape, dtype=np.uint8))
    rhs = jnp.asarray(rng.integers(0, 256, rhs_shape, dtype=np.uint8))
    pixels = lhs_shape[0] * math.prod(-(-size // stride) for size in lhs_shape[1:-1])
    products = pixels * math.prod(rhs_shape)
    rates = {}
    for name, function, operands in candidates(rng, lhs, rhs, stride, groups):
        inner = 2 if name in ("cuda_texture", "cuda_gather", "plain JAX gather") else 10
        seconds = _gpu.median_seconds(function, *operands, repeats=repeats, inner=inner)
        rates[name] = products / seconds
    return rates


def shares(rates, clock_hz, multiprocessors):
    """Each rate beside the physical limit and beside two others of the same layer."""
    found = {}
    for name, rate in rates.items():
        row = {
            "products_per_second": rate,
            "ratio to cuda_texture": rate / rates["cuda_texture"],
            "ratio to exact float32": rate / rates["exact float32"],
        }
        if name == "cuda_texture":
            limit = FETCHES_A_CLOCK * multiprocessors * clock_hz
            row["share of the texture units' limit"] = rate / limit
        if name.startswith("cuda_tensor_core"):
            limit = MACS_A_CLOCK * multiprocessors * clock_hz
            terms = int(name.split()[1])
            row["share of the int8 units' limit"] = rate * terms / limit
        found[name] = row
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, help="JSON file for the results")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--layers", type=int, default=len(LAYERS), help="the first so many")
    options = parser.parse_args()
    device = jax.devices()[0]
    clock_hz = float(str(_gpu.environment().get("top_clock", "1980 MHz")).split()[0]) * 1e6
    results = {}
    for name, (lhs, rhs, stride) in list(LAYERS.items())[: options.layers]:
        rates = measure(lhs, rhs, stride, options.repeats)
        results[name] = shares(rates, clock_hz, device.core_count)
        print(name)
        for label, row in results[name].items():
            print(f"  {label:<32} {row['products_per_second'] / 1e12:8.3f} T products/s,"
                  f" {row['ratio to cuda_texture']:7.2f} x texture,"
                  f" {row['ratio to exact float32']:6.3f} x float32", flush=True)  # fmt: skip
    _gpu.write(options.out, results)


if __name__ == "__main__":
    main()
