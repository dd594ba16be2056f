# SPDX-License-Identifier: Apache-2.0
"""TFApprox's Table I again: ResNet-8 to ResNet-62 over 10,000 images of CIFAR-10's shape.

    python benchmarks/table1.py --out benchmarks/results/table1.json

For each network, exact in float32 (JAX's default precision, which is TF32 on such GPUs, and
the highest) and emulated by every engine that can run here, all in one run: seconds, products a
second, and the ratio to exact. Every convolution is emulated; parameters are random, which
times do not depend on. Tables of 4 and 8 terms are real, that of 16 is random.
Before an engine is timed, its sums are compared with those of `xla`, bit for bit.

On CPUs fewer images are timed (`--cpu-images`), and the seconds scaled to `--images`.
TFApprox's own figures stand beside them: theirs, on their hardware, with their networks.
"""

import argparse
import concurrent.futures
import functools
import itertools
import os
import pathlib

import _gpu
import jax
import jax.numpy as jnp
import numpy as np
from networks import ResNet20

import axjax
from axjax import linen as axnn

DEPTHS = (8, 14, 20, 26, 32, 38, 44, 50, 56, 62)
GPU_ENGINES = ("cuda_texture", "cuda_gather", "cuda_tensor_core")
CPU_ENGINES = ("cpu", "cpu_factored")
FACTORED = ("cuda_tensor_core", "cpu_factored")
EXACT = "exact float32"
TFAPPROX = {  # seconds of computation; initialisation not counted
    "exact, GTX 1080": (0.2, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.2, 1.3),
    "emulated, GTX 1080": (1.5, 3.1, 4.7, 6.2, 7.9, 9.4, 10.9, 12.6, 13.9, 15.5),
    "exact, Xeon E5-2620": (4.4, 7.4, 10.4, 13.4, 16.3, 19.3, 22.3, 25.2, 28.1, 31.1),
    "emulated, Xeon E5-2620": (341, 724, 1105, 1489, 1876, 2259, 2640, 3025, 3409, 3796),
}
"""Source: Vaverka, Mrazek, Vasicek, Sekanina, TFApprox, DATE 2020, Table I. Its networks have
21 to 148 million products an image, where those of He et al. have 12 to 140 million."""


def products_of(network):
    """Products of all convolutions for one image."""
    image = jnp.zeros((1, 32, 32, 3))
    found = []

    class Counted(axnn.Conv):
        def __call__(self, x):
            y = super().__call__(x)
            found.append(y.size * x.shape[-1] * 9)
            return y

    jax.eval_shape(network(conv=Counted).init, jax.random.key(0), image)
    return sum(found)


def emulated(network, engine, multiplier):
    quantization = axjax.Quantization(lhs=axjax.GivenRange(-4.0, 4.0))
    conv = functools.partial(
        axnn.Conv, multiplier=multiplier, quantization=quantization, engine=engine
    )
    return network(conv=conv)


def random_variables(network):
    """Variables from 0 to 0.1: variances are positive."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(network().init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    return jax.tree.map(
        lambda s: jnp.asarray(rng.uniform(0, 0.1, s.shape), jnp.float32), shapes
    )


def check(engine, multiplier):
    """Raises unless an engine's sums are those of plain JAX."""
    rng = np.random.default_rng(0)
    lhs, rhs = (
        rng.integers(0, 256, shape, np.uint8) for shape in ((4, 32, 32, 16), (3, 3, 16, 32))
    )
    lhs, rhs = (
        jax.lax.bitcast_convert_type(jnp.asarray(codes), "int8" if t.signed else "uint8")
        for codes, t in ((lhs, multiplier.activation), (rhs, multiplier.weight))
    )
    ours, expected = (
        axjax.lut_conv(lhs, rhs, multiplier, 2, "SAME", pad_code=3, engine=e)
        for e in (engine, "xla")
    )
    assert (ours == expected).all(), (engine, multiplier)


def programs(network, engines, multipliers, images):
    """Name, function and arguments of everything that is timed for one network."""
    variables = jax.device_put(random_variables(network), images.device)

    def exact(v, x):
        return network().apply(v, x)

    yield EXACT, jax.jit(exact), (variables, images)
    yield f"{EXACT}, highest", jax.jit(at_highest_precision(exact)), (variables, images)
    for engine, (name, multiplier) in itertools.product(engines, multipliers.items()):
        if engine not in FACTORED and name != next(iter(multipliers)):
            continue  # the others take equally long for every table
        label = f"{engine}, {multiplier.factors.terms} terms" if engine in FACTORED else engine

        def apply(v, x, m, engine=engine):
            return emulated(network, engine, m).apply(v, x)

        yield label, jax.jit(apply), (variables, images, multiplier)


