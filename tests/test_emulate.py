# SPDX-License-Identifier: Apache-2.0
"""Networks that know nothing of axjax, on approximate hardware."""

import re

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from flax import nnx
from jax import lax
from networks import SIGNED, UNSIGNED, assert_close

import axjax
from axjax import Rule, emulate

MUL = axjax.load("mul8s_trunc4")
ALL = [Rule(".*", MUL)]


def everything(multiplier, **options):
    return [Rule(".*", multiplier, **options)]


LINEN = {
    "resnet18": lambda: networks.ResNet18(width=8),
    "resnet50": lambda: networks.ResNet50(width=4),
    "mobilenet": networks.MobileNet,
}


@pytest.mark.parametrize("name", LINEN)
def test_exact_table_equals_the_fake_quantized_network_bit_for_bit(rng, monkeypatch, name):
    """Steps are powers of two, so that no code depends on how a float was rounded."""
    network = LINEN[name]()
    variables, x = networks.initialised(network, rng, 32)
    variables = networks.dyadic(variables)
    assert float(jnp.float32(1 - 1e-5) + jnp.float32(1e-5)) == 1.0
    steps = axjax.Quantization(lhs=axjax.FixedScale(2.0**-4), rhs=axjax.FixedScale(2.0**-6))
    rules = everything(SIGNED, quantization=steps)
    emulated = jax.jit(emulate(network.apply, rules))(variables, x)
    conv, dot = networks.rounded_operations(2.0**-4, 2.0**-6)
    monkeypatch.setattr(lax, "conv_general_dilated", conv)
    monkeypatch.setattr(lax, "dot_general", dot)
    expected = jax.jit(lambda v, x: network.apply(v, x))(variables, x)
    monkeypatch.undo()
    np.testing.assert_array_equal(emulated, expected)
    assert (emulated != jax.jit(network.apply)(variables, x)).all()
    if name == "mobilenet":
        approximate = emulate(network.apply, everything(MUL, quantization=steps))
        assert (jax.jit(approximate)(variables, x) != emulated).any()


def test_a_layer_by_the_batchs_range_equals_the_fake_quantized_one_to_rounding(rng):
    network = networks.MobileNet()
    variables, x = networks.initialised(network, rng, 32)
    first = axjax.layers(network.apply, variables, x)[0].layer
    rules = [Rule(".*", UNSIGNED, index=0)]
    emulated = jax.jit(emulate(network.apply, rules))(variables, x)
    calls = []
    conv = lax.conv_general_dilated
    fake, _ = networks.fake_quantized_operations(UNSIGNED)

    def first_only(*args, **kwargs):
        calls.append(None)
        return (fake if len(calls) == 1 else conv)(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lax, "conv_general_dilated", first_only)
        expected = jax.jit(lambda v, x: network.apply(v, x))(variables, x)
    assert first.op == "conv_general_dilated"
    assert_close(emulated, expected)


def test_every_engine_gives_the_bits_of_the_reference(rng):
    """Called without jit, so that all that is not emulated is compiled alike."""
    network = networks.ResNet18(width=4, stages=(1, 1))
    variables, x = networks.initialised(network, rng, 16)
    results = [
        emulate(network.apply, everything(MUL, engine=engine))(variables, x)
        for engine in ("reference", "cpu", "xla")
    ]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_vision_transformer_and_its_attention(rng):
    network = networks.VisionTransformer()
    variables, x = networks.initialised(network, rng)
    table = axjax.layers(network.apply, variables, x, rules=ALL)
    kinds = [a.layer.kind for a in table]
    assert kinds.count("attention") == 4
    assert kinds.count("dense") == 2 * (4 + 2) + 1
    exact = jax.jit(network.apply)(variables, x)
    emulated = jax.jit(emulate(network.apply, everything(SIGNED)))(variables, x)
    approximate = jax.jit(emulate(network.apply, ALL))(variables, x)
    scale = jnp.abs(exact).max()
    assert 0 < jnp.abs(emulated - exact).max() < 0.05 * scale
    assert jnp.abs(approximate - exact).max() > jnp.abs(emulated - exact).max()


