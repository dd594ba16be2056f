# SPDX-License-Identifier: Apache-2.0
"""Two processes, one program: an emulated network over the devices of both."""

import os
import socket
import subprocess
import sys

import pytest

PROGRAM = """
import sys
import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"localhost:{sys.argv[1]}", 2, int(sys.argv[2]))
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

import axjax

assert jax.process_count() == 2 and len(jax.devices()) == 4, jax.devices()
mesh = jax.make_mesh((4,), ("batch",), axis_types=(AxisType.Auto,))
rng = np.random.default_rng(0)
x = rng.normal(size=(8, 5)).astype(np.float32)
w = [rng.normal(size=(5, 6)).astype(np.float32), rng.normal(size=(6, 3)).astype(np.float32)]
network = lambda w, x: jax.nn.relu(x @ w[0]) @ w[1]
emulated = axjax.emulate(network, [axjax.Rule(".*", axjax.load("mul8s_trunc4"))])
with jax.default_device(jax.local_devices()[0]):
    expected = np.asarray(jax.jit(emulated)(w, x))
sharding = NamedSharding(mesh, P("batch"))
placed = jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])
compiled = jax.jit(emulated, out_shardings=sharding).lower(w, placed).compile()
assert "all-gather" not in compiled.as_text()
out = compiled(w, placed)
for shard in out.addressable_shards:
    np.testing.assert_allclose(shard.data, expected[shard.index], rtol=0, atol=1e-5)
print("equal on", len(out.addressable_shards), "devices")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="collectives between CPUs need Linux")
def test_two_processes_compute_one_network(tmp_path):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = str(probe.getsockname()[1])
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, str(program), port, str(number)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        for number in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output
        assert "equal on 2 devices" in output