def at_highest_precision(function):
    def apply(*arguments):
        with jax.default_matmul_precision("highest"):
            return function(*arguments)

    return apply


def measure(device, depths, engines, multipliers, images, timed, batch, repeats):
    """Seconds for `images` of every network and engine on a device, `timed` of them run."""
    batch = min(batch, timed)
    calls = max(1, timed // batch)
    rows = []
    with (
        jax.default_device(device),
        concurrent.futures.ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool,
    ):
        for engine, multiplier in itertools.product(engines, multipliers.values()):
            check(engine, multiplier)
        x = jax.random.normal(jax.random.key(0), (batch, 32, 32, 3))
        x, multipliers = jax.device_put((x, multipliers), device)
        jobs = []
        for depth in depths:
            network = functools.partial(ResNet20, blocks=depth // 6)
            products = products_of(network)
            for name, function, arguments in programs(network, engines, multipliers, x):
                compiled = pool.submit(compile_on, device, function, arguments)
                jobs.append((depth, products, name, compiled, arguments))
        jobs = [(*job[:3], job[3].result(), job[4]) for job in jobs]  # all, before any is timed
        for depth, products, name, function, arguments in jobs:
            slow = name in ("cuda_texture", "cuda_gather")  # seconds, whatever the call costs
            of_call = _gpu.median_seconds(
                function,
                *arguments,
                repeats=min(3, repeats) if slow else repeats,
                inner=1 if slow else calls,
            )
            seconds = of_call * images / batch
            row = dict(depth=depth, program=name, seconds=seconds)
            row["products_per_second"] = products * images / seconds
            if name == EXACT:
                exact = seconds
            row["ratio_to_exact"] = seconds / exact
            rows.append(row)
            print(
                f"  ResNet-{depth:<3} {name:<28} {seconds:10.4f} s "
                f"{row['products_per_second'] / 1e12:9.3f} T products/s "
                f"{row['ratio_to_exact']:7.2f} x exact",
                flush=True,
            )
    return dict(
        device=device.device_kind,
        images=images,
        timed_images=calls * batch,
        batch=batch,
        rows=rows,
    )


def compile_on(device, function, arguments):
    with jax.default_device(device):  # of this thread
        return function.lower(*arguments).compile()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--out", type=pathlib.Path, help="JSON file for the results")
    add("--depths", type=int, nargs="*", default=DEPTHS, choices=DEPTHS)
    add("--images", type=int, default=10_000)
    add("--batch", type=int, default=2000, help="images of a call")
    add("--cpu-images", type=int, default=64, help="timed on a CPU; 0 for no CPU")
    add("--cpu-depths", type=int, nargs="*", default=(8, 62), choices=DEPTHS)
    add("--repeats", type=int, default=5)
    add("--engines", nargs="*", help="all that can run here, unless given")
    add("--multipliers", nargs="*", default=["mul8u_trunc4", "mul8s_exact"])
    add("--terms", type=int, nargs="*", default=[16], help="of random tables besides")
    options = parser.parse_args()
    multipliers = {
        name: jax.tree.map(jnp.asarray, axjax.load(name).factorized())
        for name in options.multipliers
    }
    for terms in options.terms:
        multipliers[f"{terms} terms"] = _gpu.random_factored(np.random.default_rng(0), terms)
    states = axjax.build_info()["engines"]
    usable = [name for name, state in states.items() if state == "usable"]
    wanted = options.engines or (*GPU_ENGINES, *CPU_ENGINES)
    results = {"tfapprox": {"depths": DEPTHS, "seconds": TFAPPROX}, "measured": []}
    shared = multipliers, options.images
    sections = []
    if jax.default_backend() == "gpu":
        engines = [e for e in wanted if e in usable and e not in CPU_ENGINES]
        size = options.images, options.batch, options.repeats
        sections.append((jax.devices()[0], options.depths, engines, *shared, *size))
    if options.cpu_images:
        engines = [e for e in wanted if e in usable and e not in GPU_ENGINES]
        size = options.cpu_images, options.cpu_images, min(3, options.repeats)
        sections.append((jax.devices("cpu")[0], options.cpu_depths, engines, *shared, *size))
    for section in sections:
        scaled = "" if section[5] == options.images else f", scaled from {section[5]}"
        print(f"{section[0].device_kind}, {options.images} images{scaled}", flush=True)
        results["measured"].append(measure(*section))
        _gpu.write(options.out, results)  # what is there so far
    print("TFApprox, as published: seconds of computation for 10,000 images")
    for name, seconds in TFAPPROX.items():
        print(f"  {name:<24} ResNet-8 {seconds[0]:>7} s, ResNet-62 {seconds[-1]:>7} s")


if __name__ == "__main__":
    main()