def test_product_of_two_activations_is_quantized_per_tensor(rng):
    x = jnp.asarray(rng.normal(size=(2, 5, 4)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(4, 4)), jnp.float32)

    def attention(w, x):
        q, k = x @ w, jnp.flip(x @ w, 1)
        return jnp.einsum("bqd,bkd->bqk", q, k)

    rules = [Rule(".*", UNSIGNED, kind="attention")]
    q, k = x @ w, jnp.flip(x @ w, 1)
    per_tensor = axjax.Quantization(rhs=axjax.CurrentRange())
    expected = axjax.dot_general(
        q, k, (((2,), (2,)), ((0,), (0,))), multiplier=UNSIGNED, quantization=per_tensor
    )
    np.testing.assert_array_equal(emulate(attention, rules)(w, x), expected)


def test_nnx_network_by_its_own_names(rng):
    model = networks.NnxNetwork(nnx.Rngs(0))
    model.eval()
    x = networks.images(rng)
    table = axjax.layers(model, x)
    assert [a.layer.key for a in table] == ["stem", "body/0", "body/1", "head"]
    exact, emulated = model(x), emulate(model, everything(SIGNED))(x)
    assert 0 < jnp.abs(emulated - exact).max() < 0.05 * jnp.abs(exact).max()
    run = lambda model, x: model(x)  # the model as an argument
    rules = everything(SIGNED)
    np.testing.assert_array_equal(emulate(run, rules)(model, x), emulated)
    gradient = nnx.grad(lambda model: (emulate(run, rules)(model, x) ** 2).sum())(model)
    norms = jax.tree.map(lambda g: float(jnp.abs(g).max()), gradient)
    assert all(norm > 0 for norm in jax.tree.leaves(nnx.state(norms, nnx.Param)))


def test_state_that_a_model_changes_is_an_error(rng):
    model = networks.NnxNetwork(nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"got a change of 'norm/mean.*model.eval\(\)"):
        emulate(model, ALL)(networks.images(rng))


def test_plain_network_and_the_names_of_its_parameters(rng):
    params, x = networks.plain_params(rng), networks.images(rng)
    table = axjax.layers(networks.plain_network, params, x)
    assert [a.layer.key for a in table] == ["stem", "hidden", "head"]
    assert table[1].layer.calls == 3
    assert table[1].layer.macs == 3 * 2 * 8 * 8
    emulated = jax.jit(emulate(networks.plain_network, everything(SIGNED)))(params, x)
    exact = networks.plain_network(params, x)
    assert 0 < jnp.abs(emulated - exact).max() < 0.05 * jnp.abs(exact).max()


def test_rules_without_a_multiplier_change_nothing(rng):
    params, x = networks.plain_params(rng), networks.images(rng)
    out = emulate(networks.plain_network, [Rule(".*", None)])(params, x)
    np.testing.assert_array_equal(out, networks.plain_network(params, x))


# ---------------------------------------------------------------- rules


def test_the_first_rule_that_matches_decides(rng):
    params, x = networks.plain_params(rng), networks.images(rng)
    rules = [Rule("head", None), Rule("h.*", MUL), Rule(".*", SIGNED)]
    table = axjax.layers(networks.plain_network, params, x, rules=rules)
    assert [a.rule for a in table] == [2, 1, 0]
    assert [a.multiplier for a in table] == [SIGNED.name, MUL.name, None]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (dict(kind="conv"), ["stem"]),
        (dict(kind=["conv", "dense"]), ["stem", "hidden", "head"]),
        (dict(kernel_shape=(None, 10)), ["head"]),
        (dict(kernel_shape=(3, 3, None, None)), ["stem"]),
        (dict(index=1), ["hidden"]),
        (dict(index=range(2)), ["stem", "hidden"]),
    ],
    ids=["kind", "kinds", "kernel", "kernel with any channels", "index", "indices"],
)
def test_a_rule_matches_by_more_than_the_path(rng, options, expected):
    params, x = networks.plain_params(rng), networks.images(rng)
    table = axjax.layers(networks.plain_network, params, x, rules=[Rule(".*", MUL, **options)])
    assert [a.layer.key for a in table if a.multiplier] == expected


