# SPDX-License-Identifier: Apache-2.0
"""Error metrics against published figures, and against sums that are written out."""

import dataclasses
import json
import math
from fractions import Fraction

import numpy as np
import pytest

from axjax import Multiplier, circuits
from axjax._metrics import metrics

# From the headers of EvoApproxLib's files, as printed there.
PUBLISHED = {
    "mul8u_125K": {"MAE%": "0.00095", "MAE": "0.62", "WCE%": "0.0092", "WCE": "6.0",
                   "WCRE%": "28.57", "EP%": "17.19", "MRE%": "0.023", "MSE": "2.5"},
    "mul8u_2AC": {"MAE%": "0.037", "MAE": "25", "WCE%": "0.12", "WCE": "79",
                  "WCRE%": "3100.00", "EP%": "98.12", "MRE%": "1.25", "MSE": "892"},
    "mul8u_2HH": {"MAE%": "0.057", "MAE": "37", "WCE%": "0.18", "WCE": "115",
                  "WCRE%": "8300.00", "EP%": "97.72", "MRE%": "2.56", "MSE": "2008"},
    "mul8u_YX7": {"MAE%": "4.84", "MAE": "3169", "WCE%": "49.22", "WCE": "32258",
                  "WCRE%": "66.67", "EP%": "88.71", "MRE%": "15.66", "MSE": "33602746"},
    "mul8s_1KR3": {"MAE%": "3.08", "MAE": "2016", "WCE%": "12.30", "WCE": "8064",
                   "WCRE%": "6300.00", "EP%": "98.05", "MRE%": "135.77", "MSE": "7282910"},
}  # fmt: skip

# Mean absolute and worst-case errors, computed over all pairs when the tables were collected.
COLLECTED = {
    "mul8u_1JFF": (0, 0), "mul8u_125K": (0.62, 6), "mul8u_2P7": (1.0, 3),
    "mul8u_KEM": (3.04, 11), "mul8u_1446": (12, 192), "mul8u_2AC": (24.5, 79),
    "mul8u_2HH": (37, 115), "mul8u_185Q": (119, 518), "mul8u_17KS": (370, 1577),
    "mul8u_FTA": (581, 2809), "mul8u_L40": (1011, 9124), "mul8u_YX7": (3169, 32258),
    "mul8s_1KV8": (0, 0), "mul8s_1L2H": (53.3, 255), "mul8s_1KR3": (2016, 8064),
}  # fmt: skip


def real_table(folder, name):
    if name.startswith("mul8s"):
        return Multiplier(np.load(folder / f"{name}.npy"), signed=True, name=name)
    entries = np.fromfile(folder / f"{name}.bin", "<u2")
    return Multiplier(entries.reshape(256, 256), name=name)


def assert_agrees_as_printed(value, printed):
    """Equal to half a unit of the last printed digit."""
    decimals = len(printed.partition(".")[2])
    assert abs(value - float(printed)) <= 0.5 * 10**-decimals * (1 + 1e-9), printed


def written_out(multiplier, weight):
    """All metrics by their definitions, in rational numbers; `weight(x, w)` is an integer."""
    products, errors = multiplier.products(), multiplier.errors()
    pairs = [
        (weight(x, w), int(errors[x, w]), int(products[x, w] - errors[x, w]))
        for x in range(products.shape[0])
        for w in range(products.shape[1])
    ]
    pairs = [pair for pair in pairs if pair[0] > 0]
    total = sum(count for count, _, _ in pairs)

    def mean(values):
        return sum(Fraction(v) for v in values) / total

    output_range = products.size
    mae = mean(n * abs(e) for n, e, _ in pairs)
    bias = mean(n * e for n, e, _ in pairs)
    mse = mean(n * e * e for n, e, _ in pairs)
    wce = max(abs(e) for _, e, _ in pairs)
    nonzero = [(n, Fraction(abs(e), abs(p))) for n, e, p in pairs if p != 0]
    mre = sum(n * r for n, r in nonzero) / sum(n for n, _ in nonzero)
    return {
        "MAE": mae,
        "MAE%": 100 * mae / output_range,
        "WCE": wce,
        "WCE%": Fraction(100 * wce, output_range),
        "MRE%": 100 * mre,
        "WCRE%": 100 * max(r for _, r in nonzero),
        "EP%": 100 * mean(n for n, e, _ in pairs if e != 0),
        "MSE": mse,
        "bias": bias,
        "variance": mse - bias**2,
    }


def assert_metrics_equal(found, expected):
    found = found.asdict()
    assert found.keys() == expected.keys()
    for label, value in expected.items():
        if label in ("MRE%", "WCRE%"):  # rounded quotients are added, or scaled to percent
            assert found[label] == pytest.approx(float(value), rel=1e-14), label
        else:
            assert found[label] == float(value), label


@pytest.mark.parametrize("name", PUBLISHED)
def test_figures_are_those_of_evoapproxlib(shared_luts, name):
    found = metrics(real_table(shared_luts, name)).asdict()
    for label, printed in PUBLISHED[name].items():
        assert_agrees_as_printed(found[label], printed)


@pytest.mark.parametrize("name", COLLECTED)
def test_mean_and_worst_error_of_the_real_tables(shared_luts, name):
    found = metrics(real_table(shared_luts, name))
    mae, wce = COLLECTED[name]
    assert abs(found.mae - mae) <= (0.5 if isinstance(mae, int) else 0.05)  # as rounded there
    assert found.wce == wce


