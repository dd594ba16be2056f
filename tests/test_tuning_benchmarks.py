# SPDX-License-Identifier: Apache-2.0
"""The benchmarks of fine-tuning run at tiny sizes, and write what they print."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

import axjax

pytest.importorskip("optax")
pytest.importorskip("rich")

ROOT = pathlib.Path(__file__).parents[1]


def run(name, *arguments):
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    environment["PYTHONPATH"] = str(pathlib.Path(axjax.__file__).parents[1])
    environment["JAX_PLATFORMS"] = "cpu"
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / name), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_table1(tmp_path):
    path = tmp_path / "table1.json"
    text = run("table1.py", "--cpu-images", 2, "--cpu-depths", 8, "--repeats", 1, "--out", path)
    (measured,) = json.loads(path.read_text())["results"]["measured"]
    assert (measured["images"], measured["timed_images"]) == (10_000, 2)
    assert [row["program"] for row in measured["rows"]] == [
        "exact float32",
        "exact float32, highest",
        "cpu",
        *(f"cpu_factored, {terms} terms" for terms in (16, 4, 8)),
    ]
    for row in measured["rows"]:
        assert row["products_per_second"] * row["seconds"] == pytest.approx(10_000 * 12_238_848)
    assert "10000 images, scaled from 2" in text
    assert "emulated, GTX 1080" in text


def test_gradients(tmp_path):
    path = tmp_path / "gradients.json"
    run("gradients.py", "--batch", 1, "--repeats", 1, "--out", path)
    found = json.loads(path.read_text())["results"]
    assert set(found["terms"]) == set(axjax.available())
    assert found["terms"]["mul8u_drum3"]["0.01"] == [2, 2]
    assert all(s > 0 for layer in found["seconds"].values() for s in layer.values())