def test_the_weight_may_be_the_first_operand(rng):
    w = [jnp.asarray(rng.normal(size=(5, 5)), jnp.float32) for _ in range(2)]
    x = jnp.asarray(rng.normal(size=(5, 3)), jnp.float32)
    network = lambda w, x: w[1] @ jnp.tanh(w[0] @ x)
    table = axjax.layers(network, w, x)
    assert [a.layer.weight for a in table] == ["rhs", "lhs"]  # a first layer looks as in x @ w

    def expected(w, x):  # weights have a scale for each output, the rows here
        for number, matrix in enumerate(w):
            x = axjax.dot_general(x, matrix, (((0,), (1,)), ((), ())), multiplier=UNSIGNED).T
            x = jnp.tanh(x) if number == 0 else x
        return x

    rules = [Rule(".*", UNSIGNED, weight="lhs")]
    np.testing.assert_array_equal(emulate(network, rules)(w, x), expected(w, x))
    rules = [Rule(".*", UNSIGNED, weight="none")]
    assert (emulate(network, rules)(w, x) != expected(w, x)).any()


def test_multipliers_of_several_widths_in_one_network(rng):
    params, x = networks.plain_params(rng), networks.images(rng)
    mixed = axjax.Multiplier.exact((8, 4), signed=(False, True))
    rules = [
        Rule("stem", mixed),
        Rule("hidden", axjax.Multiplier.exact((3, 8), signed=True)),
        Rule("head", UNSIGNED),
    ]
    out = jax.jit(emulate(networks.plain_network, rules))(params, x)
    stem = emulate(networks.plain_network, rules[:1])(params, x)
    by_hand = axjax.conv_general_dilated(
        x,
        params["stem"]["w"],
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        multiplier=mixed,
    )
    rest = dict(params, stem={"w": jnp.eye(8)[None, None]})
    np.testing.assert_array_equal(stem, networks.plain_network(rest, by_hand))
    assert jnp.isfinite(out).all()


def test_another_table_of_the_kind_runs_without_compiling_again(rng):
    params, x = networks.plain_params(rng), networks.images(rng)
    traces = []

    @jax.jit
    def evaluate(params, x, rules):
        traces.append(None)
        return emulate(networks.plain_network, rules)(params, x)

    out = [
        evaluate(params, x, everything(axjax.load(name)))
        for name in ("mul8s_exact", "mul8s_trunc4", "mul8s_drum3")
        if name in axjax.available()
    ]
    assert len(traces) == 1
    assert len(out) > 1
    assert (out[0] != out[1]).any()


def test_vmap_over_stacked_multipliers_equals_a_loop(rng):
    params, x = networks.plain_params(rng), networks.images(rng)
    multipliers = axjax.alike([MUL, SIGNED])
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *multipliers)
    evaluate = lambda rules: emulate(networks.plain_network, rules)(params, x)
    mapped = jax.jit(jax.vmap(evaluate))(everything(stacked))
    for out, multiplier in zip(mapped, multipliers, strict=True):
        assert_close(out, jax.jit(evaluate)(everything(multiplier)), 1e-6)


# ---------------------------------------------------------------- primitives


W = 0.5 * np.random.default_rng(1).normal(size=(6, 6)).astype(np.float32)


@jax.custom_jvp
def _with_jvp(x, w):
    return x @ w


@_with_jvp.defjvp
def _(primals, tangents):
    x, w = primals
    return _with_jvp(x, w), 3.0 * tangents[0]  # a rule of its own, wrong on purpose


@jax.custom_vjp
def _with_vjp(x, w):
    return x @ w


_with_vjp.defvjp(
    lambda x, w: (x @ w, (x, w)), lambda kept, ct: (2.0 * ct + kept[0], jnp.zeros_like(kept[1]))
)


@jax.custom_batching.custom_vmap
def _with_vmap(x, w):
    return x @ w


@_with_vmap.def_vmap
def _(size, batched, x, w):
    return jnp.matmul(x, w), True


