# SPDX-License-Identifier: Apache-2.0
"""Products per second of the GPU engines, beside JAX's own convolutions, in one run.

    python benchmarks/gpu_engines.py --out benchmarks/results/gpu_engines.json

A product is one multiply-accumulate that is emulated. Every engine is first compared with the
`xla` engine, bit for bit. Times are medians of calls that are each waited for; the inputs of a
call are 2 MB and more, and outputs 16 MB and more.
"""

import argparse
import datetime
import json
import math
import pathlib
import statistics
import subprocess
import time

import jax
import jax.numpy as jnp
import numpy as np

import axjax

SHAPES = {
    "(M, K, N) = (65536, 1152, 128)": ((64, 32, 32, 128), (3, 3, 128, 128)),
    "ResNet-20 stage 1": ((1024, 32, 32, 16), (3, 3, 16, 16)),
    "ResNet-20 stage 3": ((1024, 8, 8, 64), (3, 3, 64, 64)),
    "ResNet-50 1x1": ((32, 28, 28, 512), (1, 1, 512, 128)),
    "stem": ((256, 32, 32, 3), (3, 3, 3, 16)),
}
NUMBERS = ("NHWC", "HWIO", "NHWC")


def median_seconds(function, *operands, repeats):
    jax.block_until_ready(function(*operands))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function(*operands))
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def exact(precision, dtype):
    def conv(lhs, rhs):
        lhs, rhs = lhs.astype(dtype), rhs.astype(dtype)
        return jax.lax.conv_general_dilated(
            lhs, rhs, (1, 1), "SAME", dimension_numbers=NUMBERS, precision=precision
        )

    return conv


def emulated(engine, multiplier):
    def conv(lhs, rhs):
        return axjax.lut_conv(lhs, rhs, multiplier, 1, "SAME", pad_code=3, engine=engine)

    return conv


def measure(lhs_shape, rhs_shape, repeats):
    rng = np.random.default_rng(0)
    lhs = jnp.asarray(rng.integers(0, 256, lhs_shape, dtype=np.uint8))
    rhs = jnp.asarray(rng.integers(0, 256, rhs_shape, dtype=np.uint8))
    multiplier = jax.tree.map(
        jnp.asarray, axjax.Multiplier(rng.integers(0, 2**16, (256, 256)), name="random")
    )
    products = math.prod(lhs_shape[:3]) * math.prod(rhs_shape)
    expected = jax.jit(emulated("xla", multiplier))(lhs, rhs)
    rates = {}
    for engine in ("cuda_texture", "xla"):
        run = jax.jit(emulated(engine, multiplier))
        assert (run(lhs, rhs) == expected).all(), engine
        rates[engine] = products / median_seconds(run, lhs, rhs, repeats=repeats)
    floats = lhs.astype(jnp.float32), rhs.astype(jnp.float32)
    halves = lhs.astype(jnp.bfloat16), rhs.astype(jnp.bfloat16)
    for name, precision, operands in (
        ("exact float32", None, floats),
        ("exact float32, highest", "highest", floats),
        ("exact bfloat16", None, halves),
    ):
        run = jax.jit(exact(precision, operands[0].dtype))
        rates[name] = products / median_seconds(run, *operands, repeats=repeats)
    return rates


def commit():
    git = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, help="JSON file for the results")
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    results = {}
    for name, shapes in SHAPES.items():
        results[name] = measure(*shapes, options.repeats)
        rates = ", ".join(f"{k} {v / 1e12:.3f}" for k, v in results[name].items())
        print(f"{name}: T products/s: {rates}", flush=True)
    if options.out:
        record = {
            "device": jax.devices()[0].device_kind,
            "jax": jax.__version__,
            "axjax": axjax.__version__,
            "commit": commit(),
            "date": datetime.date.today().isoformat(),
            "products_per_second": results,
        }
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
