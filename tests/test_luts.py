# SPDX-License-Identifier: Apache-2.0
"""The shipped tables are what the code makes, and the docs say what they are."""

import hashlib
import importlib.util
import json
import pathlib
import shutil

import numpy as np
import pytest

import axjax

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def generate():
    """The generator as a module; it is no part of the package."""
    spec = importlib.util.spec_from_file_location("generate_luts", ROOT / "luts/generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def shipped():
    return json.loads((ROOT / "luts/manifest.json").read_text())["multipliers"]


@pytest.fixture
def copy(tmp_path):
    """A folder with copies of the shipped files."""
    for path in (ROOT / "luts").iterdir():
        if path.suffix in (".npz", ".json"):
            shutil.copy(path, tmp_path)
    return tmp_path


def test_shipped_files_are_what_the_code_makes(generate, capsys):
    assert generate.main(["--check"]) == 0, capsys.readouterr().err


def test_every_table_loads_by_name_as_the_circuit_that_made_it(generate):
    made = generate.multipliers()
    assert axjax.available() == sorted(made)
    for name, multiplier in made.items():
        loaded = axjax.load(name)
        np.testing.assert_array_equal(loaded.table, multiplier.table)
        assert loaded.table.dtype == multiplier.table.dtype
        assert (loaded.activation, loaded.weight) == (multiplier.activation, multiplier.weight)
        assert str(loaded.name) == name


def test_manifest_describes_every_table(generate, shipped):
    for name, entry in shipped.items():
        products = generate.unpack(ROOT / "luts" / f"{name}.npz")
        assert products.shape == tuple(1 << bits for bits in entry["bits"])
        raw = np.ascontiguousarray(products, "<i4").tobytes()
        assert hashlib.sha256(raw).hexdigest() == entry["sha256"]
        family = getattr(axjax.circuits, entry["family"])
        signed = entry["signed"][0]
        assert entry["signed"] == [signed, signed]
        remade = family(tuple(entry["bits"]), signed=signed, **entry["parameters"])
        np.testing.assert_array_equal(remade.products(), products)
        assert entry["source"]
        assert entry["source"] in " ".join(family.__doc__.split())
        errors = remade.errors()
        assert entry["metrics"]["WCE"] == np.abs(errors).max()
        assert entry["metrics"]["MAE"] == pytest.approx(np.abs(errors).mean(), rel=1e-5)


def test_files_stay_small():
    sizes = [path.stat().st_size for path in (ROOT / "luts").glob("*.npz")]
    assert 0 < sum(sizes) < 100_000


def test_check_names_what_is_wrong(generate, copy, capsys):
    assert generate.main(["--check"], copy) == 0
    (copy / "mul8u_exact.npz").unlink()
    (copy / "mul8u_drum6.npz").write_bytes((copy / "mul8u_drum4.npz").read_bytes())
    content = (copy / "mul8u_drum3.npz").read_bytes()
    (copy / "mul8u_drum3.npz").write_bytes(content[: len(content) // 2])
    (copy / "mine.npz").write_bytes(content)
    (copy / "manifest.json").write_text("{}")
    capsys.readouterr()
    assert generate.main(["--check"], copy) == 1
    message = capsys.readouterr().err
    for part in [
        "generate: mul8u_exact.npz is missing or does not hold the table",
        "mul8u_drum6.npz is missing or",
        "mul8u_drum3.npz is missing or",
        "mine.npz is not made by this script",
        "manifest.json is missing or not current. Run python luts/generate.py.",
    ]:
        assert part in message
    assert len(message.splitlines()) == 5


def test_one_wrong_entry_is_found_and_mended(generate, copy):
    path = copy / "mul8s_drum4.npz"
    with np.load(path) as file:
        arrays = dict(file)
    arrays["differences"][200, 17] ^= 1
    np.savez_compressed(path, **arrays)
    assert generate.main(["--check"], copy) == 1
    assert generate.main([], copy) == 0
    assert generate.main(["--check"], copy) == 0


def test_writing_leaves_current_files_and_no_others(generate, copy):
    times = {path.name: path.stat().st_mtime_ns for path in copy.iterdir()}
    (copy / "mul8u_mitchell.npz").unlink()
    assert generate.main([], copy) == 0
    after = {path.name: path.stat().st_mtime_ns for path in copy.iterdir()}
    del times["mul8u_mitchell.npz"], after["mul8u_mitchell.npz"]
    assert after == times


def test_a_failed_write_leaves_the_old_file(generate, copy, monkeypatch):
    (copy / "manifest.json").write_text("old")

    def fail(self, target):
        raise OSError("no space")

    monkeypatch.setattr(pathlib.Path, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        generate.main([], copy)
    assert (copy / "manifest.json").read_text() == "old"
    assert not list(copy.glob(".*"))


def test_the_table_in_the_docs_is_current(generate, capsys):
    assert generate.main(["--table"]) == 0
    table = capsys.readouterr().out
    assert len(table.splitlines()) == 2 + len(generate.SHIPPED)
    assert table in (ROOT / "docs/multipliers.md").read_text(), (
        "docs/multipliers.md: paste the output of python luts/generate.py --table"
    )