CONTAINERS = {
    "jit": lambda x, w: jax.jit(lambda x: x @ w)(x),
    "jit in jit": lambda x, w: jax.jit(lambda x: jax.jit(jnp.matmul)(x, w))(x),
    "checkpoint": lambda x, w: jax.checkpoint(lambda x: x @ w)(x),
    "custom_jvp": _with_jvp,
    "custom_vjp": _with_vjp,
    "custom_vmap": _with_vmap,
    "cond": lambda x, w: lax.cond(x[0, 0] < 1e9, lambda x: x @ w, lambda x: x, x),
    "switch": lambda x, w: lax.switch(2, [jnp.sin, jnp.cos, lambda x: x @ w], x),
    "scan": lambda x, w: lax.scan(lambda c, _: (c @ w, None), x, None, length=1)[0],
    "scan over inputs": lambda x, w: lax.map(lambda row: (row[None] @ w)[0], x[:1]),
    "reverse scan": lambda x, w: lax.scan(
        lambda c, v: (c @ v, None), x, w[None], reverse=True, unroll=2
    )[0],
    "while": lambda x, w: lax.while_loop(
        lambda s: s[0] < 1, lambda s: (s[0] + 1, s[1] @ w), (0, x)
    )[1],
    "vmap": lambda x, w: jax.vmap(lambda w: x @ w)(w[None])[0],
}


@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("name", CONTAINERS)
def test_layers_are_replaced_wherever_they_stand(rng, name, jitted):
    x = jnp.asarray(rng.normal(size=(1 if name == "scan over inputs" else 3, 6)), jnp.float32)
    fn = CONTAINERS[name]
    expected = axjax.dot_general(x, W, (((1,), (0,)), ((), ())), multiplier=MUL)
    emulated = emulate(fn, ALL)
    out = (jax.jit(emulated) if jitted else emulated)(x, jnp.asarray(W))
    np.testing.assert_array_equal(out, expected)
    assert (out != fn(x, jnp.asarray(W))).any()


STRAIGHT_THROUGH = [
    name for name in CONTAINERS if name not in ("custom_jvp", "custom_vjp", "while")
]


@pytest.mark.parametrize("name", STRAIGHT_THROUGH)
def test_gradients_are_straight_through_wherever_layers_stand(rng, name):
    x = jnp.asarray(rng.normal(size=(1 if name == "scan over inputs" else 3, 6)), jnp.float32)
    loss = lambda fn: jax.jit(jax.grad(lambda x, w: jnp.sin(fn(x, w)).sum(), (0, 1)))
    plain = lambda x, w: axjax.dot_general(x, w, (((1,), (0,)), ((), ())), multiplier=MUL)
    assert_close(
        loss(emulate(CONTAINERS[name], ALL))(x, jnp.asarray(W)), loss(plain)(x, jnp.asarray(W))
    )


def test_a_custom_vjp_keeps_its_backward_rule(rng):
    x = jnp.asarray(rng.normal(size=(3, 6)), jnp.float32)
    gradient = jax.grad(lambda x, w: emulate(_with_vjp, ALL)(x, w).sum(), (0, 1))(x, W)
    np.testing.assert_array_equal(gradient[0], 2.0 + x)
    np.testing.assert_array_equal(gradient[1], jnp.zeros((6, 6)))


def test_a_custom_jvp_keeps_its_rule(rng):
    x = jnp.asarray(rng.normal(size=(3, 6)), jnp.float32)
    w = jnp.asarray(W)
    value, tangent = jax.jvp(lambda x: emulate(_with_jvp, ALL)(x, w), (x,), (x,))
    np.testing.assert_array_equal(tangent, 3.0 * x)
    np.testing.assert_array_equal(value, emulate(jnp.matmul, ALL)(x, w))


def test_a_carry_that_becomes_an_activation_is_one(rng):
    """The first iteration's input is no activation, the second one's is."""
    square = lambda x: lax.scan(lambda c, _: (c @ c, None), x, None, length=2)[0]
    assert axjax.layers(square, jnp.asarray(W))[0].layer.kind == "attention"


def test_vmap_and_checkpoint_of_an_emulated_network(rng):
    params = networks.plain_params(rng)
    x = jnp.stack([networks.images(rng) for _ in range(3)])
    emulated = emulate(networks.plain_network, ALL)
    mapped = jax.jit(jax.vmap(emulated, (None, 0)))(params, x)
    assert_close(mapped, jnp.stack([jax.jit(emulated)(params, one) for one in x]), 1e-6)
    loss = lambda f: jax.jit(jax.grad(lambda p: (f(p, x[0]) ** 2).sum()))
    assert_close(loss(jax.checkpoint(emulated))(params), loss(emulated)(params))


