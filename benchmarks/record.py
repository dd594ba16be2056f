# SPDX-License-Identifier: Apache-2.0
"""What a file of results on the CPU says of its machine, versions and date."""

import datetime
import importlib.metadata
import json
import pathlib
import platform
import subprocess

import axjax


def write_record(path, results):
    """Writes the dict `results`, and where and when it was measured, as JSON."""
    versions = {p: importlib.metadata.version(p) for p in ("jax", "jaxlib", "numpy")}
    record = {
        "cpu": _cpu_name(),
        "instruction_sets": axjax.build_info()["native"]["cpu"]["instruction_sets"],
        "python": platform.python_version(),
        **versions,
        "axjax": axjax.__version__,
        "commit": commit(),
        "date": datetime.date.today().isoformat(),
        **results,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _cpu_name():
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    pairs = [line.split(":", 1) for line in text.splitlines() if ":" in line]
    fields = {key.strip(): value.strip() for key, value in pairs}
    keys = ("model name", "cpu family", "model")
    return ", ".join(f"{key} {fields[key]}" for key in keys if key in fields)


def commit():
    """Short hash of what is checked out, None outside a checkout."""
    git = ["git", "-C", str(pathlib.Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
