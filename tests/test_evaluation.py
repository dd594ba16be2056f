# SPDX-License-Identifier: Apache-2.0
"""`axjax layers`, `evaluate` and `compare`, on a network that the test knows by heart."""

import csv
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import axjax
from axjax import _cli
from axjax.evaluation import Results, Score, evaluate, measure_codes, read_results
from axjax.evaluation._evaluate import Plan

NETWORK = """
import jax
import jax.numpy as jnp

calls = []

def apply(variables, x):
    hidden = jax.nn.relu(x @ variables["first"]["kernel"])
    return hidden @ variables["last"]["kernel"]

def alone(x):
    return x @ jnp.eye(12, 10)

def fails(variables, x):
    raise RuntimeError("two lines\\nof trouble")

number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch, rng):
    """A folder with a module, a checkpoint and data, and the command run inside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_nets", raising=False)
    (tmp_path / "my_nets.py").write_text(NETWORK)
    first, last = rng.normal(size=(12, 16)), rng.normal(size=(16, 10))
    np.savez(
        tmp_path / "net.npz",
        **{"first/kernel": first.astype("f4"), "last/kernel": last.astype("f4")},
    )
    inputs = rng.normal(size=(25, 12)).astype("f4")
    labels = (np.maximum(inputs @ first, 0) @ last).argmax(-1)
    labels[::5] = (labels[::5] + 1) % 10  # so that float is right in 20 of 25
    np.savez(tmp_path / "data.npz", inputs=inputs, labels=labels)
    yield tmp_path
    sys.modules.pop("my_nets", None)


TASK = ("my_nets:apply", "--checkpoint", "net.npz", "--data", "data.npz", "--batch", "10")


def run(capsys, *arguments):
    assert _cli.main(list(arguments)) == 0
    return capsys.readouterr().out


def failure(capsys, *arguments):
    assert _cli.main(list(arguments)) == 2
    _, err = capsys.readouterr()
    assert len(err.splitlines()) == 1
    return err


def predictions(folder, multiplier, calibration):
    """What `axjax evaluate` should find, with emulate called by hand."""
    arrays, data = np.load(folder / "net.npz"), np.load(folder / "data.npz")
    variables = {"first": {"kernel": arrays["first/kernel"]},
                 "last": {"kernel": arrays["last/kernel"]}}  # fmt: skip

    def network(x):
        hidden = jax.nn.relu(x @ variables["first"]["kernel"])
        return hidden @ variables["last"]["kernel"]

    inputs = data["inputs"]
    rules = [axjax.Rule(".*", multiplier)]
    ranges = None
    if calibration:
        ranges = axjax.calibrate(network, rules, [(jnp.asarray(inputs[:10]),)])
    emulated = axjax.emulate(network, rules, ranges)
    parts = [emulated(jnp.asarray(inputs[i : i + 10])) for i in (0, 10, 20)]
    return np.concatenate([np.asarray(part).argmax(-1) for part in parts])


@pytest.mark.parametrize("calibration", [0, 1])
def test_accuracies_are_those_of_emulate_called_by_hand(capsys, folder, calibration):
    names = ["mul8u_exact", "mul8u_drum3", "mul8s_mitchell"]
    run(capsys, "evaluate", *TASK, "--calibration", str(calibration), "--out", "r.json",
        "--multipliers", *names)  # fmt: skip
    labels = np.load(folder / "data.npz")["labels"]
    float_row, *rows = read_results(folder / "r.json").rows
    assert [float_row[k] for k in ("name", "accuracy", "agreement")] == ["float", 80, 100]
    for row, name in zip(rows, names, strict=True):
        found = predictions(folder, axjax.load(name), calibration)
        assert row["accuracy"] == pytest.approx(100 * (found == labels).mean(), abs=1e-4), name
        assert row["MAE%"] == axjax.load(name).metrics().mae_percent
    with (folder / "r.csv").open() as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["float", *names]


def test_evaluation_goes_on_where_it_was(capsys, folder, monkeypatch):
    run(capsys, "evaluate", *TASK, "--out", "r.json", "--multipliers", "mul8u_drum3")
    before = read_results(folder / "r.json").rows
    run(
        capsys,
        "evaluate",
        *TASK,
        "--out",
        "r.json",
        "--multipliers",
        "mul8u_drum3",
        "mul8u_drum4",
    )
    after = read_results(folder / "r.json").rows
    assert after[:2] == before  # seconds too
    assert [row["name"] for row in after] == ["float", "mul8u_drum3", "mul8u_drum4"]

    # A table of the same name that has changed is evaluated again.
    axjax.save(folder / "mul8u_drum3.npz", axjax.load("mul8u_drum6"))
    run(capsys, "evaluate", *TASK, "--out", "r.json", "--multipliers", "./mul8u_drum3.npz")
    assert len(read_results(folder / "r.json").rows) == 4


