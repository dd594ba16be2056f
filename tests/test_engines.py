# SPDX-License-Identifier: Apache-2.0
"""Engines on factored tables, the choice among engines, and what is told of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conv_cases import CASES, PLANE_TERMS, random_codes, random_factored, random_multiplier

import axjax
from axjax import Factors, Multiplier, PackedFactors, engines, lut_conv
from axjax._geometry import ConvGeometry
from axjax.engines import _cost, xla_factored


@pytest.mark.parametrize("plane_terms", PLANE_TERMS)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("engine", ["xla_factored", "cpu_factored"])
def test_engines_equal_reference_for_random_factors(rng, engine, name, plane_terms):
    multiplier = random_factored(rng, plane_terms)
    lhs, rhs = random_codes(rng, CASES[name].lhs), random_codes(rng, CASES[name].rhs)
    pad_code = int(rng.integers(256))
    out, expected = (
        lut_conv(lhs, rhs, multiplier, pad_code=pad_code, engine=e, **CASES[name].options)
        for e in (engine, "reference")
    )
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.float32])
def test_both_representations_are_exact_at_the_extremes(dtype):
    """Terms of -128 throughout, more of them than float32 sums exactly in one go."""
    worst = np.full((1, 256, 8), -128, np.int8)
    zero = np.zeros(256, np.int32)
    factors = PackedFactors.of(Factors(worst, worst, zero, zero, (8,), alpha_is_zero=True))
    lhs = jnp.zeros((2, 1, 1, 3, 700), jnp.uint8)
    rhs = jnp.zeros((1, 1, 3, 700, 5), jnp.uint8)
    sums = xla_factored.lut_conv_by(
        lhs, rhs, factors, jnp.uint8(0), geometry=ConvGeometry(), dtype=dtype
    )
    np.testing.assert_array_equal(sums, np.full((2, 1, 1, 1, 5), 2100 * 8 * 2**14))


def test_the_float_representation_would_not_be_exact_with_more_products():
    assert np.float32(2**14) * np.float32(xla_factored.EXACT_PRODUCTS) == 2**24
    assert np.float32(2**24) + np.float32(1) == 2**24


def test_a_multiplier_without_factors_is_told_where_to_get_them(rng):
    codes = random_codes(rng, (4, 4))
    for engine in ("xla_factored", "cpu_factored", "cuda_tensor_core"):
        with pytest.raises(ValueError, match=rf"'{engine}' takes the factors .*factorized\(\)"):
            axjax.lut_dot(codes, codes, random_multiplier(rng), engine=engine)


def test_default_engine_is_what_auto_means_inside(rng):
    """Also for a function that was compiled before: the context is part of jit's caches."""
    codes, multiplier = random_codes(rng, (4, 4)), random_multiplier(rng)

    @jax.jit
    def product(codes):
        return axjax.lut_dot(codes, codes, multiplier)

    expected = product(codes)
    with axjax.default_engine("xla"):
        assert "axjax_lut_conv" not in product.lower(codes).as_text()
        np.testing.assert_array_equal(product(codes), expected)
    assert "axjax_lut_conv_cpu" in product.lower(codes).as_text()
    with (
        axjax.default_engine("xla_factored"),
        pytest.raises(ValueError, match="'xla_factored' takes the factors"),
    ):
        product(codes)


def test_default_engine_knows_the_names():
    with pytest.raises(ValueError, match="default_engine: an engine is one of .*got engine='g"):
        axjax.default_engine("gpu")


def test_an_engine_given_to_a_call_goes_before_the_default_one(rng):
    codes, multiplier = random_codes(rng, (4, 4)), random_multiplier(rng)
    with axjax.default_engine("cuda_tensor_core"):
        axjax.lut_dot(codes, codes, multiplier, engine="cpu")


def test_vmap_over_multipliers_with_factors(rng):
    tables = [random_factored(rng), random_factored(rng)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *tables)
    lhs, rhs = random_codes(rng, (2, 5, 5, 3)), random_codes(rng, (3, 3, 3, 4))
    for engine in ("auto", "xla_factored", "cpu_factored"):
        out = jax.vmap(lambda m, e=engine: lut_conv(lhs, rhs, m, engine=e))(stacked)
        for one, table in zip(out, tables, strict=True):
            np.testing.assert_array_equal(one, lut_conv(lhs, rhs, table, engine="reference"))


