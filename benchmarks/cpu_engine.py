# SPDX-License-Identifier: Apache-2.0
"""Products per second of the CPU engine, beside gather loops and XLA's exact float32.

    python benchmarks/cpu_engine.py --out benchmarks/results/cpu_engine.json

A product is one multiply-accumulate that is emulated. Candidates take turns, and the least time
of each counts, so that what else runs on the machine touches all alike: on one thread CPU time,
on all threads the clock's. XLA gives its pool as many threads as the process may use cores, so
that one thread is a process pinned to one core. Every candidate is first compared with the
engine, bit for bit.

The gather loops run on a part of the pixels: their rate does not depend on how many there are.
Depthwise shapes have no loops: published emulators run them as one matrix product per channel.
"""

import argparse
import concurrent.futures
import ctypes
import json
import math
import os
import pathlib
import platform
import random
import subprocess
import sys
import tempfile
import time

import numpy as np
from record import write_record

HERE = pathlib.Path(__file__).parent
# input, kernel, stride, groups
SHAPES = {
    "ResNet-20 stem": ((32, 32, 32, 3), (3, 3, 3, 16), 1, 1),
    "ResNet-20 stage 1": ((32, 32, 32, 16), (3, 3, 16, 16), 1, 1),
    "ResNet-20 stage 2": ((64, 16, 16, 32), (3, 3, 32, 32), 1, 1),
    "ResNet-20 stage 3": ((128, 8, 8, 64), (3, 3, 64, 64), 1, 1),
    "ResNet-50 stem": ((4, 224, 224, 3), (7, 7, 3, 64), 2, 1),
    "ResNet-50 3x3x64": ((4, 56, 56, 64), (3, 3, 64, 64), 1, 1),
    "ResNet-50 3x3x128": ((12, 28, 28, 128), (3, 3, 128, 128), 1, 1),
    "ResNet-50 3x3x256": ((42, 14, 14, 256), (3, 3, 256, 256), 1, 1),
    "ResNet-50 1x1 256 to 64": ((4, 56, 56, 256), (1, 1, 256, 64), 1, 1),
    "ResNet-50 1x1 512 to 2048": ((32, 7, 7, 512), (1, 1, 512, 2048), 1, 1),
    "one image 3x3x256": ((1, 14, 14, 256), (3, 3, 256, 256), 1, 1),
    "one image 3x3x512": ((1, 7, 7, 512), (3, 3, 512, 512), 1, 1),
    "dense 64 x 4096 to 1024": ((64, 1, 1, 4096), (1, 1, 4096, 1024), 1, 1),
    "one pixel 2048 to 1000": ((1, 1, 1, 2048), (1, 1, 2048, 1000), 1, 1),
    "MobileNet stem": ((8, 224, 224, 3), (3, 3, 3, 32), 2, 1),
    "MobileNet 1x1 32 to 64": ((2, 112, 112, 32), (1, 1, 32, 64), 1, 1),
    "MobileNet 1x1 512 to 512": ((42, 14, 14, 512), (1, 1, 512, 512), 1, 1),
    "depthwise 3x3x32": ((2, 112, 112, 32), (3, 3, 1, 32), 1, 32),
    "depthwise 3x3x512": ((8, 14, 14, 512), (3, 3, 1, 512), 1, 512),
    "depthwise 5x5x120": ((8, 28, 28, 120), (5, 5, 1, 120), 1, 120),
}
NUMBERS = ("NHWC", "HWIO", "NHWC")
LOOP_PRODUCTS = 1 << 25