@pytest.mark.parametrize(
    ("bits", "printed"),
    [
        (8, {"MAE%": "24.81", "MAE": "16256", "WCE%": "99.22", "WCE": "65025",
             "WCRE%": "100.00", "EP%": "99.22", "MRE%": "100.00"}),  # mul8u_199Z
        ((8, 3), {"MAE%": "21.79", "MAE": "446", "WCE%": "87.16", "WCE": "1785",
                  "WCRE%": "100.00", "EP%": "87.16", "MRE%": "100.00"}),  # mul8x3u_242
        ((8, 2), {"MAE%": "18.68", "MAE": "191", "WCE%": "74.71", "WCE": "765",
                  "WCRE%": "100.00", "EP%": "74.71", "MRE%": "100.00"}),  # mul8x2u_02A
    ],
    ids=["8x8", "8x3", "8x2"],
)  # fmt: skip
def test_the_multiplier_that_is_always_zero_has_evoapproxlibs_figures(bits, printed):
    found = metrics(Multiplier.from_function(lambda x, w: 0 * x * w, bits)).asdict()
    for label, text in printed.items():
        assert_agrees_as_printed(found[label], text)


@pytest.mark.parametrize(
    "multiplier",
    [circuits.mitchell(5), circuits.drum((6, 4), k=2, signed=True),
     Multiplier.from_function(lambda x, w: 3 * x * w - 7, (4, 5), signed=(False, True))],
    ids=["mitchell", "drum", "affine"],
)  # fmt: skip
def test_metrics_follow_their_definitions(multiplier):
    assert_metrics_equal(metrics(multiplier), written_out(multiplier, lambda x, w: 1))


def test_joint_counts_weight_every_pair(rng):
    multiplier = circuits.drum((5, 4), k=2)
    counts = rng.integers(0, 5, (32, 16))
    expected = written_out(multiplier, lambda x, w: int(counts[x, w]))
    assert_metrics_equal(metrics(multiplier, counts), expected)
    # A power of two scales a float without rounding, so that even these are equal.
    assert metrics(multiplier, counts / 1024) == metrics(multiplier, counts)


def test_counts_near_the_end_of_int64_do_not_overflow(rng):
    multiplier = Multiplier.from_function(lambda x, w: x * w - 2**31 + 1, 3)
    counts = rng.integers(2**61, 2**62, (8, 8))
    expected = written_out(multiplier, lambda x, w: int(counts[x, w]))
    assert_metrics_equal(metrics(multiplier, counts), expected)


def test_independent_operands_are_weighted_by_the_product(rng):
    multiplier = circuits.kulkarni(4, signed=True)
    x_counts, w_counts = rng.integers(0, 9, (2, 16))
    joint = np.multiply.outer(x_counts, w_counts)
    assert metrics(multiplier, (x_counts, w_counts)) == metrics(multiplier, joint)
    assert metrics(multiplier, (None, w_counts)) == metrics(
        multiplier, np.broadcast_to(w_counts, (16, 16))
    )
    assert metrics(multiplier, (None, None)) == metrics(multiplier)


def test_weights_are_in_the_order_of_bit_patterns():
    multiplier = Multiplier.from_function(lambda x, w: x * w + (x == -1), 8, signed=True)
    only_minus_one = np.zeros(256)
    only_minus_one[255] = 1.0
    found = metrics(multiplier, (only_minus_one, None))
    assert (found.bias, found.ep_percent) == (1, 100)


def test_worst_cases_are_taken_over_codes_that_occur():
    multiplier = circuits.kulkarni(2)
    found = metrics(multiplier, (np.array([1, 1, 1, 0]), None))
    assert (found.wce, found.wcre_percent, found.ep_percent) == (0, 0, 0)


def test_without_nonzero_products_relative_errors_are_undefined():
    multiplier = Multiplier.from_function(lambda x, w: x * w + 5, 4)
    only_zero = np.eye(1, 16)[0]
    found = metrics(multiplier, (only_zero, None))
    assert math.isnan(found.mre_percent)
    assert math.isnan(found.wcre_percent)
    assert (found.mae, found.wce, found.variance) == (5, 5, 0)


def test_metrics_read_well():
    found = metrics(circuits.kulkarni(2))
    assert str(found) == (
        "MAE 0.125 (0.781 %), WCE 2 (12.5 %), MRE 2.47 %, WCRE 22.22 %, EP 6.25 %, "
        "MSE 0.25, bias -0.125, variance 0.23438"
    )
    assert json.loads(json.dumps(found.asdict()))["MAE%"] == 0.78125
    assert len(found.asdict()) == len(dataclasses.fields(found))
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.mae = 0


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones((256, 255)), r"^metrics: .*\(256, 256\), got weights.shape=\(256, 255\)\. "),
        ((np.ones(16), None), r"\(256,\), got weights.shape=\(16,\)\. Count codes"),
        ((None, None, None), "^metrics: a tuple of weights has .*, got 3 entries. Pass an"),
        (np.zeros((256, 256)), r"^metrics: .*not all zero, got weights from 0\.0 to 0\.0\. "),
        ((np.arange(256) - 1, None), "not negative.* got weights from -1 to 254. Pass counts"),
        ((np.full(256, np.inf), None), "finite.* got weights from inf to inf"),
        ((np.full(256, np.nan), None), "finite.* got weights from nan to nan"),
    ],
)
def test_bad_weights_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        metrics(circuits.exact(), weights)
