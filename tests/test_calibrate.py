# SPDX-License-Identifier: Apache-2.0
"""Ranges of activations, observers, folding, and what is built on them."""

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from jax import lax
from networks import SIGNED, UNSIGNED, assert_close

import axjax
from axjax import Rule, calibrate, emulate
from axjax.emulation._observer import BINS, OBSERVERS

MUL = axjax.load("mul8s_trunc4")
ALL = [Rule(".*", MUL)]
UNSIGNED_RULES = [Rule(".*", UNSIGNED)]


@pytest.fixture
def plain(rng):
    params = networks.plain_params(rng)
    return params, [(params, networks.images(rng)) for _ in range(3)]


def test_min_max_is_the_range_of_all_batches(plain):
    params, batches = plain
    ranges = calibrate(networks.plain_network, ALL, batches)
    assert list(ranges) == ["stem", "hidden", "head"]
    stacked = jnp.stack([x for _, x in batches])
    np.testing.assert_array_equal(ranges["stem"], [stacked.min(), stacked.max()])

    def hidden_inputs(x):  # of every iteration of the scan
        conv = dict(dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = lax.conv_general_dilated(x, params["stem"]["w"], (1, 1), "SAME", **conv)
        x, seen = jax.nn.relu(x).mean((1, 2)), []
        for w in params["hidden"]:
            seen.append(x)
            x = jnp.tanh(x @ w)
        return jnp.stack(seen)

    seen = jnp.stack([hidden_inputs(x) for _, x in batches])
    np.testing.assert_allclose(ranges["hidden"], [seen.min(), seen.max()], rtol=1e-6)


def test_a_range_of_the_one_batch_gives_what_the_batchs_own_range_gives(plain):
    _, batches = plain
    once = jax.jit(emulate(networks.plain_network, [Rule("stem|head", MUL)]))(*batches[0])
    rules = [Rule("stem|head", MUL)]
    # The head sees other activations under emulation: only the first layer's range is equal.
    ranges = calibrate(networks.plain_network, rules, batches[:1])
    given = jax.jit(emulate(networks.plain_network, rules, ranges))(*batches[0])
    assert_close(given, once, 0.02)
    first = [Rule("stem", MUL)]
    np.testing.assert_array_equal(
        emulate(networks.plain_network, first, ranges)(*batches[0]),
        emulate(networks.plain_network, first)(*batches[0]),
    )


def test_calibrated_results_do_not_depend_on_the_batch(plain):
    params, batches = plain
    ranges = calibrate(networks.plain_network, ALL, batches)
    emulated = emulate(networks.plain_network, ALL, ranges)
    x = jnp.concatenate([x for _, x in batches])
    together = emulated(params, x)
    for start, size in ((0, 1), (2, 3)):
        part = emulated(params, x[start : start + size])
        assert_close(part, together[start : start + size], 1e-6)


def test_ranges_are_kept_in_a_file(plain, tmp_path):
    _, batches = plain
    ranges = calibrate(networks.plain_network, ALL, batches)
    np.savez(tmp_path / "ranges.npz", **ranges)
    with np.load(tmp_path / "ranges.npz") as file:
        again = dict(file)
    np.testing.assert_array_equal(
        emulate(networks.plain_network, ALL, again)(*batches[0]),
        emulate(networks.plain_network, ALL, ranges)(*batches[0]),
    )


def test_orbax_keeps_ranges_and_multipliers(plain, tmp_path):
    checkpoint = pytest.importorskip("orbax.checkpoint")
    _, batches = plain
    kept = {"ranges": calibrate(networks.plain_network, ALL, batches), "multiplier": MUL}
    kept = jax.tree.map(jnp.asarray, kept)
    with checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", kept)
        checkpointer.wait_until_finished()
        again = checkpointer.restore(tmp_path / "state", kept)
    assert jax.tree.structure(again) == jax.tree.structure(kept)
    jax.tree.map(np.testing.assert_array_equal, again, kept)


def test_ranges_may_be_arguments_of_a_compiled_function(plain):
    _, batches = plain
    ranges = calibrate(networks.plain_network, ALL, batches)
    run = jax.jit(lambda ranges, *args: emulate(networks.plain_network, ALL, ranges)(*args))
    expected = jax.jit(emulate(networks.plain_network, ALL, ranges))(*batches[0])
    assert_close(run(ranges, *batches[0]), expected, 1e-6)


def test_attention_has_a_range_for_either_operand(rng):
    network = networks.VisionTransformer(blocks=1)
    variables, x = networks.initialised(network, rng)
    ranges = calibrate(network.apply, ALL, [(variables, x)])
    two = [key for key, value in ranges.items() if value.shape == (2, 2)]
    assert len(two) == 2
    assert all("attention0/" in key and "->" in key for key in two)
    probabilities = ranges[next(key for key in two if "hqk,...khd" in key)]
    assert (probabilities >= 0).all(1).any()  # those of the softmax
    emulated = jax.jit(emulate(network.apply, [Rule(".*", SIGNED)], ranges))(variables, x)
    exact = network.apply(variables, x)
    assert 0 < jnp.abs(emulated - exact).max() < 0.05 * jnp.abs(exact).max()


def test_loops_and_branches_are_observed(rng):
    w = jnp.eye(4)

    def fn(x, go):
        x = lax.while_loop(
            lambda s: (s[1] @ w).max() < 100.0, lambda s: (s[0] + 1, 2.0 * s[1] @ w), (0, x)
        )[1]
        return lax.cond(go, lambda x: x @ w, lambda x: jnp.sin(x) @ w, x)

    x = jnp.arange(1.0, 5.0)[None]
    ranges = calibrate(fn, UNSIGNED_RULES, [(x, jnp.array(True)), (x, jnp.array(True))])
    values = list(ranges.values())
    assert values[0].tolist() == [1.0, 128.0]  # of the condition, the last time too
    assert values[1].tolist() == [2.0, 128.0]
    taken = [value for value in values[2:] if not np.isnan(value).any()]
    assert [value.tolist() for value in taken] == [[32.0, 128.0]]
    assert len(values) == 4  # the branch that never ran: NaN, and so is what it gives
    emulated = emulate(fn, UNSIGNED_RULES, ranges)
    assert jnp.isfinite(emulated(x, jnp.array(True))).all()
    assert jnp.isnan(emulated(x, jnp.array(False))).all()


# ---------------------------------------------------------------- observers


def observe(name, values, codes=None, symmetric=True):
    observer = OBSERVERS[name]() if isinstance(name, str) else name
    ends = np.array([[values.min(), values.max()]])
    histogram, _ = np.histogram(values, BINS, (values.min(), values.max()))
    return observer.choose(ends, histogram, codes or SIGNED.activation, symmetric)


def test_average_follows_the_batches():
    ends = np.array([[-1.0, 2.0], [-3.0, 4.0]])
    observer = axjax.AverageMinMax(momentum=0.5)
    assert observer.choose(ends, None, SIGNED.activation, True) == (-2.0, 3.0)


def test_percentile_cuts_outliers(rng):
    values = rng.normal(size=100_000)
    values[0] = 50.0
    low, high = observe(axjax.Percentile(99.0), values)
    np.testing.assert_allclose([low, high], np.percentile(values, [0.5, 99.5]), atol=0.06)
    positive = np.maximum(values, 0)
    low, high = observe(axjax.Percentile(99.0), positive)
    assert low == 0
    np.testing.assert_allclose(high, np.percentile(positive, 99.0), atol=0.06)


@pytest.mark.parametrize("name", ["mse", "entropy"])
def test_an_outlier_does_not_widen_the_range(rng, name):
    values = rng.normal(size=100_000)
    values[0] = 50.0
    _, high = observe(name, values, axjax.CodeType(4, signed=True))
    assert 2.0 < high < 25.0


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", [3, 4, 8])
def test_mean_squared_error_is_the_least_of_the_candidates(rng, bits, symmetric):
    values = rng.laplace(size=20_000)
    codes = axjax.CodeType(bits, signed=symmetric)

    def error(low, high):
        given = axjax.GivenRange(np.float32(low), np.float32(high), symmetric)
        x = jnp.asarray(values, jnp.float32)
        found = given.parameters(x, codes, ())
        return float(((found.dequantize(found.quantize(x)) - x) ** 2).mean())

    chosen = error(*observe("mse", values, codes, symmetric))
    others = [
        error(values.min() * share, values.max() * share) for share in np.linspace(0.1, 1, 10)
    ]
    assert chosen <= min(others) * 1.001


def test_fewer_bits_get_a_narrower_range(rng):
    values = rng.normal(size=50_000)
    wide = observe("mse", values, axjax.CodeType(8, signed=True))
    narrow = observe("mse", values, axjax.CodeType(3, signed=True))
    assert narrow[1] < 0.8 * wide[1]


@pytest.mark.parametrize("name", OBSERVERS)
def test_every_observer_calibrates_a_network(plain, name):
    _, batches = plain
    ranges = calibrate(networks.plain_network, ALL, batches, observer=name)
    emulated = emulate(networks.plain_network, [Rule(".*", SIGNED)], ranges)
    exact = networks.plain_network(*batches[0])
    assert jnp.abs(emulated(*batches[0]) - exact).max() < 0.1 * jnp.abs(exact).max()


# ---------------------------------------------------------------- folding


def test_folding_changes_nothing_where_every_channel_has_its_scale(rng):
    """Symmetric scales of output channels take the factor up, whatever it is: same codes."""
    network = networks.ResNet18(width=4, stages=(1, 1))
    variables, x = networks.initialised(network, rng)
    first = [Rule(".*conv_init", SIGNED)]
    plain, folded = (
        emulate(network.apply, first, fold_batch_norm=fold)(variables, x)
        for fold in (False, True)
    )
    assert_close(folded, plain)
    assert (folded != plain).any()


def test_folding_under_one_scale_equals_a_network_that_was_folded_by_hand(rng):
    per_tensor = axjax.Quantization(rhs=axjax.CurrentRange())
    dimension = dict(dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def conv(x, w):
        return lax.conv_general_dilated(x, w, (1, 1), "SAME", **dimension)

    def unfolded(p, x):
        y = conv(x, p["w"]) + p["bias"].reshape(1, 1, 1, -1)
        y = (y - p["mean"].reshape(1, 1, 1, -1)) / jnp.sqrt(p["var"].reshape(1, 1, 1, -1))
        return jax.nn.relu(y * p["scale"].reshape(1, 1, 1, -1) + 0.5)

    def by_hand(p, x):
        factor = p["scale"] / jnp.sqrt(p["var"])
        y = conv(x, p["w"] * factor.reshape(1, 1, 1, -1))
        shift = factor * (p["bias"] - p["mean"])
        return jax.nn.relu(y + shift.reshape(1, 1, 1, -1) + 0.5)

    vector = lambda: jnp.asarray(rng.uniform(0.2, 3.0, 8), jnp.float32)
    p = {name: vector() for name in ("bias", "mean", "var", "scale")}
    p["w"] = jnp.asarray(rng.normal(size=(3, 3, 3, 8)), jnp.float32)
    x = networks.images(rng)
    rules = [Rule(".*", MUL, per_tensor)]
    expected = emulate(by_hand, rules)(p, x)
    folded = emulate(unfolded, rules, fold_batch_norm=True)
    # Kernels differ in their last bits, and so may a code that lies on the edge.
    error = jnp.abs(folded(p, x) - expected).max()
    apart = jnp.abs(emulate(unfolded, rules)(p, x) - expected).max()
    assert error < 0.02 * apart
    assert_close(unfolded(p, x), by_hand(p, x), 1e-5)
    loss = lambda f: jax.grad(lambda p: (f(p, x) ** 2).sum())(p)
    assert_close(loss(folded)["mean"], loss(emulate(by_hand, rules))["mean"], 0.02)


def test_training_statistics_are_not_folded(rng):
    network = networks.ResNet18(width=4, stages=(1,))
    variables, x = networks.initialised(network, rng)
    run = lambda fold: emulate(network.apply, ALL, fold_batch_norm=fold)(
        variables, x, train=True, mutable=["batch_stats"]
    )
    jax.tree.map(np.testing.assert_array_equal, run(True), run(False))


def test_a_factor_made_of_activations_is_not_folded(rng):
    def squeeze(p, x):
        y = x @ p["a"]
        return (y @ p["b"]) * y.mean(0, keepdims=True)  # one channel each, but no constant

    p = {name: jnp.asarray(rng.normal(size=(4, 4)), jnp.float32) for name in "ab"}
    x = jnp.asarray(rng.normal(size=(1, 4)), jnp.float32)
    rules = [Rule(".*", MUL, axjax.Quantization(rhs=axjax.CurrentRange()))]
    np.testing.assert_array_equal(
        emulate(squeeze, rules, fold_batch_norm=True)(p, x), emulate(squeeze, rules)(p, x)
    )


# ---------------------------------------------------------------- remapping


def test_remapping_is_the_least_expected_error_of_any_code(rng):
    products = rng.integers(0, 60, (8, 16))
    mul = axjax.Multiplier(products)
    frequency = rng.uniform(size=8)
    new = axjax.remap(mul, frequency).products()
    for w in range(16):
        losses = [
            sum(frequency[x] * abs(products[x, other] - x * w) for x in range(8))
            for other in range(16)
        ]
        got = sum(frequency[x] * abs(new[x, w] - x * w) for x in range(8))
        assert got == pytest.approx(min(losses))


def test_remapping_leaves_an_exact_multiplier(rng):
    for mul in (UNSIGNED, SIGNED, axjax.Multiplier.exact((4, 8), signed=(False, True))):
        np.testing.assert_array_equal(axjax.remap(mul).products(), mul.products())


def test_remapped_factors_are_those_of_the_remapped_table():
    mul = axjax.load("mul8s_trunc4")
    assert mul.factors is not None
    new = axjax.remap(mul, loss="squared")
    assert new.factors.terms == mul.factors.terms
    again = new.factors.factors().table()
    np.testing.assert_array_equal(again, np.asarray(new.table, np.int32))
    assert new.metrics().mse <= mul.metrics().mse


def test_measured_codes_are_those_of_the_layers_activations(plain):
    _, batches = plain
    ranges = calibrate(networks.plain_network, UNSIGNED_RULES, batches)
    counts = axjax.activation_codes(networks.plain_network, UNSIGNED_RULES, batches, ranges)
    x = jnp.stack([x for _, x in batches])
    given = axjax.GivenRange(*ranges["stem"])
    codes = given.parameters(x, UNSIGNED.activation, ()).quantize(x)
    np.testing.assert_array_equal(counts["stem"], np.bincount(codes.reshape(-1), minlength=256))
    assert counts["hidden"].sum() == 3 * 3 * 2 * 8
    remapped = axjax.remap(axjax.load("mul8u_trunc6"), counts["stem"])
    rules = [Rule("stem", remapped)]
    assert jnp.isfinite(emulate(networks.plain_network, rules, ranges)(*batches[0])).all()


# ---------------------------------------------------------------- errors


def test_no_batches_are_an_error(plain):
    with pytest.raises(ValueError, match=r"calibrate: ranges come from batches, got"):
        calibrate(networks.plain_network, ALL, [])


def test_a_batch_is_a_tuple_of_arguments(plain):
    _, batches = plain
    with pytest.raises(TypeError, match=r"got batch 0 of type list"):
        calibrate(networks.plain_network, ALL, [list(batches[0])])


def test_two_passes_need_batches_that_come_again(plain):
    _, batches = plain
    with pytest.raises(ValueError, match=r"observer 'mse' goes over the batches twice, got"):
        calibrate(networks.plain_network, ALL, iter(batches), observer="mse")
    assert calibrate(networks.plain_network, ALL, iter(batches))


def test_values_that_are_not_finite_are_an_error(plain):
    params, batches = plain
    bad = (params, batches[0][1].at[0, 0, 0, 0].set(jnp.inf))
    with pytest.raises(
        ValueError, match=r"activations are finite, got layer 'stem' in batch 1"
    ):
        calibrate(networks.plain_network, ALL, [batches[0], bad])
    bad = (params, batches[0][1].at[0, 0, 0, 0].set(jnp.nan))
    with pytest.raises(
        ValueError, match=r"activations are finite, got layer 'stem' in batch 0"
    ):
        calibrate(networks.plain_network, ALL, [bad])


def test_an_unknown_observer_is_an_error(plain):
    with pytest.raises(ValueError, match=r"an observer is one of min_max, average_min_max"):
        calibrate(networks.plain_network, ALL, plain[1], observer="max")
    with pytest.raises(ValueError, match="AverageMinMax: momentum is from 0 to 1"):
        axjax.AverageMinMax(2.0)
    with pytest.raises(ValueError, match="Percentile: a share is above 0 and up to 100"):
        axjax.Percentile(0.0)


def test_bad_frequencies_and_losses_are_errors():
    with pytest.raises(ValueError, match="remap: a frequency for each of 256 activation codes"):
        axjax.remap(UNSIGNED, np.ones(16))
    with pytest.raises(ValueError, match="remap: a loss is one of absolute, squared"):
        axjax.remap(UNSIGNED, loss="cubic")
