# SPDX-License-Identifier: Apache-2.0
"""The command says what it can do, and of a mistake what is wrong and what to do."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import axjax
from axjax import _cli


def run_module(*arguments):
    """`python -m axjax` with this very axjax, in a process of its own."""
    root = str(pathlib.Path(axjax.__file__).parents[1])
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    environment["PYTHONPATH"] = root
    return subprocess.run(
        [sys.executable, "-P", "-m", "axjax", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )


def failure(capsys, *arguments):
    """The message of a command that has to end with exit code 2 and print nothing else."""
    assert _cli.main(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    return err


def test_module_is_the_command():
    found = run_module("--version")
    assert found.returncode == 0
    assert found.stdout == f"axjax {axjax.__version__}\n"


def test_a_mistake_ends_the_process_with_code_2_and_one_line(tmp_path):
    found = run_module("demo", "--multipliers", "mul8u_drun3", "--out", str(tmp_path))
    assert found.returncode == 2
    assert found.stdout == ""
    assert "Did you mean mul8u_drum3" in found.stderr
    assert len(found.stderr.splitlines()) == 1


def test_help_teaches_commands_and_examples(capsys):
    with pytest.raises(SystemExit) as end:
        _cli.main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for part in ["demo", "info", "axjax demo --multipliers", "axjax.load"]:
        assert part in text


def test_help_of_demo_lists_every_shipped_multiplier_and_engine(capsys):
    with pytest.raises(SystemExit) as end:
        _cli.main(["demo", "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert set(axjax.available()) <= set(text.split())
    for engine in axjax.ENGINES:
        assert engine in text


@pytest.mark.parametrize("arguments", [[], ["dem"], ["demo", "--seed", "x"]])
def test_a_malformed_command_line_ends_with_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        _cli.main(arguments)
    assert end.value.code == 2
    assert "usage: axjax" in capsys.readouterr().err


def test_info_tells_what_is_usable_and_why_not(capsys):
    assert _cli.main(["info"]) == 0
    text = capsys.readouterr().out
    assert f"axjax {axjax.__version__}" in text
    for name, state in axjax.build_info()["engines"].items():
        (line,) = [found for found in text.splitlines() if found.split()[:1] == [name]][-1:]
        assert line.split(maxsplit=1) == [name, state]


def test_info_reads_as_text_for_any_build(capsys, monkeypatch):
    info = {
        "version": "1.2.3",
        "native": {"cpu": {"xla_ffi_api_version": (0, 3), "levels": ("a", "b")}, "cuda": None},
        "engines": {"xla": "usable"},
    }
    monkeypatch.setattr(axjax, "build_info", lambda: info)
    assert _cli.main(["info"]) == 0
    text = capsys.readouterr().out
    assert "built, xla ffi api version 0.3, levels a, b" in text
    assert "not built" in text


def test_unknown_multiplier(capsys, tmp_path):
    message = failure(
        capsys, "demo", "--out", str(tmp_path / "new"), "--multipliers", "nonsense"
    )
    assert message.startswith("axjax demo: load: no shipped multiplier and no file, got ")
    assert not (tmp_path / "new").exists()


def test_damaged_multiplier_file(capsys, tmp_path):
    (tmp_path / "mine.bin").write_bytes(b"short")
    message = failure(capsys, "demo", "--multipliers", str(tmp_path / "mine.bin"))
    assert "got 5 in" in message


def test_two_multipliers_of_one_name(capsys, tmp_path):
    path = tmp_path / "mul8u_exact.npy"
    np.save(path, axjax.load("mul8u_trunc2").products())
    message = failure(capsys, "demo", "--multipliers", "mul8u_exact", str(path))
    assert "names of their own, got two of name='mul8u_exact'. Name each once" in message


def test_unknown_engine(capsys):
    message = failure(capsys, "demo", "--engine", "gpu")
    assert "an engine is one of auto, reference, " in message
    assert "got engine='gpu'. Pass one of these." in message


def test_engine_that_cannot_run_here(capsys, monkeypatch):
    states = {"engines": {"cuda_texture": "no device"}}
    monkeypatch.setattr(axjax, "build_info", lambda: states)
    message = failure(capsys, "demo", "--engine", "cuda_texture")
    assert "got engine='cuda_texture': no device. Or pass --engine auto." in message


def test_negative_seed(capsys):
    assert "got seed=-1. Pass 0 or more." in failure(capsys, "demo", "--seed", "-1")


def test_out_that_is_no_folder(capsys, tmp_path):
    path = tmp_path / "taken"
    path.write_text("mine")
    message = failure(capsys, "demo", "--out", str(path))
    assert f"got out={str(path)!r}: " in message
    assert message.endswith("Pass another --out.\n")
    assert path.read_text() == "mine"


def test_missing_extra(capsys, monkeypatch):
    for module in ("sklearn", "rich"):
        monkeypatch.setitem(sys.modules, module, None)
    message = failure(capsys, "demo")
    assert "got missing=scikit-learn, rich. Install them: pip install 'axjax[demo]'." in message


def test_interruption_is_told_and_no_traceback(capsys, monkeypatch):
    def interrupt(options):
        raise KeyboardInterrupt

    monkeypatch.setattr("axjax._cli._info.run", interrupt)
    assert _cli.main(["info"]) == 130
    assert capsys.readouterr().err == "axjax: interrupted\n"


def test_a_defect_shows_itself(monkeypatch):
    def fail(options):
        raise ValueError("a defect")

    monkeypatch.setattr("axjax._cli._info.run", fail)
    with pytest.raises(ValueError, match="a defect"):
        _cli.main(["info"])
