# SPDX-License-Identifier: Apache-2.0
"""Flax's own unit tests, unmodified, on our classes: exact signed table, unit scale."""

import importlib.metadata
import os
import pathlib
import subprocess
import sys

import pytest

import axjax

SOURCE = os.environ.get("AXJAX_FLAX_SOURCE")

NOT_OURS = {
    "test_complex_input_dense": "complex numbers have no codes",
    "test_complex_params_dense": "complex numbers have no codes",
}
"""The only tests of these layers that do not run, and why."""


@pytest.mark.skipif(
    not SOURCE,
    reason="needs AXJAX_FLAX_SOURCE, the folder of Flax's unpacked source distribution: "
    "pip download --no-deps --no-binary :all: flax==VERSION",
)
@pytest.mark.parametrize(
    "file", ["linen/linen_linear_test.py", "nnx/nn/conv_test.py", "nnx/nn/linear_test.py"]
)
def test_flax_tests_pass_on_our_layers(file):
    folder = pathlib.Path(SOURCE)
    assert folder.name == f"flax-{importlib.metadata.version('flax')}", (
        "another version's tests"
    )
    others = ("transpose", "conv_local", "einsum", "embed", "prelu")  # layers of Flax alone
    selection = " and ".join(f"not {name}" for name in (*others, *NOT_OURS))
    plugin, package = pathlib.Path(__file__).parent, pathlib.Path(axjax.__file__).parents[1]
    environment = os.environ | {
        "PYTHONPATH": f"{plugin}{os.pathsep}{package}",
        "AXJAX_SWAPPED": file.split("/")[0],
    }
    environment.pop("XLA_FLAGS", None)
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "flax_on_axjax", "-p", "no:cacheprovider",
         "-k", selection, str(folder / "tests" / file)],
        env=environment, cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-4000:]
    assert " passed" in result.stdout
