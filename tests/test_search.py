# SPDX-License-Identifier: Apache-2.0
"""The search finds the Pareto front of a problem whose front is known, and can be resumed."""

import csv
import itertools
import json
import sys

import numpy as np
import pytest

import axjax
from axjax import search

pytest.importorskip("pymoo")
pytest.importorskip("matplotlib")
pytest.importorskip("rich")

PRODUCTS = {"first": 100, "second": 700, "third": 200}
POWER = {
    "exact uint8 x uint8": 1.0,
    "mul8u_trunc4": 0.8,
    "mul8u_trunc8": 0.4,
    "mul8u_drum3": 0.3,
}
LOSS = {
    "exact uint8 x uint8": 0.0,
    "mul8u_trunc4": 0.5,
    "mul8u_trunc8": 3.0,
    "mul8u_drum3": 9.0,
}
SENSITIVITY = {"first": 2.0, "second": 0.5, "third": 1.0}


def multipliers():
    loaded = [axjax.load(name) for name in POWER if name.startswith("mul")]
    return [*loaded, axjax.Multiplier.exact(8)]


def accuracy(chosen):
    assert list(chosen) == list(PRODUCTS)
    return 99 - sum(SENSITIVITY[layer] * LOSS[m.name] for layer, m in chosen.items())


def run(function=accuracy, **keywords):
    options = dict(floor=90.0, population=16, generations=25) | keywords
    return search.assign_multipliers(function, PRODUCTS, multipliers(), POWER, **options)


def true_front(floor):
    shares = np.array(list(PRODUCTS.values())) / 1000
    points = {}
    for names in itertools.product(POWER, repeat=3):
        losses = [s * LOSS[n] for s, n in zip(SENSITIVITY.values(), names, strict=True)]
        points[names] = (99 - sum(losses), float(shares @ [POWER[n] for n in names]))
    return {
        names
        for names, (a, p) in points.items()
        if a >= floor
        and not any(
            (b >= a and q <= p + 1e-12) and (b > a or q < p - 1e-12) for b, q in points.values()
        )
    }


def test_finds_the_pareto_front():
    front = run()
    assert {tuple(a.multipliers.values()) for a in front.assignments} == true_front(90.0)
    powers = [a.power for a in front.assignments]
    assert powers == sorted(powers, reverse=True)
    assert all(a.accuracy >= 90 for a in front.assignments)
    assert len(front.evaluated) <= 64


def test_published_power_is_the_default():
    published = [
        axjax.Multiplier(m.products(), name=m.name, published={"PDK45_PWR": POWER[m.name] / 3})
        for m in multipliers()
    ]
    options = dict(floor=90.0, population=16, generations=25)
    found = search.assign_multipliers(accuracy, PRODUCTS, published, **options)
    for ours, expected in zip(found.assignments, run().assignments, strict=True):
        assert ours.multipliers == expected.multipliers
        assert ours.power == pytest.approx(expected.power / 3)


def test_multipliers_are_alike():
    kinds = set()

    def watching(chosen):
        kinds.update(
            (m.bound, m.factors is None, str(m.table.dtype), m.table.shape)
            for m in chosen.values()
        )
        return accuracy(chosen)

    run(watching, generations=3)
    assert len(kinds) == 1


def test_same_seed_same_front():
    assert run(seed=3) == run(seed=3)


def test_goes_on_from_a_checkpoint(tmp_path):
    path = tmp_path / "new" / "checkpoint.json"
    calls = []

    def failing(chosen):
        if len(calls) == 30:
            raise KeyboardInterrupt
        return counted(chosen)

    def counted(chosen):
        calls.append(tuple(m.name for m in chosen.values()))
        return accuracy(chosen)

    with pytest.raises(KeyboardInterrupt):
        run(failing, checkpoint=path)
    kept = len(json.loads(path.read_text())["evaluated"])
    assert 16 <= kept <= 30
    calls = calls[:kept]  # what came after the last generation is evaluated again
    assert run(counted, checkpoint=path) == run()
    assert len(calls) == len(set(calls))


@pytest.mark.parametrize("text", ["{", "[]", '{"layers": ["other"], "multipliers": []}'])
def test_other_checkpoints_are_refused_and_kept(tmp_path, text):
    path = tmp_path / "checkpoint.json"
    path.write_text(text)
    with pytest.raises(
        ValueError, match=r"of the same layers and multipliers, got checkpoint="
    ):
        run(checkpoint=path)
    assert path.read_text() == text


def test_writes_table_and_plot(tmp_path):
    front = run()
    front.write(tmp_path / "out")
    content = json.loads((tmp_path / "out" / "front.json").read_text())
    assert content["evaluated"] == len(front.evaluated)
    assert [search.Assignment(**a) for a in content["front"]] == front.assignments
    with (tmp_path / "out" / "front.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header == ["accuracy", "power", *PRODUCTS]
    assert [row[2:] for row in rows] == [
        list(a.multipliers.values()) for a in front.assignments
    ]
    assert (tmp_path / "out" / "front.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(multipliers=[]), "got 3 layers and 0 multipliers"),
        (dict(multipliers=[axjax.Multiplier.exact(8)] * 2), "names of their own, got"),
        (dict(power={}), "a power figure, got none for"),
        (dict(population=1), "got population=1 and generations=2. Pass more"),
        (dict(floor=99.5), "got floor=99.5 where the best of .* has accuracy 99.0. Lower"),
    ],
    ids=["none", "twice", "power", "population", "floor"],
)
def test_bad_input_is_refused(change, message):
    options = dict(multipliers=multipliers(), power=POWER, floor=0.0, generations=2) | change
    with pytest.raises(ValueError, match=message):
        search.assign_multipliers(accuracy, PRODUCTS, **options)


def test_without_pymoo_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymoo.algorithms.moo.nsga2", None)
    with pytest.raises(ImportError, match=r"pip install 'axjax\[search\]'"):
        run()