@pytest.mark.parametrize("engine", ["xla_factored", "cpu_factored"])
@pytest.mark.parametrize("mapped", ["lhs", "rhs", "both"])
def test_vmap_over_operands_of_a_factored_engine(rng, mapped, engine):
    multiplier = random_factored(rng)
    lhs, rhs = random_codes(rng, (3, 2, 5, 5, 4)), random_codes(rng, (3, 3, 3, 2, 6))
    axes = {"lhs": (0, None), "rhs": (None, 0), "both": (0, 0)}[mapped]
    lhs, rhs = (a if axis == 0 else a[0] for a, axis in zip((lhs, rhs), axes, strict=True))

    def conv(engine):
        return lambda x, w: lut_conv(
            x, w, multiplier, padding="SAME", feature_group_count=2, engine=engine
        )

    out = jax.vmap(conv(engine), in_axes=axes)(lhs, rhs)
    np.testing.assert_array_equal(out, jax.vmap(conv("reference"), in_axes=axes)(lhs, rhs))


def work(pixels=65536, depth=1152, channels=128, outputs=128, groups=1, terms=4, room=16):
    return _cost.Work(pixels, depth, channels, outputs, groups, terms, room)


def fastest(work, tensor_cores=True):
    seconds = _cost.gpu_seconds(work, int8_tensor_cores=tensor_cores)
    return min(seconds, key=seconds.get)


def test_the_cost_model_prefers_tensor_cores_for_few_terms():
    assert fastest(work()) == "cuda_tensor_core"
    assert fastest(work(terms=64)) == "cuda_tensor_core"
    assert fastest(work(terms=512)) == "cuda_gather"


def test_the_cost_model_prefers_look_ups_for_depthwise_convolutions():
    assert fastest(work(depth=9, channels=1, outputs=1, groups=512)) == "cuda_texture"
    assert fastest(work(depth=36, channels=4, outputs=4, groups=64)) == "cuda_gather"


@pytest.mark.parametrize(
    ("sizes", "milliseconds"),
    [
        (dict(pixels=65536, depth=1152, channels=128, outputs=128), 0.092),
        (dict(pixels=200704, depth=576, channels=64, outputs=64), 0.100),
        (dict(pixels=262144, depth=144, channels=16, outputs=16), 0.053),
        (dict(pixels=802816, depth=147, channels=3, outputs=64), 0.518),
        (dict(pixels=200704, depth=9, channels=1, outputs=1, groups=256), 9.6),
    ],
    ids=["128 channels", "64", "16", "7x7 stem", "depthwise"],
)
def test_the_cost_model_is_near_what_an_h100_took(sizes, milliseconds):
    seconds = _cost.gpu_seconds(work(**sizes), int8_tensor_cores=True)["cuda_tensor_core"]
    assert 0.7 < seconds * 1e3 / milliseconds < 1.4


def test_the_cost_model_knows_what_cannot_run():
    assert fastest(work(terms=None)) == "cuda_gather"
    assert fastest(work(), tensor_cores=False) == "cuda_gather"


def test_choices_of_platforms():
    assert engines.choose("cpu", work()) == "cpu_factored"
    assert engines.choose("cpu", work(terms=None, room=None)) == "cpu"
    assert engines.choose("cpu", work(room=256)) == "cpu"
    assert engines.choose("cpu", work(depth=9, channels=1, outputs=1, groups=64)) == "cpu"
    assert engines.choose("tpu", work()) == "xla_factored"
    assert engines.choose("rocm", work(terms=None)) == "xla"


def test_explain_tells_engine_products_and_terms():
    multiplier = axjax.load("mul8u_trunc4")
    found = axjax.explain(
        multiplier, (8, 32, 32, 16), (3, 3, 16, 32), padding="SAME", platform="cpu"
    )
    assert found.engine == "cpu_factored"
    assert found.products == 8 * 32 * 32 * 9 * 16 * 32
    assert found.terms == multiplier.factors.terms == 8
    assert "engine cpu_factored on cpu: " in str(found)
    assert "37,748,736 products, 8 int8 terms each" in str(found)
    bare = axjax.explain(multiplier.with_factors(None), (5, 6, 7), platform="tpu")
    assert (bare.engine, bare.terms, bare.products) == ("xla", None, 5 * 6 * 7)
    assert "multiplier.factorized()" in bare.reason