def test_emulation_of_an_emulated_function_leaves_it_as_it_is(rng):
    params, x = networks.plain_params(rng), networks.images(rng)
    once = emulate(networks.plain_network, [Rule("stem", MUL)])
    assert len(axjax.layers(once, params, x)) == 2  # integer sums are no layers
    twice = emulate(once, [Rule("h.*", MUL)])
    np.testing.assert_array_equal(
        twice(params, x), emulate(networks.plain_network, ALL)(params, x)
    )


def test_the_backward_pass_of_an_inner_gradient_stays_exact(rng):
    params, x = networks.plain_params(rng), networks.images(rng)
    gradient = jax.grad(lambda p, x: networks.plain_network(p, x).sum())
    keys = [a.layer.key for a in axjax.layers(gradient, params, x)]
    assert keys == ["stem", "hidden", "head"]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_keeps_its_dtype(rng, dtype):
    params, x = jax.tree.map(
        lambda a: a.astype(dtype), (networks.plain_params(rng), networks.images(rng))
    )
    out = jax.jit(emulate(networks.plain_network, ALL))(params, x)
    assert out.dtype == dtype
    assert jnp.isfinite(out).all()


def test_results_that_are_no_arrays_pass_through():
    def fn(x, *, name, scale):
        return {"y": x @ x, "name": name, "scale": scale}

    x = jnp.eye(3)
    out = emulate(fn, everything(SIGNED))(x, name="a", scale=2)
    assert (out["name"], out["scale"]) == ("a", 2)
    assert_close(out["y"], x)


def test_effects_are_kept(capfd):
    def fn(x):
        jax.debug.print("seen {}", x.sum())
        return x @ x

    jax.block_until_ready(jax.jit(emulate(fn, ALL))(jnp.eye(3)))
    jax.effects_barrier()
    assert "seen 3.0" in capfd.readouterr().out


def test_random_keys_and_donated_arguments(rng):
    def fn(key, x):
        return jax.random.normal(key, x.shape) @ x

    x = jnp.asarray(W)
    out = jax.jit(emulate(fn, ALL), donate_argnums=1)(jax.random.key(0), x + 0)
    np.testing.assert_array_equal(out, emulate(fn, ALL)(jax.random.key(0), x))


