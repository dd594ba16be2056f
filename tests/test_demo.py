# SPDX-License-Identifier: Apache-2.0
"""`axjax demo` measures what it says it measures."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

import axjax

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")
pytest.importorskip("optax")
pytest.importorskip("rich")

from axjax.demo import data, experiment, model, plot, report, training


@pytest.fixture(scope="module", autouse=True)
def users_jax():
    """Users' JAX, not the strict one of the other tests, which optax does not pass."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


class Recorder:
    """Progress that keeps what it is told."""

    def __init__(self):
        self.stages = {}

    def stage(self, text, total):
        self.stages[text] = [0, total]

        def step():
            self.stages[text][0] += 1

        return step


def row(name, before, after=None, *, mae=1.0, saved=None, is_exact=False, codes="u"):
    return experiment.Row(
        name=name,
        codes=codes,
        metrics={"MAE": mae, "MAE%": mae, "MRE%": mae},
        is_exact=is_exact,
        before=experiment.Score(before, 100.0),
        after=None if after is None else experiment.Score(after, 100.0),
        saved=saved,
    )


def results(*rows):
    return experiment.Results(98.0, list(rows), {}, {"evaluate": 2, "train": 2}, 1.0)


@pytest.fixture(scope="module")
def digits():
    found = data.load_digits()
    return data.Digits(
        data.Images(*(a[:192] for a in found.train)), data.Images(*(a[:96] for a in found.test))
    )


@pytest.fixture(scope="module")
def short_plan():
    return experiment.Plan(training.Recipe(4, 4e-3), training.Recipe(1, 1e-3))


@pytest.fixture(scope="module")
def parameters(digits):
    return training.train(
        training.initial_parameters(0), digits.train, training.Recipe(4, 4e-3), seed=0
    )