def test_explain_uses_the_default_device():
    assert axjax.explain(Multiplier.exact(), (5, 6, 7)).platform == "cpu"


def test_explain_says_what_shapes_it_takes():
    with pytest.raises(ValueError, match=r"explain: .*\(M, K, N\), got shape=\(5, 6\)"):
        axjax.explain(Multiplier.exact(), (5, 6))


def test_factors_travel_with_a_saved_multiplier(tmp_path, rng):
    multiplier = random_factored(rng, "two planes")
    path = tmp_path / "mine.npz"
    axjax.save(path, multiplier)
    loaded = axjax.load(path)
    np.testing.assert_array_equal(loaded.table, multiplier.table)
    jax.tree.map(np.testing.assert_array_equal, loaded.factors, multiplier.factors)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.npz"]


def test_factors_of_another_table_are_refused(tmp_path, rng):
    multiplier, other = random_factored(rng), random_factored(rng)
    with pytest.raises(ValueError, match=r"with_factors: .*got \d+ of 65536 entries"):
        multiplier.with_factors(other.factors)
    path = tmp_path / "wrong.npz"
    axjax.save(path, multiplier)
    with np.load(path) as arrays:
        changed = dict(arrays)
    changed["beta"] = changed["beta"] + 1
    np.savez_compressed(path, **changed)
    with pytest.raises(ValueError, match="with_factors: factors multiply to the table"):
        axjax.load(path)


def test_shipped_multipliers_have_factors():
    for name in axjax.available():
        multiplier = axjax.load(name)
        np.testing.assert_array_equal(multiplier.factors.factors().table(), multiplier.table)


def test_alike_multipliers_share_one_program(rng):
    names = ("mul8u_exact", "mul8u_trunc8", "mul8u_mitchell")
    loaded = [axjax.load(name) for name in names]
    made = axjax.alike([*loaded, random_factored(rng, "two planes")])
    assert len({jax.tree.structure(m) for m in made}) == 1
    assert [m.name for m in made] == [*names, "factored"]
    codes = random_codes(rng, (5, 6)), random_codes(rng, (6, 3))
    product = jax.jit(lambda m: axjax.lut_dot(*codes, m, engine="xla_factored"))
    for original, one in zip(loaded, made, strict=False):
        np.testing.assert_array_equal(
            product(one), axjax.lut_dot(*codes, original, engine="reference")
        )
    assert product._cache_size() == 1


def test_most_shipped_multipliers_are_of_one_kind_as_they_are():
    """How many terms they have is data. Only Mitchell's need more room."""
    unsigned = [name for name in axjax.available() if name.startswith("mul8u")]
    kinds = {jax.tree.structure(axjax.load(name)) for name in unsigned}
    assert len(kinds) == 1
    rooms = {axjax.load(name).factors.capacity for name in unsigned}
    assert rooms == {16, 256}


def test_packed_factors_have_room_and_know_their_terms(rng):
    packed = random_factored(rng, "two planes").factors
    assert (packed.planes, packed.capacity) == (2, 16)
    assert packed.terms == 4 * int(packed.words.sum())
    wider = packed.with_room(3, 64)
    assert (wider.planes, wider.capacity, wider.terms) == (3, 64, packed.terms)
    np.testing.assert_array_equal(wider.factors().table(), packed.factors().table())
    assert jax.jit(lambda p: jnp.int32(p.terms is None))(packed) == 1
    assert "terms=" in repr(packed)


def test_more_terms_than_any_table_needs_are_refused():
    zeros, row = np.zeros((1, 256, 516), np.int8), np.zeros(256, np.int32)
    with pytest.raises(ValueError, match=r"PackedFactors\.of: .*got plane_terms=\(516,\)"):
        PackedFactors.of(Factors(zeros, zeros, row, row, (516,), alpha_is_zero=True))


def test_alike_leaves_factors_out_where_one_has_none():
    pair = axjax.alike([axjax.load("mul8u_exact"), Multiplier.exact()])
    assert [m.factors for m in pair] == [None, None]


def test_alike_wants_equal_code_types():
    with pytest.raises(ValueError, match=r"alike: .*int8 x int8, uint8 x uint8\. Group them"):
        axjax.alike([Multiplier.exact(), Multiplier.exact(signed=True)])
    assert axjax.alike([]) == []