def test_a_training_step_with_donated_state(rng):
    network = networks.ResNet18(width=4, stages=(1, 1))
    variables, x = networks.initialised(network, rng)
    emulated = emulate(network.apply, ALL)

    def step(variables, x):
        def loss(params):
            out, state = emulated(
                {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
            )
            return (out**2).mean(), state

        (value, state), gradient = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        params = jax.tree.map(lambda p, g: p - 0.001 * g, variables["params"], gradient)
        return {"params": params, **state}, value

    step = jax.jit(step, donate_argnums=0)
    losses = []
    for _ in range(3):
        variables, value = step(variables, x)
        losses.append(float(value))
    assert losses[2] < losses[0]


def test_gradients_equal_those_of_the_fake_quantized_network(rng, monkeypatch):
    network = networks.ResNet18(width=8, stages=(1, 1))
    variables, x = networks.initialised(network, rng, 32)
    variables = networks.dyadic(variables)
    steps = axjax.Quantization(lhs=axjax.FixedScale(2.0**-4), rhs=axjax.FixedScale(2.0**-6))
    gradient_of = lambda f: jax.jit(jax.grad(lambda v: jnp.sin(f(v, x)).sum()))
    gradient = gradient_of(emulate(network.apply, everything(SIGNED, quantization=steps)))(
        variables
    )
    conv, dot = networks.rounded_operations(2.0**-4, 2.0**-6)
    monkeypatch.setattr(lax, "conv_general_dilated", conv)
    monkeypatch.setattr(lax, "dot_general", dot)
    expected = gradient_of(lambda v, x: network.apply(v, x))(variables)
    monkeypatch.undo()
    assert_close(gradient, expected, 1e-4)
    assert min(float(jnp.abs(g).max()) for g in jax.tree.leaves(gradient)) > 0


def test_the_gradient_of_an_approximate_layer_is_that_at_rounded_operands(rng):
    """Of the exact product: the table does not show in it."""
    x = networks.images(rng)
    w = jnp.asarray(rng.normal(size=(3, 3, 3, 4)), jnp.float32)
    numbers = dict(dimension_numbers=("NHWC", "HWIO", "NHWC"))
    conv = lambda w, x: lax.conv_general_dilated(x, w, (1, 1), "SAME", **numbers)
    cotangent = jnp.asarray(rng.normal(size=(2, 16, 16, 4)), jnp.float32)
    gradient = jax.grad(lambda w: (emulate(conv, ALL)(w, x) * cotangent).sum())(w)
    step = jnp.abs(x).max() / 127
    rounded = step * jnp.floor(x / step + 0.5)
    expected = jax.grad(lambda w: (conv(w, rounded) * cotangent).sum())(w)
    assert_close(gradient, expected)


# ---------------------------------------------------------------- errors


def test_a_rule_that_matches_nothing_is_an_error(rng):
    params, x = networks.plain_params(rng), networks.images(rng)
    with pytest.raises(
        ValueError, match=r"emulate: a rule matches a layer, got none for rules"
    ):
        emulate(networks.plain_network, [Rule("steam", MUL), *ALL])(params, x)
    with pytest.raises(ValueError, match=r"are 'stem', 'hidden', 'head'"):
        axjax.layers(networks.plain_network, params, x, rules=[Rule("ste", MUL)])


def test_a_layer_too_deep_for_int32_is_an_error():
    x, w = jnp.ones((1, 40_000)), jnp.ones((40_000, 2))
    with pytest.raises(ValueError, match=r"emulate, layer 'dot_general': sums of products fit"):
        emulate(jnp.matmul, everything(UNSIGNED))(x, w)


def test_a_code_beyond_the_tables_width_is_an_error():
    narrow = axjax.Multiplier.exact(4)
    eight_bits = axjax.Quantization(lhs=axjax.FixedScale(0.1, zero_point=128))
    with pytest.raises(ValueError, match=r"layer 'dot_general': FixedScale: the zero point is"):
        emulate(jnp.matmul, everything(narrow, quantization=eight_bits))(jnp.eye(3), jnp.eye(3))


def test_missing_ranges_are_an_error(rng):
    params, x = networks.plain_params(rng), networks.images(rng)
    ranges = {"stem": np.array([0.0, 1.0], np.float32)}
    with pytest.raises(
        ValueError, match=r"got none for 'hidden', 'head'; there are ranges for"
    ):
        emulate(networks.plain_network, ALL, ranges)(params, x)


def test_a_primitive_that_cannot_be_entered_is_named(rng):
    def solve(a, b):
        matvec = lambda x: a @ x
        return lax.custom_linear_solve(
            matvec, b, lambda mv, b: b / jnp.diag(a), lambda mv, b: b / jnp.diag(a)
        )

    a, b = 2.0 * jnp.eye(3), jnp.ones(3)
    with pytest.raises(ValueError, match=r"got the primitive 'custom_linear_solve' at"):
        emulate(solve, ALL)(a, b)
    left = emulate(lambda a, b: solve(a @ a, b), [Rule("custom_linear_solve", None), *ALL])
    assert jnp.isfinite(left(a, b)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(pattern="("), "Rule: a pattern is a regular expression"),
        (dict(pattern="a", kind="convolution"), "Rule: kind is one of conv, depthwise"),
        (dict(pattern="a", weight="left"), "Rule: weight is one of lhs, rhs, none"),
        (dict(pattern="a", engine="gpu"), "Rule: engine is one of auto, "),
    ],
)
def test_a_bad_rule_is_an_error(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Rule(multiplier=MUL, **arguments)


def test_rules_are_a_list_of_rules():
    with pytest.raises(TypeError, match="emulate: rules are a list of axjax.Rule"):
        emulate(jnp.matmul, {".*": MUL})


def test_the_table_reads_as_one(rng):
    params, x = networks.plain_params(rng), networks.images(rng)
    text = repr(axjax.layers(networks.plain_network, params, x, rules=[Rule("stem", MUL)]))
    lines = text.splitlines()
    assert lines[0].split()[:4] == ["#", "layer", "kind", "lhs"]
    assert lines[1].split()[:5] == ["0", "stem", "conv", "2x16x16x3", "3x3x3x8"]
    assert "3 layers" in text
    assert "rule 0: Rule('stem', Multiplier('mul8s_trunc4'" in text