def test_results_of_other_settings_are_not_mixed(capsys, folder):
    arguments = ("--out", "r.json", "--multipliers", "mul8u_exact")
    run(capsys, "evaluate", *TASK, *arguments)
    message = failure(capsys, "evaluate", *TASK, *arguments, "--limit", "20")
    assert (
        "results in one file have one setting, got examples=20 where 'r.json' has 25" in message
    )
    run(capsys, "evaluate", *TASK, *arguments, "--limit", "20", "--force")
    assert read_results(folder / "r.json").settings["examples"] == 20
    run(capsys, "evaluate", *TASK, *arguments, "--limit", "20", "--engine", "reference")


def test_layers_that_stay_exact(capsys, folder):
    run(capsys, "evaluate", *TASK, "--out", "r.json", "--multipliers", "mul8u_drum3",
        "--exact", ".*")  # fmt: skip
    assert read_results(folder / "r.json").rows[1]["agreement"] == 100


def test_a_network_without_checkpoint_and_labels(capsys, folder):
    np.savez(folder / "data.npz", x=np.load(folder / "data.npz")["inputs"])
    run(capsys, "evaluate", "my_nets:alone", "--data", "data.npz", "--out", "r.json",
        "--multipliers", "mul8u_exact")  # fmt: skip
    rows = read_results(folder / "r.json").rows
    assert [row["accuracy"] for row in rows] == [None, None]
    out = run(capsys, "compare", "r.json", "--out", "r.svg")
    assert "mul8u_exact" in out


def test_layers_lists_and_counts_codes(capsys, folder):
    out = run(capsys, "layers", *TASK, "--multiplier", "mul8u_drum4", "--codes", "codes.npz")
    assert "mul8u_drum4" in out
    assert "100.0% of them on approximate hardware" in out
    with np.load(folder / "codes.npz") as counts:
        sums = {name: int(counts[name].sum()) for name in counts.files}
    assert sums == {"first": 25 * 12 * 16, "last": 25 * 16 * 10}
    rows = json.loads(run(capsys, "lut", "metrics", "mul8u_drum4", "--codes", "codes.npz",
                          "--format", "json"))  # fmt: skip
    assert [row["layer"] for row in rows] == list(sums)


def test_multipliers_of_one_kind_share_a_program(folder):
    def traces(multipliers):
        traced = []

        def network(x):
            traced.append(1)
            return x @ jnp.eye(4, 3)

        inputs = np.ones((6, 4), np.float32)
        list(evaluate(network, (), inputs, None, multipliers, Plan(batch=3)))
        return len(traced)

    chosen = [axjax.load(name) for name in ("mul8u_drum3", "mul8u_drum4", "mul8u_drum6")]
    assert traces(chosen) == traces(chosen[:1])


def test_codes_of_a_batch_that_is_not_full():
    def network(x):
        return x @ jnp.eye(4, 3)

    inputs = np.linspace(-1, 1, 20, dtype=np.float32).reshape(5, 4)
    counts = measure_codes(network, (), inputs, axjax.Multiplier.exact(4), Plan(batch=3))
    assert int(counts.total().sum()) == 5 * 4 * 3


def rows_of(points):
    return [
        {"name": name, "operands": "uint8 x uint8", "accuracy": accuracy, "agreement": accuracy,
         "power": power, "MAE%": 1.0, "MRE%": 1.0, "EP%": 1.0, "seconds": 0.0}
        for name, accuracy, power in points
    ]  # fmt: skip


def test_efficient_multipliers_are_beaten_by_none():
    pytest.importorskip("matplotlib")
    from axjax.evaluation._comparison import efficient

    rows = rows_of([("a", 90, 3.0), ("b", 80, 3.0), ("c", 85, 2.0), ("d", 85, 2.5),
                    ("e", 70, 1.0),
                    ("f", 95, None), ("g", 85, 2.0)])  # fmt: skip
    assert [row["name"] for row in efficient(rows, "power")] == ["a", "c", "e", "g"]


