# SPDX-License-Identifier: Apache-2.0
"""Gradients of a multiplier against a scalar model: one product after the other, in NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import axjax
import axjax.linen
from axjax import GivenRange, Gradient, Multiplier, Quantization

NHWC = ("NHWC", "HWIO", "NHWC")
TYPES = {
    "unsigned": ((8, 8), (False, False)),
    "signed": ((8, 8), (True, True)),
    "mixed and narrow": ((6, 4), (False, True)),
}


def multiplier_of(rng, kind):
    """Exact products with errors that grow with them; not commutative, 0 x 0 is not 0."""
    bits, signed = TYPES[kind]
    exact = Multiplier.exact(bits, signed=signed).products()
    errors = rng.integers(-9, 10, exact.shape) + 2 + exact // 8 - (exact % 37)
    return Multiplier(exact + errors, bits=bits, signed=signed, name=kind)


def model_slope(line, half):
    """Slopes of a line of products, least code first, as the source writes them."""
    n = len(line)
    smooth = lambda i: np.mean(line[i - half : i + half + 1])
    return np.array(
        [
            (smooth(i + 1) - smooth(i - 1)) / 2
            if half + 1 <= i <= n - 2 - half
            else (line[-1] - line[0]) / (n - 1)
            for i in range(n)
        ]
    )


def model_slopes(multiplier, half):
    products = multiplier.products().astype(float)
    x, w = (np.argsort(t.values()) for t in (multiplier.activation, multiplier.weight))
    by_activation, by_weight = np.zeros((2, *products.shape))
    for column in range(products.shape[1]):
        by_activation[x, column] = model_slope(products[x, column], half)
    for row in range(products.shape[0]):
        by_weight[row, w] = model_slope(products[row, w], half)
    return by_activation, by_weight


@pytest.mark.parametrize("half", [0, 3, 40, 200])
@pytest.mark.parametrize("kind", TYPES)
def test_lut_difference_is_the_slope_of_the_smoothed_table(rng, kind, half):
    multiplier = multiplier_of(rng, kind)
    gradient = Gradient.lut_difference(multiplier, half, tolerance=0)
    for ours, model in zip(
        gradient.slopes(multiplier), model_slopes(multiplier, half), strict=True
    ):
        np.testing.assert_allclose(ours, model, atol=1e-4)


def test_lut_difference_of_an_exact_table_is_straight_through():
    for signed in (False, True):
        multiplier = Multiplier.exact(8, signed=signed)
        for half in (0, 16, 300):
            assert Gradient.lut_difference(multiplier, half).terms == (0, 0)


def test_fewer_terms_stay_within_the_tolerance(shared_luts):
    multiplier = axjax.load(shared_luts / "mul8u_185Q.bin")
    exact = multiplier.activation.values()[:, None] * np.ones(256)
    scale = np.sqrt((exact**2).mean())
    full = Gradient.lut_difference(multiplier, tolerance=0)
    slopes = full.slopes(multiplier)
    terms = []
    for tolerance in (0.1, 0.01, 0.001):
        few = Gradient.lut_difference(multiplier, tolerance=tolerance)
        terms.append(few.terms)
        for ours, all_terms in zip(few.slopes(multiplier), slopes, strict=True):
            error = np.sqrt(((ours - all_terms) ** 2).mean()) / scale
            assert error <= tolerance
    assert terms[0] <= terms[1] < terms[2] < full.terms
    assert max(terms[1]) < 10


CONVOLUTIONS = {
    "same": dict(window_strides=(1, 1), padding=((1, 1), (1, 1))),
    "strided": dict(window_strides=(2, 1), padding=((0, 2), (1, 0))),
    "groups": dict(window_strides=(1, 1), padding=((1, 1), (0, 0)), feature_group_count=2),
    "dilated": dict(window_strides=(1, 1), padding=((2, 2), (2, 2)), rhs_dilation=(2, 2)),
}
GRADIENTS = {
    "clipped_ste": lambda m, rng: Gradient.clipped_ste(),
    "ste": lambda m, rng: Gradient.ste(),
    "lut_difference": lambda m, rng: Gradient.lut_difference(m, 2, tolerance=0),
    "lut_difference unclipped": lambda m, rng: Gradient.lut_difference(
        m, 2, tolerance=0, clip=False
    ),
    "custom": lambda m, rng: Gradient.custom(
        m,
        *(slopes + 20 * rng.normal(size=slopes.shape) for slopes in Gradient.ste().slopes(m)),
        tolerance=0,
    ),
}


def codes_of(x, code_type, low, high):
    """Codes, scale, zero point, and where a value was clipped: for given ranges."""
    x = np.asarray(x, np.float64)
    low, high = np.minimum(low, 0), np.maximum(high, 0)
    if code_type.signed:
        steps = code_type.max
        scale, zero, least = np.maximum(-low, high) / steps, 0 * low, -steps
    else:
        scale = (high - low) / code_type.max
        zero, least = np.floor(-low / scale + 0.5), 0
    codes = np.floor(x / scale + 0.5) + zero
    inside = (codes >= least) & (codes <= code_type.max)
    return np.clip(codes, least, code_type.max).astype(int), scale, zero, inside


def model_gradients(x, w, g, multiplier, slopes, ranges, clip, options):
    """Cotangents of both operands of an NHWC, HWIO convolution, product by product."""
    groups = options.get("feature_group_count", 1)
    dilation = options.get("rhs_dilation", (1, 1))
    strides, padding = options["window_strides"], options["padding"]
    qx, sx, zx, in_x = codes_of(x, multiplier.activation, *ranges[0])
    qw, sw, zw, in_w = codes_of(w, multiplier.weight, *ranges[1])
    zx = int(zx)
    dx, dw = np.zeros(x.shape), np.zeros(w.shape)
    by_x, by_w = slopes
    rows, columns = by_x.shape
    per_group = w.shape[-1] // groups
    for n, p, q, o in itertools.product(*map(range, g.shape)):
        for r, s, c in itertools.product(*map(range, w.shape[:3])):
            i = p * strides[0] + r * dilation[0] - padding[0][0]
            j = q * strides[1] + s * dilation[1] - padding[1][0]
            k = o // per_group * w.shape[2] + c
            padded = not (0 <= i < x.shape[1] and 0 <= j < x.shape[2])
            a = zx if padded else qx[n, i, j, k]
            b = qw[r, s, c, o]
            weight = g[n, p, q, o]
            if not padded:
                dx[n, i, j, k] += weight * sw[o] * (by_x[a % rows, b % columns] - zw[o])
            dw[r, s, c, o] += weight * sx * (by_w[a % rows, b % columns] - zx)
    return (dx * in_x, dw * in_w) if clip else (dx, dw)


@pytest.mark.parametrize(
    ("convolution", "name", "kind"),
    [
        *itertools.product(["same"], GRADIENTS, TYPES),
        *itertools.product(["strided", "groups", "dilated"], ["lut_difference"], ["unsigned"]),
    ],
)
def test_gradient_equals_the_scalar_model(rng, convolution, name, kind):
    options = CONVOLUTIONS[convolution]
    multiplier = multiplier_of(rng, kind)
    gradient = GRADIENTS[name](multiplier, rng)
    tables = gradient.slopes(multiplier)
    channels = 2 * options.get("feature_group_count", 1)
    x = rng.normal(size=(2, 4, 5, channels)).astype(np.float32)
    w = rng.normal(size=(2, 3, 2, 4)).astype(np.float32)
    ends = np.array([0.7, 1.0, 1.5, 2.0], np.float32)
    ranges = ((-0.6, 1.5), (-ends, 0.9 * ends))
    quantization = Quantization(lhs=GivenRange(*ranges[0]), rhs=GivenRange(*ranges[1]))

    def convolve(x, w):
        return axjax.conv_general_dilated(
            x, w, dimension_numbers=NHWC, quantization=quantization, precision="highest",
            multiplier=multiplier.with_gradient(gradient), **options,
        )  # fmt: skip

    g = rng.normal(size=jax.eval_shape(convolve, x, w).shape).astype(np.float32)
    found = jax.jit(lambda x, w, g: jax.vjp(convolve, x, w)[1](g))(x, w, g)
    expected = model_gradients(x, w, g, multiplier, tables, ranges, gradient.clip, options)
    for ours, model in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, model, atol=2e-5 * np.abs(model).max())


def test_product_equals_the_convolution_of_one_pixel(rng):
    multiplier = multiplier_of(rng, "unsigned")
    multiplier = multiplier.with_gradient(Gradient.lut_difference(multiplier, 4))
    x = rng.normal(size=(3, 5, 7)).astype(np.float32)
    w = rng.normal(size=(3, 7, 4)).astype(np.float32)
    numbers = (((2,), (1,)), ((0,), (0,)))
    quantization = Quantization(lhs=GivenRange(-2.0, 2.0))

    def batched(x, w):
        return axjax.dot_general(
            x, w, numbers, multiplier=multiplier, quantization=quantization
        )

    def one_by_one(x, w):
        run = lambda x, w: axjax.conv_general_dilated(
            x[:, None, None], w[None, None], (1, 1), "VALID", dimension_numbers=NHWC,
            multiplier=multiplier, quantization=quantization,
        )[:, 0, 0]  # fmt: skip
        return jnp.stack([run(*pair) for pair in zip(x, w, strict=True)])

    out, vjp = jax.vjp(batched, x, w)
    expected, expected_vjp = jax.vjp(one_by_one, x, w)
    np.testing.assert_array_equal(out, expected)
    g = rng.normal(size=out.shape).astype(np.float32)
    for ours, theirs in zip(vjp(g), expected_vjp(g), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def loss_of(multiplier, x, w, **keywords):
    out = axjax.conv_general_dilated(
        x, w, (1, 1), "SAME", dimension_numbers=NHWC, multiplier=multiplier, **keywords
    )
    return (out**2).sum()


def test_the_forward_pass_does_not_change(rng):
    multiplier = multiplier_of(rng, "signed")
    x = rng.normal(size=(1, 5, 5, 2)).astype(np.float32)
    w = rng.normal(size=(3, 3, 2, 3)).astype(np.float32)
    values = [
        loss_of(multiplier.with_gradient(make(multiplier, rng)), x, w)
        for make in GRADIENTS.values()
    ]
    assert len(set(map(float, values))) == 1


def test_alike_multipliers_with_gradients_share_a_program(rng):
    multipliers = [axjax.load(f"mul8u_{name}") for name in ("exact", "drum3", "trunc8")]
    multipliers[1:] = [m.with_gradient(Gradient.lut_difference(m)) for m in multipliers[1:]]
    x = rng.normal(size=(1, 5, 5, 2)).astype(np.float32)
    w = rng.normal(size=(3, 3, 2, 3)).astype(np.float32)
    gradient = jax.jit(jax.grad(loss_of, argnums=(1, 2)))
    for own, shared in zip(multipliers, axjax.alike(multipliers), strict=True):
        for a, b in zip(
            jax.grad(loss_of, argnums=(1, 2))(own, x, w), gradient(shared, x, w), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    assert gradient._cache_size() == 1


def test_vmap_over_multipliers_with_gradients(rng):
    multipliers = axjax.alike(
        m.with_gradient(Gradient.lut_difference(m))
        for m in map(axjax.load, ("mul8u_drum3", "mul8u_trunc8"))
    )
    x = rng.normal(size=(1, 5, 5, 2)).astype(np.float32)
    w = rng.normal(size=(3, 3, 2, 3)).astype(np.float32)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *multipliers)
    found = jax.vmap(lambda m: jax.grad(loss_of, argnums=2)(m, x, w))(stacked)
    for i, multiplier in enumerate(multipliers):
        expected = jax.grad(loss_of, argnums=2)(multiplier, x, w)
        np.testing.assert_allclose(found[i], expected, rtol=1e-4, atol=1e-4)


def test_layers_and_rules_carry_the_gradient(rng):
    multiplier = axjax.load("mul8u_drum3")
    tuned = multiplier.with_gradient(Gradient.lut_difference(multiplier))
    x = jnp.asarray(rng.normal(size=(2, 5)), jnp.float32)
    quantization = Quantization(lhs=GivenRange(-2.0, 2.0))
    variables = axjax.linen.Dense(3).init(jax.random.key(0), x)

    def layer(variables, x, multiplier):
        module = axjax.linen.Dense(3, multiplier=multiplier, quantization=quantization)
        return module.apply(variables, x)

    def rule(variables, x, multiplier):
        rules = [axjax.Rule(".*", multiplier, quantization)]
        return axjax.emulate(axjax.linen.Dense(3).apply, rules)(variables, x)

    def gradient(function, multiplier):
        return jax.grad(lambda v: (function(v, x, multiplier) ** 2).sum())(variables)

    expected = gradient(layer, tuned)["params"]["kernel"]
    np.testing.assert_allclose(gradient(rule, tuned)["params"]["kernel"], expected, rtol=1e-4)
    assert not np.allclose(gradient(layer, multiplier)["params"]["kernel"], expected, rtol=0.01)


@pytest.mark.parametrize(
    "engine",
    [
        pytest.param(name, marks=pytest.mark.cuda if name.startswith("cuda") else ())
        for name in axjax.ENGINES
    ],
)
def test_training_gives_the_same_bits_in_every_run(engine, rng):
    multiplier = axjax.load("mul8s_drum4")
    multiplier = multiplier.with_gradient(Gradient.lut_difference(multiplier))
    x = jnp.asarray(rng.normal(size=(4, 8, 8, 4)), jnp.float32)
    start = {
        "conv": jnp.asarray(rng.normal(size=(3, 3, 4, 8)), jnp.float32),
        "dense": jnp.asarray(rng.normal(size=(8, 3)), jnp.float32),
    }

    def trained():
        def loss(params):
            y = axjax.conv_general_dilated(
                x, params["conv"], (1, 1), "SAME", dimension_numbers=NHWC,
                multiplier=multiplier, engine=engine,
            )  # fmt: skip
            y = jax.nn.relu(y).mean((1, 2))
            numbers = (((1,), (0,)), ((), ()))
            y = axjax.dot_general(
                y, params["dense"], numbers, multiplier=multiplier, engine=engine
            )
            return (y**2).mean()

        # Sums in one order on a GPU, too.
        options = {"xla_gpu_deterministic_ops": True}
        step = jax.jit(
            lambda params: jax.tree.map(
                lambda p, g: p - 0.1 * g, params, jax.grad(loss)(params)
            ),
            compiler_options=options,
        )
        params = start
        for _ in range(3):
            params = step(params)
        return params

    first, again = trained(), trained()
    jax.tree.map(np.testing.assert_array_equal, again, first)
    assert (first["conv"] != start["conv"]).any()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_narrow_floats_keep_their_dtype(rng, dtype):
    multiplier = axjax.load("mul8u_drum4")
    multiplier = multiplier.with_gradient(Gradient.lut_difference(multiplier))
    x = jnp.asarray(rng.normal(size=(1, 5, 5, 2)), dtype)
    w = jnp.asarray(rng.normal(size=(3, 3, 2, 3)), dtype)
    narrow = jax.grad(lambda *a: loss_of(multiplier, *a).astype(jnp.float32), (0, 1))(x, w)
    full = jax.grad(lambda *a: loss_of(multiplier, *a), (0, 1))(
        x.astype(jnp.float32), w.astype(jnp.float32)
    )
    for ours, expected in zip(narrow, full, strict=True):
        assert ours.dtype == dtype
        tolerance = 0.03 * jnp.abs(expected).max()  # of bfloat16's 8 bits, summed
        np.testing.assert_allclose(ours.astype(jnp.float32), expected, atol=tolerance)


def test_sharded_gradient_equals_that_of_one_device(rng):
    multiplier = axjax.load("mul8u_drum4")
    multiplier = multiplier.with_gradient(Gradient.lut_difference(multiplier))
    x = jnp.asarray(rng.normal(size=(8, 5, 5, 2)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(3, 3, 2, 3)), jnp.float32)
    quantization = Quantization(lhs=GivenRange(-2.0, 2.0))
    axes = dict(axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices("cpu"))
    mesh = jax.make_mesh((8,), ("images",), **axes)
    spec = jax.sharding.PartitionSpec("images")

    def total(multiplier, x, w):
        loss = loss_of(multiplier, x, w, quantization=quantization)
        return jax.lax.psum(loss, "images")

    sharded = jax.shard_map(
        jax.grad(total, argnums=(1, 2)),
        mesh=mesh,
        in_specs=(jax.sharding.PartitionSpec(), spec, jax.sharding.PartitionSpec()),
        out_specs=(spec, jax.sharding.PartitionSpec()),
    )
    found = jax.jit(sharded)(multiplier, x, w)
    alone = jax.grad(lambda *a: loss_of(*a, quantization=quantization), argnums=(1, 2))(
        multiplier, x, w
    )
    for ours, expected in zip(found, alone, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


def test_second_derivatives_are_those_of_the_backward_pass(rng):
    """It is made of JAX's operations, so that it has a derivative of its own."""
    multiplier = axjax.load("mul8u_drum4")
    multiplier = multiplier.with_gradient(Gradient.lut_difference(multiplier))
    x = jnp.asarray(rng.normal(size=(1, 4, 4, 2)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(3, 3, 2, 3)), jnp.float32)
    norm = lambda w: (jax.grad(lambda x: loss_of(multiplier, x, w))(x) ** 2).sum()
    assert jnp.isfinite(jax.grad(norm)(w)).all()


