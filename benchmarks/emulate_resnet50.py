# SPDX-License-Identifier: Apache-2.0
"""What emulating ResNet-50 costs before it runs: time to trace and compile, and memory.

`python benchmarks/emulate_resnet50.py --batch 8 --output STEM` compares the exact network with
its emulation, inference and gradient, each compiled from scratch. Memory is what XLA
plans for the program: arguments, results and temporary buffers. The network is that of the
tests, at its full width.
"""

from __future__ import annotations

import argparse
import datetime
import json
import pathlib
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp

import axjax

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))
import networks


def measure(function: Any, *arguments: Any) -> dict[str, float]:
    """Processor seconds (of all threads) to trace, lower and compile, and planned memory."""
    jax.clear_caches()
    begin = time.process_time()
    traced = jax.jit(function).trace(*arguments)
    mark = [time.process_time()]
    lowered = traced.lower()
    mark.append(time.process_time())
    compiled = lowered.compile()
    mark.append(time.process_time())
    memory = compiled.memory_analysis()
    planned = (
        memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    )
    return {
        "trace_s": mark[0] - begin,
        "lower_s": mark[1] - mark[0],
        "compile_s": mark[2] - mark[1],
        "total_s": mark[2] - begin,
        "planned_MB": planned / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--multiplier", default="mul8s_trunc4")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--output", type=pathlib.Path, help="writes OUTPUT.json")
    options = parser.parse_args()
    network = networks.ResNet50(classes=1000)
    images = jax.ShapeDtypeStruct((options.batch, options.size, options.size, 3), jnp.float32)
    variables = jax.eval_shape(network.init, jax.random.key(0), images)
    multiplier = axjax.load(options.multiplier)

    def emulated(variables, images, multiplier):
        return axjax.emulate(network.apply, [axjax.Rule(".*", multiplier)])(variables, images)

    def exact(variables, images, multiplier):
        return network.apply(variables, images)

    def gradient(function):
        def loss(params, variables, images, multiplier):
            return function({**variables, "params": params}, images, multiplier).sum()

        return lambda variables, images, multiplier: jax.grad(loss)(
            variables["params"], variables, images, multiplier
        )

    rows = {}
    for name, functions in {
        "inference": (exact, emulated),
        "gradient": (gradient(exact), gradient(emulated)),
    }.items():
        for kind, function in zip(("exact", "emulated"), functions, strict=True):
            runs = [
                measure(function, variables, images, multiplier) for _ in range(options.repeat)
            ]
            rows[f"{name}, {kind}"] = min(runs, key=lambda run: run["total_s"])
    for name, row in rows.items():
        print(f"{name:22}", "  ".join(f"{key} {value:8.2f}" for key, value in row.items()))
    result = {
        "date": datetime.date.today().isoformat(),
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "batch": options.batch,
        "size": options.size,
        "multiplier": options.multiplier,
        "rows": rows,
    }
    if options.output:
        text = json.dumps(result, indent=1)
        options.output.with_suffix(".json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