def test_quick_demo_from_command_to_files(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    environment["PYTHONPATH"] = str(pathlib.Path(axjax.__file__).parents[1])
    environment["JAX_PLATFORMS"] = "cpu"  # XLA for GPUs may write warnings of its own
    found = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "axjax",
            "demo",
            "--quick",
            "--out",
            str(tmp_path / "new"),
        ],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert found.returncode == 0, found.stderr
    assert found.stderr == ""  # no progress bar where there is no terminal
    written = json.loads((tmp_path / "new" / "demo.json").read_text())
    rows = {entry["name"]: entry for entry in written["rows"]}
    assert list(rows) == ["mul8u_exact", "mul8u_trunc4", "mul8u_drum3"]
    for name, entry in rows.items():
        assert name in found.stdout
        assert entry["metrics"] == pytest.approx(axjax.load(name).metrics().asdict())
    # One program for float and one for all unsigned tables, to evaluate and to train.
    assert written["compiled"] == {"evaluate": 2, "train": 2}
    assert written["float_accuracy"] > 70
    assert abs(rows["mul8u_exact"]["before"]["accuracy"] - written["float_accuracy"]) < 2
    assert rows["mul8u_drum3"]["before"]["accuracy"] < written["float_accuracy"] - 20
    gain = {
        k: r["after"]["accuracy"] - r["before"]["accuracy"]
        for k, r in rows.items()
        if r["after"]
    }
    assert gain["mul8u_drum3"] > 10
    assert "mul8u_exact" in gain
    png = (tmp_path / "new" / "demo.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert [int.from_bytes(png[i : i + 4], "big") for i in (16, 20)] == [1280, 720]


def test_split_is_fixed_and_takes_every_image_once():
    from sklearn import datasets

    train, test = data.load_digits()
    assert (len(train.y), len(test.y)) == (1297, 500)
    joined = np.concatenate([train.x, test.x]).reshape(1797, -1)
    original = datasets.load_digits().data / 16
    order = np.lexsort(joined.T), np.lexsort(original.T)
    np.testing.assert_array_equal(joined[order[0]], original[order[1]].astype(np.float32))
    assert (train.x.min(), train.x.max()) == (0, 1)
    np.testing.assert_array_equal(test.y[:8], data.load_digits().test.y[:8])
    assert np.bincount(test.y).min() >= 35  # every digit is tested


def test_same_seed_gives_the_same_figures_and_another_seed_others(digits, short_plan):
    multipliers = [axjax.load("mul8u_drum3")]

    def figures(seed):
        progress = Recorder()
        found = experiment.run(digits, multipliers, short_plan, progress, seed=seed)
        for text, (done, total) in progress.stages.items():
            assert done == total, text
        plain = [
            dataclasses.replace(r, evaluation_seconds=0, tuning_seconds=0) for r in found.rows
        ]
        return plain, found.ranges

    first = figures(0)
    assert figures(0) == first
    assert figures(1)[1] != first[1]
    rows, ranges = first
    assert [r.name for r in rows] == ["exact uint8 x uint8", "mul8u_drum3"]
    assert set(ranges) == set(model.LAYERS)
    assert ranges["conv1"] == (0, 1)


def test_results_do_not_depend_on_the_batch(digits, parameters):
    ranges = model.calibrate(parameters, digits.train.x)
    multiplier = axjax.load("mul8u_drum3")

    def classes(x):
        return np.asarray(training.predict(parameters, x, multiplier, ranges, engine="auto"))

    x = digits.test.x
    together = classes(x)
    apart = np.concatenate([classes(x[i : i + 32]) for i in range(0, 96, 32)])
    np.testing.assert_array_equal(together, apart)
    assert len(set(together)) > 1


def test_network_takes_its_products_from_the_table(digits, parameters):
    ranges = model.calibrate(parameters, digits.train.x)
    x = digits.test.x[:4]

    def scores(multiplier):
        network = model.network(multiplier, ranges)
        return np.asarray(network.apply({"params": parameters}, x))

    exact = scores(axjax.Multiplier.exact(8, signed=True))
    np.testing.assert_allclose(exact, scores(None), atol=0.05 * np.abs(exact).max())
    zero = axjax.Multiplier.from_function(lambda x, w: 0 * x * w, 8, signed=True)
    bias = np.asarray(parameters["dense"]["bias"])
    np.testing.assert_array_equal(scores(zero), np.broadcast_to(bias, (4, 10)))


def test_calibration_finds_the_range_of_what_enters_each_layer(digits, parameters):
    ranges = model.calibrate(parameters, digits.train.x)
    convolved = model.DigitsNet().apply(
        {"params": parameters},
        digits.train.x,
        capture_intermediates=lambda module, _: module.name == "conv1",
    )[1]["intermediates"]["conv1"]["__call__"][0]
    assert ranges["conv2"] == (0, np.asarray(convolved).max())


def test_an_image_left_over_or_too_few_for_a_batch_still_train(digits):
    start = training.initial_parameters(0)
    few = data.Images(*(a[:10] for a in digits.train))
    calls = []
    trained = training.train(
        start, few, training.Recipe(2, 1e-3), seed=0, after_epoch=lambda: calls.append(1)
    )
    assert len(calls) == 2
    assert not np.array_equal(trained["dense"]["kernel"], start["dense"]["kernel"])


def test_saved_means_within_a_point_of_the_better_exact_figure():
    exact = row("exact", 97.0, 98.0, mae=0.0, is_exact=True)
    other = row("other exact", 50.0, 51.0, mae=0.0, is_exact=True, codes="s")
    rows = [exact, other]
    assert experiment.target_accuracy(row("x", 60.0, 90.0), rows) == 98.0
    assert experiment._is_saved(row("x", 60.0, 97.0), rows)
    assert not experiment._is_saved(row("x", 60.0, 96.9), rows)
    assert 64.4 - 63.4 > 1  # a point all the same
    assert experiment._is_saved(row("x", 60.0, 63.4), [row("exact", 64.4, is_exact=True)])
    assert experiment._is_saved(row("x", 20.0, 50.0, codes="s"), rows)


def test_harmed_is_what_lost_more_than_a_point_worst_first():
    rows = [
        row("exact", 97.0, mae=0.0, is_exact=True),
        row("harmless", 96.0),
        row("bad", 95.9),
        row("worst", 10.0),
        row("larger error", 95.9, mae=2.0),
    ]
    assert [r.name for r in experiment._harmed(rows)] == ["worst", "larger error", "bad"]


def test_an_exact_multiplier_leads_each_kind_and_joins_where_it_is_missing():
    names = ["mul8s_drum4", "mul8u_drum3", "mul8u_trunc4", "mul8u_exact"]
    kinds = experiment._kinds([axjax.load(name) for name in names])
    assert [[m.name for m in kind] for kind in kinds] == [
        ["exact int8 x int8", "mul8s_drum4"],
        ["mul8u_exact", "mul8u_trunc4", "mul8u_drum3"],
    ]


def test_conclusion_names_the_worst_saved_and_all_that_are_not():
    found = results(
        row("exact", 98.0, 98.2, mae=0.0, is_exact=True),
        row("mild", 95.0, 98.2, saved=True),
        row("strong", 60.0, 97.8, saved=True),
        row("hopeless", 10.0, 40.0, saved=False),
        row("odd", 80.0, 96.0, saved=False),
    )
    assert found.worst_saved().name == "strong"
    lines = report.conclusion(found).splitlines()
    assert lines[0] == "Not saved: hopeless, 10.0 % -> 40.0 %, 58.2 below exact 98.2 %."
    assert lines[1].startswith("Worst that fine-tuning saves: strong, 60.0 % -> 97.8 %, 0.4 ")
    assert lines[2].startswith("Not saved: odd, 80.0 % -> 96.0 %")
    assert lines[3] == "Also saved: mild, 95.0 % -> 98.2 %, not below exact 98.2 %."
    assert "the exact exact: 98.0 % -> 98.2 %" in lines[4]


def test_conclusion_of_nothing_harmed():
    found = results(row("exact", 98.0, 98.0, is_exact=True), row("fine", 97.5))
    assert found.worst_saved() is None
    assert "No multiplier cost more than 1 point" in report.conclusion(found)


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([row("only exact", 98.0, mae=0.0, is_exact=True)], id="exact alone"),
        pytest.param(
            [row("all right", 100.0), row("none", 0.0, 100.0, saved=True)], id="limits"
        ),
        pytest.param([row("huge", 10.0, 11.0, mae=400.0, saved=False)], id="huge error"),
    ],
)
def test_plot_takes_any_results(rows, tmp_path):
    plot.write_plot(tmp_path / "plot.png", results(*rows))
    assert (tmp_path / "plot.png").stat().st_size > 10_000


def test_parameters_have_one_entry_for_each_layer_of_known_range(parameters):
    assert set(parameters) == set(model.LAYERS)