def test_empty_batches_have_gradients():
    multiplier = axjax.load("mul8u_drum4")
    multiplier = multiplier.with_gradient(Gradient.lut_difference(multiplier))
    for batch, outputs in ((0, 3), (2, 0)):
        x, w = jnp.zeros((batch, 5, 5, 2)), jnp.ones((3, 3, 2, outputs))
        for found in jax.grad(loss_of, argnums=(1, 2))(multiplier, x, w):
            np.testing.assert_array_equal(found, np.zeros(found.shape))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m: Gradient.lut_difference(m, -1),
            r"0 or more codes, got half_window=-1\. Pass",
        ),
        (lambda m: Gradient.lut_difference(m, tolerance=2), r"from 0 to 1, got tolerance=2\."),
        (lambda m: Gradient.custom(m, np.ones((8, 8)), 0), r"by_activation of shape \(8, 8\)"),
        (
            lambda m: Gradient.custom(m, np.ones((256, 256)), np.full((256, 256), np.nan)),
            r"by_weight of shape \(256, 256\) that is not finite\. Lay them out",
        ),
        (
            lambda m: Multiplier.exact(8, signed=True).with_gradient(
                Gradient.lut_difference(m)
            ),
            r"with_gradient: slopes .* got slopes of uint8 x uint8 for Multiplier\('exact int8",
        ),
        (
            lambda m: axjax.alike([m.with_gradient(Gradient.ste()), m]),
            r"all clipped or none is, got clip=True and clip=False\. Make",
        ),
    ],
    ids=["half window", "tolerance", "shape", "finite", "types", "alike"],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(axjax.load("mul8u_drum4"))