class GatherLoops:
    """The loops of gather_loops.cc on as many threads as this process has cores."""

    def __init__(self, folder):
        library = pathlib.Path(folder, "gather_loops.so")
        native = ["-march=native"] if platform.machine() in ("x86_64", "AMD64") else []
        command = [os.environ.get("CXX", "c++"), "-std=c++17", "-O3", *native, "-shared"]
        source = HERE / "gather_loops.cc"
        subprocess.run([*command, "-fPIC", "-o", library, source], check=True)
        self.library = ctypes.CDLL(str(library))
        self.threads = len(os.sched_getaffinity(0))
        self.pool = concurrent.futures.ThreadPoolExecutor(self.threads)
        self.names = ["scalar_loop"] + ["avx2_gather"] * self.library.has_avx2()

    def run(self, name, patches, kernel, table):
        """The sums of `patches` (pixels, depth), `kernel` (outputs, depth), int32 `table`."""
        pixels, depth = patches.shape
        out = np.empty((pixels, len(kernel)), np.int32)
        function = getattr(self.library, name)
        pointers = [ctypes.c_void_p(a.ctypes.data) for a in (patches, kernel, table)]
        ends = [pixels * i // self.threads for i in range(self.threads + 1)]
        sizes = [ctypes.c_int64(n) for n in (depth, len(kernel))]

        def part(i):
            rows = [ctypes.c_int64(n) for n in ends[i : i + 2]]
            function(*pointers, *rows, *sizes, ctypes.c_void_p(out.ctypes.data))

        if self.threads == 1:
            part(0)
        else:
            list(self.pool.map(part, range(self.threads)))
        return out


def operands(rng, lhs_shape, rhs_shape):
    """Codes as networks have them: half the activations are zero, weights are Gaussian."""
    lhs = rng.integers(0, 256, lhs_shape, dtype=np.uint8) * rng.integers(
        0, 2, lhs_shape, dtype=np.uint8
    )
    rhs = np.clip(rng.normal(128, 35, rhs_shape), 0, 255).astype(np.uint8)
    return lhs, rhs


def patches(lhs, rhs_shape, stride, most):
    """The first `most` rows of the im2col matrix under SAME padding with code 0."""
    import jax

    cut = lhs[: max(1, math.ceil(most * stride**2 / math.prod(lhs.shape[1:3])))]
    taken = jax.lax.conv_general_dilated_patches(
        cut.astype(np.float32),
        rhs_shape[:2],
        (stride, stride),
        "SAME",
        dimension_numbers=NUMBERS,
    )
    depth = math.prod(rhs_shape[:3])
    rows = np.asarray(taken).reshape(-1, depth)[:most]  # channel, then tap
    rows = rows.reshape(-1, rhs_shape[2], depth // rhs_shape[2]).transpose(0, 2, 1)
    return np.ascontiguousarray(rows.reshape(-1, depth).astype(np.uint8))


def candidates(shape, loops):
    """Functions without arguments, each with the products it computes."""
    import jax
    import jax.numpy as jnp

    import axjax
    from axjax import _cpu

    lhs_shape, rhs_shape, stride, groups = shape
    rng = np.random.default_rng(0)
    lhs, rhs = operands(rng, lhs_shape, rhs_shape)
    x, w = jnp.asarray(lhs), jnp.asarray(rhs)
    depth, outputs = math.prod(rhs_shape[:3]), rhs_shape[3]
    tables = {
        "16-bit": rng.integers(0, 2**16, (256, 256)),
        "32-bit": rng.integers(-(2**17), 2**17, (256, 256)),
    }

    def conv(multiplier):
        # An argument, as in a network: no table is compiled into a program.
        run = jax.jit(
            lambda x, w, m: axjax.lut_conv(
                x, w, m, stride, "SAME", feature_group_count=groups, engine="cpu"
            )
        )
        multiplier = jax.tree.map(jnp.asarray, multiplier)
        return lambda: run(x, w, multiplier).block_until_ready()

    engines = {name: conv(axjax.Multiplier(t, name=name)) for name, t in tables.items()}
    sums = np.asarray(engines["16-bit"]())
    products = sums.size * depth
    found = {f"engine, {name} table": (run, products) for name, run in engines.items()}

    def at_level(level):
        def run():
            _cpu.set_instruction_set(level)
            out = engines["16-bit"]()
            _cpu.set_instruction_set(best)
            return out

        return run

    *others, best = _cpu.build()["instruction_sets"]
    for level in others:
        run = at_level(level)
        assert (np.asarray(run()) == sums).all(), level
        found[f"engine, {level}"] = (run, products)

    found["XLA float32"] = (exact_conv(x, w, stride, groups), products)
    if groups > 1:
        return found

    most = max(16, LOOP_PRODUCTS // (depth * outputs))
    rows, kernel = patches(lhs, rhs_shape, stride, most), rhs.reshape(depth, outputs)
    transposed = np.ascontiguousarray(kernel.T)
    table = np.ascontiguousarray(tables["16-bit"], dtype=np.int32)

    @jax.jit
    def jax_gather(rows, kernel, table):
        def step(sums, codes):
            a, b = codes
            index = a.astype(jnp.int32)[:, None] * 256 + b.astype(jnp.int32)[None]
            return sums + jnp.take(table, index), None

        start = jnp.zeros((rows.shape[0], kernel.shape[1]), jnp.int32)
        return jax.lax.scan(step, start, (rows.T, kernel))[0]

    gathered = [jnp.asarray(a) for a in (rows, kernel, table.reshape(-1))]
    part = len(rows) * depth * outputs
    found["JAX gather"] = (lambda: jax_gather(*gathered).block_until_ready(), part)
    for name in loops.names:
        run = lambda name=name: loops.run(name, rows, transposed, table)
        found[name] = (run, part)
    expected = sums.reshape(-1, outputs)[: len(rows)]
    for name in ["JAX gather", *loops.names]:
        assert (np.asarray(found[name][0]()) == expected).all(), name
    return found


def exact_conv(x, w, stride, groups):
    """XLA's float32 convolution of codes, a function without arguments."""
    import jax
    import jax.numpy as jnp

    run = jax.jit(
        lambda x, w: jax.lax.conv_general_dilated(
            x,
            w,
            (stride, stride),
            "SAME",
            dimension_numbers=NUMBERS,
            feature_group_count=groups,
        )
    )
    floats = x.astype(jnp.float32), w.astype(jnp.float32)
    return lambda: run(*floats).block_until_ready()


def rates(found, seconds, clock):
    """Products per second of each candidate."""
    least = dict.fromkeys(found, math.inf)
    calls = {}
    for name, (run, _) in found.items():  # a sample lasts 2 ms or more
        run()
        start = time.perf_counter()
        run()
        calls[name] = max(1, math.ceil(2e-3 / (time.perf_counter() - start)))
    end = time.perf_counter() + seconds
    rounds = 0
    while time.perf_counter() < end or rounds < 3:
        # Once before, and in any order: what the predecessor left in caches and heap counts.
        for name in random.sample(list(found), len(found)):
            run = found[name][0]
            run()
            start = clock()
            for _ in range(calls[name]):
                run()
            least[name] = min(least[name], (clock() - start) / calls[name])
        rounds += 1
    return {name: products / least[name] for name, (_, products) in found.items()}


def measure(options):
    """The rates of every shape, on the cores that this process may use."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        loops = GatherLoops(folder)
        for name, shape in SHAPES.items():
            if options.only not in name:
                continue
            found = results[name] = rates(candidates(shape, loops), options.seconds, clock())
            exact = found["XLA float32"]
            text = ", ".join(f"{k} {v / 1e9:.1f}" for k, v in found.items())
            share = found["engine, 16-bit table"] / exact
            print(f"{name}: {text}; {share:.2f} of float32", file=sys.stderr, flush=True)
    return results


def clock():
    """CPU time on one core, the clock's on several."""
    one = len(os.sched_getaffinity(0)) == 1
    return time.process_time if one else time.perf_counter


def run(script, doc, measure):
    """The script's command line: measures in child processes of one thread and of all."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, help="JSON file for the results")
    parser.add_argument("--only", default="", help="shapes whose name contains this")
    parser.add_argument("--seconds", type=float, default=3, help="for each shape")
    parser.add_argument("--threads", choices=("one", "all", "both"), default="both")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        json.dump(measure(options), sys.stdout)
        return
    cores = sorted(os.sched_getaffinity(0))
    uses = {"one thread": cores[-1:], f"{len(cores)} threads": cores}
    if options.threads != "both":
        keep = [*uses][0 if options.threads == "one" else -1]
        uses = {keep: uses[keep]}
    results = {}
    for name, use in uses.items():
        print(f"== {name}: G products/s", file=sys.stderr)
        child = subprocess.run(
            [sys.executable, script, "--child", *sys.argv[1:]],
            stdout=subprocess.PIPE,
            check=True,
            preexec_fn=lambda use=use: os.sched_setaffinity(0, use),
        )
        results[name] = json.loads(child.stdout)
    if options.out:
        write_record(options.out, {"cores": len(cores), "products_per_second": results})


if __name__ == "__main__":
    run(__file__, __doc__, measure)
