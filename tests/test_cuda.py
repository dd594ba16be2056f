# SPDX-License-Identifier: Apache-2.0
"""The CUDA engines return the reference's bits; the module loads where there is no GPU."""

import concurrent.futures
import subprocess
import sys

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from conv_cases import (
    CASES,
    ENTRIES,
    PLANE_TERMS,
    random_codes,
    random_factored,
    random_multiplier,
)
from emulated_conv import FIXED, MUL
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import axjax
from axjax import _ffi, _reference
from axjax._geometry import ConvGeometry
from axjax.engines import ENGINES
from axjax.engines._ffi_call import attributes, out_type, target

CUDA_ENGINES = sorted(name for name in ENGINES if name.startswith("cuda"))
LOOKUP_ENGINES = [name for name in CUDA_ENGINES if not ENGINES[name].factored]

needs_build = pytest.mark.skipif(
    not _ffi.has_cuda_handlers(), reason="axjax was built without CUDA handlers"
)


@needs_build
def test_the_module_loads_and_says_what_it_is_without_a_driver():
    program = """
from axjax import _cuda
assert _cuda.device_count() == 0, _cuda.device_count()
assert _cuda.compiled_runtime_version >= 12000
architectures = _cuda.compiled_architectures
assert architectures and all(a[:2].isdigit() for a in architectures), architectures
assert _cuda.build()["architectures"] == architectures
print(*sorted(_cuda.targets()))
"""
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", program],
        env={"CUDA_VISIBLE_DEVICES": "", "PATH": "", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = done.stdout.split()
    assert "axjax_lut_conv_cuda_tensor_core" in names
    for engine in ("cuda_gather", "cuda_texture", "cuda_reference"):
        for entries in ("u16", "s16", "s32"):
            assert f"axjax_lut_conv_{engine}_{entries}" in names


def multiplier_for(engine, rng, entries="uint16", signed=False):
    """A random table, or random factors for an engine that takes them."""
    if ENGINES[engine].factored:
        return random_factored(rng, rng.choice(list(PLANE_TERMS)), signed)
    return random_multiplier(rng, entries, signed)


def check(engine, lhs, rhs, multiplier, **options):
    out = axjax.lut_conv(lhs, rhs, multiplier, engine=engine, **options)
    expected = axjax.lut_conv(lhs, rhs, multiplier, engine="reference", **options)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.cuda
@pytest.mark.parametrize("engine", LOOKUP_ENGINES)
@pytest.mark.parametrize("entries", ENTRIES)
@pytest.mark.parametrize("name", CASES)
def test_accumulators_equal_reference_for_random_table(engine, entries, name, rng):
    case = CASES[name]
    multiplier = random_multiplier(rng, entries)
    assert multiplier.table[0, 0] != 0
    lhs, rhs = random_codes(rng, case.lhs), random_codes(rng, case.rhs)
    check(engine, lhs, rhs, multiplier, pad_code=int(rng.integers(256)), **case.options)


@pytest.mark.cuda
@pytest.mark.parametrize("plane_terms", PLANE_TERMS)
@pytest.mark.parametrize("name", CASES)
def test_tensor_cores_equal_reference_for_random_factors(plane_terms, name, rng):
    case = CASES[name]
    multiplier = random_factored(rng, plane_terms)
    lhs, rhs = random_codes(rng, case.lhs), random_codes(rng, case.rhs)
    pad_code = int(rng.integers(256))
    check("cuda_tensor_core", lhs, rhs, multiplier, pad_code=pad_code, **case.options)


@pytest.mark.cuda
@pytest.mark.parametrize("engine", CUDA_ENGINES)
def test_signed_codes_are_their_bytes(engine, rng):
    multiplier = multiplier_for(engine, rng, "int16", signed=True)
    lhs = random_codes(rng, (2, 9, 8, 16), signed=True)
    rhs = random_codes(rng, (3, 3, 16, 24), signed=True)
    check(engine, lhs, rhs, multiplier, padding="SAME", pad_code=-77)


@pytest.mark.cuda
@pytest.mark.parametrize("engine", CUDA_ENGINES)
@pytest.mark.parametrize("outputs", [1, 10, 16, 17, 64, 65, 128])
@pytest.mark.parametrize("channels", [1, 3, 16, 17, 64, 68])
def test_channel_counts_around_tile_sizes(engine, channels, outputs, rng):
    lhs = random_codes(rng, (3, 11, 13, channels))
    rhs = random_codes(rng, (3, 3, channels, outputs))
    check(engine, lhs, rhs, multiplier_for(engine, rng), padding="SAME", pad_code=200)


@pytest.mark.cuda
@pytest.mark.parametrize("engine", CUDA_ENGINES)
@pytest.mark.parametrize(
    ("groups", "channels", "outputs"),
    [(96, 1, 1), (67, 1, 1), (33, 1, 2), (32, 4, 4), (40, 2, 3), (5, 20, 33)],
)
def test_groups_of_many_widths(engine, groups, channels, outputs, rng):
    lhs = random_codes(rng, (2, 9, 7, groups * channels))
    rhs = random_codes(rng, (3, 3, channels, groups * outputs))
    check(
        engine,
        lhs,
        rhs,
        multiplier_for(engine, rng),
        padding="SAME",
        pad_code=3,
        window_strides=2,
        feature_group_count=groups,
    )


@pytest.mark.cuda
@pytest.mark.parametrize("engine", CUDA_ENGINES)
@hypothesis.settings(max_examples=200)
@hypothesis.given(data=st.data())
def test_any_geometry(engine, data):
    def three(values):
        return tuple(data.draw(st.tuples(values, values, values)))

    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    groups = data.draw(st.sampled_from([1, 1, 2, 3, 16]))
    per_group, outputs = (data.draw(st.integers(1, 20)) for _ in range(2))
    spatial, window = three(st.integers(1, 7)), three(st.integers(1, 3))
    lhs = random_codes(rng, (data.draw(st.integers(1, 3)), *spatial, groups * per_group))
    rhs = random_codes(rng, (*window, per_group, groups * outputs))
    low, high = three(st.integers(-1, 3)), three(st.integers(-1, 3))
    check(
        engine,
        lhs,
        rhs,
        multiplier_for(engine, rng, data.draw(st.sampled_from(sorted(ENTRIES)))),
        window_strides=three(st.integers(1, 3)),
        padding=list(zip(low, high, strict=True)),
        lhs_dilation=three(st.integers(1, 3)),
        rhs_dilation=three(st.integers(1, 3)),
        feature_group_count=groups,
        pad_code=data.draw(st.integers(0, 255)),
    )


@pytest.mark.cuda
@pytest.mark.parametrize("engine", LOOKUP_ENGINES)
def test_sums_wrap_as_the_reference_wraps(engine, rng):
    """Past the depth check of the public functions: the last bits still agree."""
    table = jnp.asarray(rng.integers(-(2**31), 2**31, (256, 256)), jnp.int32)
    lhs = jnp.asarray(random_codes(rng, (1, 1, 1, 9, 300)))
    rhs = jnp.asarray(random_codes(rng, (1, 1, 1, 300, 5)))
    operands = (lhs, rhs, table, jnp.uint8(0))
    np.testing.assert_array_equal(
        ENGINES[engine].lut_conv(*operands, ConvGeometry()),
        _reference.lut_conv(*operands, ConvGeometry()),
    )


@pytest.mark.cuda
@pytest.mark.parametrize("engine", CUDA_ENGINES)
def test_one_compiled_program_runs_with_other_tables(engine, rng):
    """Run again and again, so that XLA may replay a recorded graph; every table is seen."""
    lhs, rhs = random_codes(rng, (4, 9, 9, 16)), random_codes(rng, (3, 3, 16, 32))
    factored = ENGINES[engine].factored

    @jax.jit
    def twice(multiplier):
        sums = axjax.lut_conv(lhs, rhs, multiplier, padding="SAME", engine=engine)
        codes = (sums >> 16).astype(jnp.uint8)
        return axjax.lut_conv(
            codes, rhs[..., ::2, :], multiplier, engine=engine, feature_group_count=4
        )

    for _ in range(5):
        multiplier = random_factored(rng) if factored else random_multiplier(rng)
        hidden = axjax.lut_conv(lhs, rhs, multiplier, padding="SAME", engine="reference")
        codes = (hidden >> 16).astype(jnp.uint8)
        expected = axjax.lut_conv(
            codes, rhs[..., ::2, :], multiplier, engine="reference", feature_group_count=4
        )
        for _ in range(4):
            np.testing.assert_array_equal(twice(multiplier), expected)


@pytest.mark.cuda
@pytest.mark.parametrize("entries", ENTRIES)
def test_naive_kernel_equals_reference(entries, rng):
    """`cuda_reference`: what the timing and checking programs compare with."""
    table = jnp.asarray(random_multiplier(rng, entries).table)
    lhs = jnp.asarray(random_codes(rng, (2, 4, 5, 6, 6)))
    rhs = jnp.asarray(random_codes(rng, (2, 3, 2, 3, 8)))
    geometry = ConvGeometry(
        window_strides=(1, 2, 1),
        padding_low=(1, -1, 3),
        padding_high=(0, 2, 1),
        lhs_dilation=(1, 2, 3),
        rhs_dilation=(2, 1, 1),
        feature_group_count=2,
    )
    workspace = jax.ShapeDtypeStruct((0,), jnp.uint8)
    call = jax.ffi.ffi_call(
        target("cuda_reference", table), (out_type(lhs, rhs, geometry), workspace)
    )
    operands = (lhs, rhs, table, jnp.uint8(91))
    np.testing.assert_array_equal(
        call(*operands, **attributes(geometry))[0], _reference.lut_conv(*operands, geometry)
    )


@pytest.mark.cuda
@pytest.mark.parametrize(
    ("workspace", "strides", "message"),
    [
        (
            8,
            (1, 1, 1),
            r"the workspace holds a table aligned to \d+ bytes, got workspace_bytes=8",
        ),
        (2**18, (1, 2**30, 1), r"below 2\*\*30 each, got a larger one"),
    ],
    ids=["a small workspace", "a long stride"],
)
def test_lookup_handler_refuses(workspace, strides, message):
    table = jnp.zeros((256, 256), jnp.uint16)
    ones = jnp.ones((1, 1, 1, 1, 1), jnp.uint8)
    geometry = ConvGeometry(window_strides=strides)
    results = (out_type(ones, ones, geometry), jax.ShapeDtypeStruct((workspace,), jnp.uint8))
    call = jax.ffi.ffi_call(target("cuda_texture", table), results)
    with pytest.raises(jax.errors.JaxRuntimeError, match=f"axjax: cuda_texture: .*{message}"):
        jax.block_until_ready(call(ones, ones, table, jnp.uint8(0), **attributes(geometry)))


@pytest.mark.cuda
@pytest.mark.parametrize(
    ("workspace", "strides", "message"),
    [
        (8, (1, 1, 1), r"the workspace has \d+ bytes, got workspace_bytes=8"),
        (2**18, (1, 2**30, 1), r"below 2\*\*30 each, got more"),
    ],
    ids=["a small workspace", "a long stride"],
)
def test_tensor_core_handler_refuses(workspace, strides, message):
    lhs, rhs = jnp.ones((1, 1, 1, 1, 4), jnp.uint8), jnp.ones((1, 1, 1, 4, 1), jnp.uint8)
    factors = jnp.ones((1, 256, 4), jnp.int8)
    geometry = ConvGeometry(window_strides=strides)
    results = (out_type(lhs, rhs, geometry), jax.ShapeDtypeStruct((workspace,), jnp.uint8))
    call = jax.ffi.ffi_call("axjax_lut_conv_cuda_tensor_core", results)
    sums = jnp.zeros(256, jnp.int32), jnp.ones(1, jnp.int32)
    with pytest.raises(jax.errors.JaxRuntimeError, match=message):
        jax.block_until_ready(
            call(lhs, rhs, factors, factors, *sums, jnp.uint8(0), **attributes(geometry))
        )


@pytest.mark.cuda
def test_threads_may_launch_at_once(rng):
    """Tables of few and of many terms share kernels, but take unequal shared memory."""
    lhs, rhs = random_codes(rng, (8, 16, 16, 16)), random_codes(rng, (3, 3, 16, 16))
    lhs, rhs = jax.device_put((lhs, rhs))
    multipliers = jax.device_put(
        [axjax.load(f"mul8u_{name}") for name in ("drum4", "mitchell")]
    )

    def conv(multiplier, engine):
        return axjax.lut_conv(lhs, rhs, multiplier, padding="SAME", engine=engine)

    expected = [np.asarray(conv(m, "reference")) for m in multipliers]
    compiled = jax.jit(conv, static_argnums=1)

    def launch(i):
        out = compiled(multipliers[i % 2], "cuda_tensor_core")
        return np.array_equal(out, expected[i % 2])

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(launch, range(800)))