@pytest.mark.parametrize("suffix", ["html", "png", "svg", "pdf"])
def test_compare_writes_pictures_and_a_page(capsys, folder, suffix):
    pytest.importorskip("matplotlib")
    run(capsys, "evaluate", *TASK, "--out", "r.json", "--multipliers", "mul8u_exact",
        "mul8u_drum3")  # fmt: skip
    out = run(capsys, "compare", "r.json", "--out", f"r.{suffix}", "--title", "a < b & c")
    assert out.splitlines()[0].split()[-1] == "efficient"
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["float", "mul8u_exact",
                                                                  "mul8u_drum3"]  # fmt: skip
    content = (folder / f"r.{suffix}").read_bytes()
    starts = {"html": b"<!DOCTYPE html>", "png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    assert content.startswith(starts[suffix])
    if suffix == "html":
        text = content.decode()
        assert "<h1>a &lt; b &amp; c</h1>" in text
        assert "<svg" in text
        for outside in ('src="http', 'href="http', "<script", "@import"):
            assert outside not in text  # all that it needs is inside
    rows = json.loads(run(capsys, "compare", "r.json", "--format", "json"))
    assert rows[0]["name"] == "float"


MISTAKES = {
    "no module": (("evaluate", "nothing:apply"), "ModuleNotFoundError: No module"),
    "no function": (("evaluate", "my_nets:nothing"), "AttributeError"),
    "not a function": (("evaluate", "my_nets:number"), "which is of type int"),
    "no colon": (("evaluate", "my_nets"), "a network is module:function, got"),
    "a failing network": (("evaluate", "my_nets:fails"), "RuntimeError: two lines"),
    "a failing network, layers": (("layers", "my_nets:fails"), "RuntimeError: two lines"),
    "no data": (("evaluate", "my_nets:apply", "--data", "no.npz"), "got data='no.npz'"),
    "junk data": (("evaluate", "my_nets:apply", "--data", "junk"), "data are a .npz"),
    "no inputs": (("evaluate", "my_nets:apply", "--data", "net.npz"), "inputs, images or x"),
    "junk checkpoint": (("evaluate", "my_nets:apply", "--checkpoint", "junk"),
                        "a checkpoint is a .npz or a .msgpack"),
    "no checkpoint": (("evaluate", "my_nets:apply", "--checkpoint", "no"), "checkpoint='no'"),
    "wrong engine": (("evaluate", "my_nets:apply", "--engine", "x"), "an engine is one of"),
    "no json": (("evaluate", "my_nets:apply", "--out", "r.txt"), "results are a .json file"),
    "no folder": (("evaluate", "my_nets:apply", "--out", "no/r.json"), "can be written"),
    "other json": (("evaluate", "my_nets:apply", "--out", "other.json"),
                   "a file of results is what axjax evaluate wrote"),
    "codes without multiplier": (("layers", "my_nets:apply", "--codes", "c.npz"),
                                 "Pass --multiplier."),
    "wrong pattern": (("evaluate", "my_nets:apply", "--exact", "no"), "a rule matches a layer"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_message(capsys, folder, case):
    (command, network, *more), message = MISTAKES[case]
    (folder / "junk").write_bytes(b"junk")
    (folder / "other.json").write_text("[]")
    arguments = [command, network]
    if "--data" not in more:
        arguments += ["--data", "data.npz"]
    if "--checkpoint" not in more:
        arguments += ["--checkpoint", "net.npz"]
    if command == "evaluate" and "--out" not in more:
        arguments += ["--out", "r.json"]
    if command == "evaluate":
        arguments += ["--multipliers", "mul8u_exact"]
    assert message in failure(capsys, *arguments, *more)
    assert (folder / "other.json").read_text() == "[]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("junk",), "a file of results is what axjax evaluate wrote"),
        (("no.json",), "No such file"),
        (("empty.json",), "results have rows, got none"),
        (("empty.json", "--out", "x.txt"), "a comparison ends in .html"),
    ],
)
def test_compare_refuses_what_it_cannot_read(capsys, folder, arguments, message):
    (folder / "junk").write_bytes(b"\xff\x00")
    Results({}).write(folder / "empty.json")
    assert message in failure(capsys, "compare", *arguments)


def test_results_survive_a_round_trip(tmp_path):
    results = Results({"network": "a:b"})
    results.add(None, Score(accuracy=None, agreement=100.0, seconds=1.0))
    mul = axjax.Multiplier(axjax.load("mul8u_drum3").products(), published={"PDK45_PWR": 0.5})
    results.add(mul, Score(accuracy=50.0, agreement=60.0, seconds=1.0))
    results.write(tmp_path / "r.json")
    back = read_results(tmp_path / "r.json")
    assert (back.settings, back.rows) == (results.settings, results.rows)
    assert back.rows[1]["power"] == 0.5
    assert back.has(mul)
    assert back.has(None)
    assert not back.has(axjax.load("mul8u_drum4"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.csv", "r.json"]
