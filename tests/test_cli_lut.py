# SPDX-License-Identifier: Apache-2.0
"""`axjax lut`: what it prints, writes and refuses."""

import csv
import io
import json
import os
import pathlib
import subprocess
import sys

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

import axjax
from axjax import _cli
from axjax.tables import library_folder


@pytest.fixture(autouse=True)
def library(tmp_path, monkeypatch):
    """A library of the test's own, not the user's."""
    monkeypatch.setenv("AXJAX_LUTS", str(tmp_path / "library"))
    return tmp_path / "library"


def run(capsys, *arguments):
    """Standard output and standard error of a command that succeeds."""
    assert _cli.main(["lut", *map(str, arguments)]) == 0
    return capsys.readouterr()


def failure(capsys, *arguments):
    """The one message of a command that ends with exit code 2."""
    assert _cli.main(["lut", *map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    return err


def test_list_has_a_line_for_every_name(capsys):
    lines = run(capsys, "list").out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == axjax.available()
    assert lines[0].split()[:3] == ["name", "operands", "MAE%"]


def test_list_as_csv_and_json_hold_the_same(capsys):
    rows = list(csv.DictReader(io.StringIO(run(capsys, "list", "--format", "csv").out)))
    found = json.loads(run(capsys, "list", "--format", "json").out)
    assert [row["name"] for row in rows] == [row["name"] for row in found]
    for row, entry in zip(rows, found, strict=True):
        assert float(row["MAE%"]) == entry["MAE%"]
        exact = axjax.load(row["name"]).metrics().mae_percent
        assert entry["MAE%"] == pytest.approx(exact, rel=1e-5)


def test_show_tells_operands_order_errors_and_readings(capsys, tmp_path):
    axjax.save(tmp_path / "t.csv", axjax.circuits.broken_array(horizontal=2, vertical=6))
    text = run(capsys, "show", "mul8u_drum4", tmp_path / "t.csv").out
    first, second = text.split("\n\n")
    assert first.startswith("mul8u_drum4\n")
    assert "commutative: operand order does not matter" in first
    assert "2 int8 terms\n" in first
    assert "MAE 925.9" in first
    assert "925.9  unsigned x unsigned" in first
    mul = axjax.load("mul8u_bam_h2v6").products()
    assert f"not commutative: {(mul != mul.T).sum()} pairs differ" in second
    assert "none yet, see axjax lut factor" in second


def test_show_as_json(capsys):
    (facts,) = json.loads(run(capsys, "show", "mul8s_trunc4", "--json").out)
    mul = axjax.load("mul8s_trunc4")
    assert facts["metrics"] == mul.metrics().asdict()
    assert facts["operands"] == ["int8", "int8"]
    assert facts["products"] == [int(mul.products().min()), int(mul.products().max())]
    assert facts["readings"][0]["MAE"] == mul.metrics().mae


def test_metrics_have_a_line_for_each_file(capsys):
    rows = json.loads(
        run(capsys, "metrics", "mul8u_drum4", "mul8u_trunc4", "--format", "json").out
    )
    for row in rows:
        expected = axjax.load(row.pop("name")).metrics().asdict()
        assert row == expected


def test_metrics_weighted_by_codes_have_a_line_for_each_layer(capsys, tmp_path, rng):
    counts = {layer: rng.integers(0, 9, (256, 256)) for layer in ("block/conv", "last")}
    np.savez(tmp_path / "codes.npz", **counts)
    out = run(capsys, "metrics", "mul8u_drum4", "--codes", tmp_path / "codes.npz",
              "--format", "json").out  # fmt: skip
    mul = axjax.load("mul8u_drum4")
    for row, (layer, weights) in zip(json.loads(out), counts.items(), strict=True):
        assert row["layer"] == layer
        assert row["MAE"] == mul.metrics(weights).mae


def test_codes_that_do_not_fit(capsys, tmp_path):
    np.savez(tmp_path / "codes.npz", layer=np.ones((4, 4)))
    message = failure(capsys, "metrics", "mul8u_drum4", "--codes", tmp_path / "codes.npz")
    assert "axjax lut metrics: metrics: " in message
    (tmp_path / "junk").write_bytes(b"junk")
    message = failure(capsys, "metrics", "mul8u_drum4", "--codes", tmp_path / "junk")
    assert "counts of codes are a .npz file with an array for each layer, got codes=" in message


@pytest.mark.parametrize("suffix", ["npz", "npy", "bin", "txt", "csv", "h"])
def test_convert_writes_every_format(capsys, tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    assert f"Wrote {path}." in run(capsys, "convert", "mul8u_drum4", path).err
    np.testing.assert_array_equal(axjax.load(path).table, axjax.load("mul8u_drum4").table)


def test_convert_reads_as_it_is_told(capsys, tmp_path):
    mul = axjax.Multiplier.exact((4, 4), signed=(True, False))
    np.save(tmp_path / "in.npy", np.roll(mul.products(), 8, 0).T % 256)
    run(capsys, "convert", tmp_path / "in.npy", tmp_path / "out.npz", "--transpose", "--signed",
        "su", "--order", "value", "--products", "signed", "--bits", "4x4")  # fmt: skip
    back = axjax.load(tmp_path / "out.npz")
    np.testing.assert_array_equal(back.products(), mul.products())
    assert (back.activation, back.weight) == (mul.activation, mul.weight)


def test_a_better_reading_is_a_line_on_standard_error(capsys, tmp_path):
    np.save(tmp_path / "in.npy", axjax.load("mul8s_trunc4").products())
    found = run(capsys, "show", tmp_path / "in.npy", "--signed", "u")
    (line,) = found.err.splitlines()
    assert line.startswith("axjax lut show: warning: load: another reading fits far better")


def test_import_gives_a_name(capsys, tmp_path, library):
    axjax.save(tmp_path / "t.csv", axjax.load("mul8u_drum4"))
    run(capsys, "import", tmp_path / "t.csv", "--name", "mine")
    assert "mine" in axjax.available()
    np.testing.assert_array_equal(axjax.load("mine").table, axjax.load("mul8u_drum4").table)
    assert axjax.load("mine").name == "mine"
    assert list(library.iterdir()) == [library / "mine.npz"]
    (row,) = [r for r in json.loads(run(capsys, "list", "--format", "json").out)
              if r["name"] == "mine"]  # fmt: skip
    assert row["from"] == "imported"
    assert "got " in failure(capsys, "import", tmp_path / "t.csv", "--name", "mine")
    run(capsys, "import", tmp_path / "t.csv", "--name", "mine", "--force")


@pytest.mark.parametrize("name", ["../up", "", "a/b", ".hidden", "mul8u_exact", "a b"])
def test_import_refuses_names_that_are_none(capsys, name, library):
    if name:
        assert f"got name={name!r}" in failure(capsys, "import", "mul8u_drum4", "--name", name)
    else:
        assert "got name='mul8u_drum4'" in failure(capsys, "import", "mul8u_drum4")
    assert not library.exists()


def test_the_library_is_where_the_environment_says(monkeypatch, tmp_path):
    assert library_folder() == tmp_path / "library"
    monkeypatch.delenv("AXJAX_LUTS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert library_folder() == tmp_path / "axjax" / "luts"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert library_folder() == tmp_path / ".local/share/axjax/luts"
    assert axjax.available()  # without such a folder


def test_a_library_that_cannot_be_written(capsys, tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("AXJAX_LUTS", str(tmp_path / "taken"))
    message = failure(capsys, "import", "mul8u_drum4", "--name", "mine")
    assert "Set AXJAX_LUTS to another one." in message


def test_two_processes_that_import_one_name_leave_one_whole_file(tmp_path, library):
    for name in ("drum4", "drum6"):
        axjax.save(tmp_path / f"{name}.npz", axjax.load(f"mul8u_{name}"))
    root = str(pathlib.Path(axjax.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    started = [
        subprocess.Popen(
            [sys.executable, "-P", "-m", "axjax", "lut", "import", tmp_path / f"{name}.npz",
             "--name", "mine", "--force"],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for name in ("drum4", "drum6")
    ]  # fmt: skip
    for process in started:
        process.communicate(timeout=120)
        assert process.returncode == 0
    assert [path.name for path in library.iterdir()] == ["mine.npz"]
    found = axjax.load("mine").products().tolist()
    assert found in [axjax.load(f"mul8u_{n}").products().tolist() for n in ("drum4", "drum6")]


def test_factor_counts_terms_and_writes_factors(capsys, tmp_path):
    pytest.importorskip("flint")
    axjax.save(tmp_path / "t.csv", axjax.circuits.truncated(columns=4))
    out = run(capsys, "factor", tmp_path / "t.csv", "--out", tmp_path / "t.npz").out
    heading, line = out.splitlines()
    assert heading.split() == ["name", "terms", "by", "byte", "seconds"]
    terms = axjax.factorize(axjax.load(tmp_path / "t.csv")).terms
    assert line.split()[:2] == ["t", str(terms)]
    (facts,) = json.loads(run(capsys, "show", tmp_path / "t.npz", "--json").out)
    assert terms <= facts["terms"] <= terms + 3  # engines fold the sums of rows into terms
    assert axjax.load(tmp_path / "t.npz").factors is not None
    message = failure(
        capsys, "factor", "mul8u_drum4", "mul8u_exact", "--out", tmp_path / "u.npz"
    )
    assert "one file holds one multiplier, got 2 of them" in message


@pytest.mark.parametrize("codes", [False, True])
@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_plot_draws_any_multiplier(capsys, tmp_path, suffix, codes, rng):
    pytest.importorskip("matplotlib")
    more = ()
    if codes:
        np.savez(tmp_path / "codes.npz", layer=rng.integers(0, 9, (16, 8)))
        more = ("--codes", tmp_path / "codes.npz")
    axjax.save(tmp_path / "t.npz", axjax.Multiplier.exact((4, 3), signed=(True, False)))
    run(capsys, "plot", tmp_path / "t.npz", "--out", tmp_path / f"t.{suffix}", *more)
    start = (tmp_path / f"t.{suffix}").read_bytes()[:8]
    assert start == (b"\x89PNG\r\n\x1a\n" if suffix == "png" else b"<?xml ve")


def test_plot_has_the_colour_of_the_error_where_the_pair_is(tmp_path):
    pytest.importorskip("matplotlib")
    from axjax._picture import picture

    products = axjax.Multiplier.exact(3, signed=True).products()
    products[1, 6] += 5  # 1 and -2
    figure = picture(axjax.Multiplier(products, signed=True))
    (image,) = [i for axes in figure.axes for i in axes.images if i.get_array().shape == (8, 8)]
    expected = np.zeros((8, 8))
    expected[5, 2] = 5  # from -4
    np.testing.assert_array_equal(image.get_array(), expected)
    assert tuple(image.get_extent()) == (-4.5, 3.5, -4.5, 3.5)


MISTAKES = {
    "no such name": (("show", "mul8u_drun4"), "Did you mean mul8u_drum4"),
    "a folder": (("show", "{tmp}"), "a table is a file, got the folder"),
    "junk": (("show", "{junk}"), "axjax lut show: load: "),
    "target exists": (("convert", "mul8u_exact", "{junk}"), "nothing is overwritten unasked"),
    "target is a folder": (("convert", "mul8u_exact", "{tmp}", "--force"), "which exists"),
    "no such folder": (("convert", "mul8u_exact", "{tmp}/no/x.npz"), "where it can be written"),
    "unknown suffix": (("convert", "mul8u_exact", "{tmp}/x.xyz"), "a format is one of npz"),
    "does not fit": (("convert", "mul8u_exact", "{tmp}/x.bin", "--bits", "4"), "got shape="),
    "no picture": (
        ("plot", "mul8u_exact", "--out", "{tmp}/x.xyz"),
        "ends in .png, .svg or .pdf",
    ),
    "wrong width": (("show", "mul8u_exact", "--bits", "9"), "2 to 8 bits, got bits=9"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_message_and_leaves_nothing(capsys, tmp_path, case):
    arguments, message = MISTAKES[case]
    junk = tmp_path / "junk.npz"
    junk.write_bytes(b"junk")
    arguments = [a.format(tmp=tmp_path, junk=junk) for a in arguments]
    assert message in failure(capsys, *arguments)
    assert list(tmp_path.iterdir()) == [junk]
    assert junk.read_bytes() == b"junk"


@pytest.mark.parametrize(
    "arguments",
    [[], ["shw"], ["show"], ["show", "x", "--bits", "8y"], ["show", "x", "--signed", "x"]],
)
def test_a_malformed_command_line_ends_with_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        _cli.main(["lut", *arguments])
    assert end.value.code == 2
    assert "usage: axjax lut" in capsys.readouterr().err


def test_help_teaches_formats_and_examples(capsys):
    with pytest.raises(SystemExit) as end:
        _cli.main(["lut", "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for part in (".blif", "axjax lut convert mine.v mine.bin", "compiled and run"):
        assert part in text


def test_output_may_be_cut_short():
    root = str(pathlib.Path(axjax.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    command = f"{sys.executable} -P -m axjax lut show mul8u_exact --json | true"
    command += "; echo ${PIPESTATUS[0]}"
    found = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env=environment, timeout=120
    )
    assert found.stderr == ""
    assert found.stdout in ("0\n", "141\n")


@hypothesis.settings(
    max_examples=60, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(
    content=st.binary(max_size=200), suffix=st.sampled_from(["bin", "npz", "csv", "h"])
)
def test_any_file_is_a_table_or_exit_code_2(capsys, tmp_path, content, suffix):
    path = tmp_path / f"fuzz.{suffix}"
    path.write_bytes(content)
    code = _cli.main(["lut", "convert", str(path), str(tmp_path / "out.npz"), "--force"])
    out, err = capsys.readouterr()
    assert out == ""
    assert code in (0, 2)
    assert (tmp_path / "out.npz").exists() == (code == 0)
    assert len(err.splitlines()) == 1 or code == 0
    (tmp_path / "out.npz").unlink(missing_ok=True)