@pytest.mark.cuda
@pytest.mark.parametrize("name", ["mul8u_trunc4", "mul8s_mitchell"])
def test_auto_runs_a_network_layer_with_vmap_and_grad(name, rng):
    multiplier = axjax.load(name)
    x = jnp.asarray(rng.normal(size=(2, 3, 8, 8, 16)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(3, 3, 16, 32)), jnp.float32)

    def conv(engine):
        def one(x, w):
            return axjax.conv_general_dilated(
                x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"),
                multiplier=multiplier, engine=engine,
            )  # fmt: skip

        return jax.jit(jax.vmap(one, in_axes=(0, None)))

    np.testing.assert_array_equal(conv("auto")(x, w), conv("reference")(x, w))
    gradient = jax.grad(lambda w: conv("auto")(x, w).sum())(w)
    assert jnp.isfinite(gradient).all()


@pytest.fixture
def two_gpus():
    if jax.device_count("gpu") < 2:
        pytest.skip("needs two GPUs")
    devices = jax.devices("gpu")[:2]
    return jax.make_mesh((2,), ("batch",), devices=devices, axis_types=(AxisType.Auto,))


@pytest.mark.cuda
@pytest.mark.parametrize("engine", CUDA_ENGINES)
def test_a_second_device_computes_the_same_bits(two_gpus, engine, rng):
    """Textures, attributes of kernels and limits are a device's own."""
    lhs, rhs = random_codes(rng, (4, 9, 9, 20)), random_codes(rng, (3, 3, 20, 40))
    for name in ("mul8u_drum4", "mul8u_mitchell"):
        operands = lhs, rhs, axjax.load(name)
        expected = np.asarray(axjax.lut_conv(*operands, padding="SAME", engine="reference"))
        for device in reversed(two_gpus.devices.tolist()):
            out = axjax.lut_conv(
                *jax.device_put(operands, device), padding="SAME", engine=engine
            )
            assert out.devices() == {device}
            np.testing.assert_array_equal(out, expected)


