# SPDX-License-Identifier: Apache-2.0
"""What the GPU benchmarks share: timing, random tables, and what is known of the run."""

import datetime
import json
import pathlib
import statistics
import subprocess
import time

import jax
import jax.numpy as jnp
import numpy as np
import record

import axjax


def median_seconds(function, *operands, repeats=10, inner=10):
    """Median over `repeats` of the mean time of `inner` calls that are waited for together."""
    jax.block_until_ready([function(*operands) for _ in range(3)])
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(inner):
            out = function(*operands)
        jax.block_until_ready(out)
        times.append((time.perf_counter() - start) / inner)
    return statistics.median(times)


def random_factored(rng, terms):
    """A multiplier with random factors; small ones, so that deep layers' sums fit int32."""
    u = rng.integers(-128, 128, (1, 256, terms), dtype=np.int8)
    v = rng.integers(-16, 16, (1, 256, terms), dtype=np.int8)
    zero = np.zeros(256, np.int32)
    factors = axjax.Factors(u, v, zero, zero, (terms,), alpha_is_zero=True)
    multiplier = axjax.Multiplier(factors.table(), name=f"{terms} terms")
    return jax.tree.map(jnp.asarray, multiplier.with_factors(factors))


def environment():
    """Device, driver, versions, commit and date."""
    device = jax.devices()[0]
    found = {
        "device": device.device_kind,
        "platform": device.platform,
        "jax": jax.__version__,
        "axjax": axjax.__version__,
        "commit": record.commit(),
        "date": datetime.date.today().isoformat(),
    }
    if device.platform == "gpu":
        fields = "driver_version,clocks.max.sm"
        query = _output("nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader")
        found["driver"], found["top_clock"] = (query or "unknown, unknown").split(", ")[:2]
    return found


def write(path, results):
    """Writes results, with the environment, as JSON."""
    if path is None:
        return
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"environment": environment(), "results": results}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def _output(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None
