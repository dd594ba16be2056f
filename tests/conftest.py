# SPDX-License-Identifier: Apache-2.0
"""Strict JAX for all tests; GPU tests skip, saying why, where there is no GPU."""

import os
import pathlib

# Before JAX starts a backend: virtual CPU devices for tests of several devices.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
).strip()

import hypothesis
import jax
import numpy as np
import pytest

import axjax
from axjax import _cpu

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

hypothesis.settings.register_profile("axjax", deadline=None, derandomize=True)
hypothesis.settings.load_profile("axjax")

SHARED = pathlib.Path(__file__).parents[2] / "shared"


def pytest_collection_modifyitems(items):
    cuda_tests = [item for item in items if item.get_closest_marker("cuda")]
    if not cuda_tests:
        return
    usable = axjax.build_info()["engines"]["cuda_texture"]
    if usable != "usable":
        for item in cuda_tests:
            item.add_marker(pytest.mark.skip(reason=f"no CUDA engine here: {usable}"))


@pytest.fixture(autouse=True)
def device(request):
    """GPU tests run on the GPU, all others on the CPU, whatever JAX prefers here."""
    if request.node.get_closest_marker("cuda"):
        yield
    else:
        with jax.default_device(jax.devices("cpu")[0]):
            yield


@pytest.fixture
def rng(request):
    """Random numbers that differ from test to test and are the same in every run."""
    return np.random.default_rng(list(request.node.nodeid.encode()))


@pytest.fixture(params=_cpu.build()["instruction_sets"])
def instruction_set(request):
    """Every instruction set of this machine in turn, in use by the CPU engines."""
    chosen = _cpu.build()["instruction_set"]
    assert _cpu.set_instruction_set(request.param)
    yield request.param
    assert _cpu.set_instruction_set(chosen)


@pytest.fixture(scope="session")
def shared_luts():
    """Folder of real tables, which are no part of this repository."""
    folder = SHARED / "luts" / "evoapprox8"
    if not folder.is_dir():
        pytest.skip("the real tables are not beside this checkout")
    return folder