@pytest.mark.cuda
@pytest.mark.parametrize("engine", [*CUDA_ENGINES, "auto"])
def test_devices_share_a_batch(two_gpus, engine):
    """Each device convolves its images; gradients of the kernels are summed over both."""
    network = networks.ResNet18(width=16)
    x = jax.random.normal(jax.random.key(0), (16, 32, 32, 3))
    variables = network.init(jax.random.key(1), x[:1])
    emulated = axjax.emulate(network.apply, [axjax.Rule(".*", MUL, FIXED)])

    def loss(variables, x):
        logits = emulated(variables, x)
        return (logits**2).mean(), logits

    placed = (
        jax.device_put(variables, NamedSharding(two_gpus, P())),
        jax.device_put(x, NamedSharding(two_gpus, P("batch"))),
    )
    with axjax.default_engine(engine):
        step = jax.jit(jax.grad(loss, has_aux=True))
        gradient, logits = step(variables, x)
        compiled = step.lower(*placed).compile()
    gradients, shared = compiled(*placed)
    assert len(shared.devices()) == 2
    assert "all-gather" not in compiled.as_text()
    # Sums of float32 are not in one order, so that a code may be another.
    for one, both in zip(
        jax.tree.leaves((gradient, logits)), jax.tree.leaves((gradients, shared)), strict=True
    ):
        np.testing.assert_allclose(both, one, rtol=0, atol=1e-2 * float(jnp.abs(one).max()))
