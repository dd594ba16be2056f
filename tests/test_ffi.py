# SPDX-License-Identifier: Apache-2.0
"""The native modules: what they refuse, and what importing them does."""

import os
import pathlib
import subprocess
import sys
import types

import jax
import numpy as np
import pytest

import axjax
from axjax import _ffi

ONES = np.ones(3, np.int64)
GOOD = dict(
    window_strides=ONES,
    padding_low=0 * ONES,
    lhs_dilation=ONES,
    rhs_dilation=ONES,
    feature_group_count=1,
)


def call(out=(1, 1, 1, 1, 3), table=(256, 256), **attributes):
    target = jax.ffi.ffi_call("axjax_lut_conv_cpu_u16", jax.ShapeDtypeStruct(out, np.int32))
    operands = (np.zeros((1, 1, 1, 1, 4)), np.zeros((1, 1, 1, 4, 3)), np.zeros(table), 0)
    dtypes = (np.uint8, np.uint8, np.uint16, np.uint8)
    operands = [np.asarray(a, t) for a, t in zip(operands, dtypes, strict=True)]
    return jax.block_until_ready(target(*operands, **GOOD | attributes))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(feature_group_count=3), "do not divide into 3 groups"),
        (dict(feature_group_count=0), "do not divide into 0 groups"),
        (dict(table=(9, 256)), "a table is 256 x 256"),
        (dict(rhs_dilation=0 * ONES), "strides and dilations are positive"),
        (dict(window_strides=-ONES), "strides and dilations are positive"),
        (dict(padding_low=ONES[:2]), "geometry attributes have three entries"),
        (dict(out=(2, 1, 1, 1, 3)), "the output has the batch of the input"),
        (dict(out=(1, 1, 1, 1, 4)), "the output has the batch of the input"),
    ],
)
def test_a_handler_checks_what_it_is_called_with(arguments, message):
    assert call().shape == (1, 1, 1, 1, 3)
    with pytest.raises(jax.errors.JaxRuntimeError, match=message):
        call(**arguments)


def test_a_build_for_a_newer_jaxlib_is_refused_before_it_does_harm():
    header = "#define XLA_FFI_API_MAJOR 0\n#define XLA_FFI_API_MINOR 3\n"
    module = types.ModuleType("newer")
    module.xla_ffi_api_version = (0, 3)
    _ffi.check_api_version(module, header)
    module.xla_ffi_api_version = (0, 4)
    with pytest.raises(
        ImportError, match=r"version \(0, 4\) for newer and \(0, 3\) for jaxlib"
    ):
        _ffi.check_api_version(module, header)


def quantize(size=12, given=(), results=None, target="axjax_quantize_cpu", **attributes):
    if results is None:
        results = [(size, np.uint8), (3, np.float32), (3, np.int32)]
        if target != "axjax_quantize_cpu":
            results = [(size, np.float32), (size, np.bool_)]
    good = dict(layout=np.array([1, 4, 3, 1]), source=0, symmetric=False, include_zero=True)
    good["codes"] = np.array([0, 255, 0])
    call = jax.ffi.ffi_call(target, [jax.ShapeDtypeStruct((n,), t) for n, t in results])
    x = np.ones(size, attributes.pop("dtype", np.float32))
    given = [np.ones(n, np.float32) for n in given]
    return jax.block_until_ready(call(x, *given, **good | attributes))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(layout=np.array([1, 4, 3])), "a layout has four positive sizes"),
        (dict(layout=np.array([-1, -4, 3, 1])), "a layout has four positive sizes"),
        (dict(codes=np.array([0, 255])), "three numbers tell the codes"),
        (dict(layout=np.array([1, 4, 3, 2])), "the layout is that of the operand"),
        (dict(codes=np.array([0, 256, 0])), "codes fit a byte"),
        (dict(codes=np.array([5, 5, 5])), "codes fit a byte"),
        (dict(codes=np.array([0, 255, -1])), "codes fit a byte"),
        (dict(source=3), "a range has two ends, a scale is one number"),
        (dict(source=1, given=[1]), "a range has two ends, a scale is one number"),
        (dict(dtype=np.int32), "numbers are float32 or bfloat16"),
        (dict(source=2, given=[2]), "given once, or for each scale"),
        (dict(source=1, given=[1, 3]), "given once, or for each scale"),
    ],
)
@pytest.mark.parametrize("target", ["axjax_quantize_cpu", "axjax_quantize_and_back_cpu"])
def test_quantisation_checks_what_it_is_called_with(target, arguments, message):
    assert quantize(target=target)[0].shape == (12,)
    with pytest.raises(jax.errors.JaxRuntimeError, match=message):
        quantize(target=target, **arguments)


def test_quantisation_and_corrections_check_their_results():
    few = [(11, np.uint8), (3, np.float32), (3, np.int32)]
    with pytest.raises(jax.errors.JaxRuntimeError, match="as many codes as numbers"):
        quantize(results=few)
    few = [(12, np.float32), (11, np.bool_)]
    with pytest.raises(jax.errors.JaxRuntimeError, match="as many results as numbers"):
        quantize(results=few, target="axjax_quantize_and_back_cpu")
    out = np.zeros((1, 1, 1, 1, 3), np.int32)
    codes = np.zeros((1, 1, 1, 1, 4), np.uint8), np.zeros((1, 1, 1, 4, 3), np.uint8)
    call = jax.ffi.ffi_call(
        "axjax_correct_sums_cpu", jax.ShapeDtypeStruct(out.shape, np.float32)
    )
    run = lambda zeros: call(
        out,
        *codes,
        np.int32(1),
        np.ones(zeros, np.int32),
        **GOOD,
        lhs_signed=False,
        rhs_signed=False,
    )
    assert run(3).shape == out.shape
    with pytest.raises(jax.errors.JaxRuntimeError, match="a zero point for each channel"):
        jax.block_until_ready(run(2))


def test_importing_starts_no_backend():
    code = "import axjax, jax; from jax._src import xla_bridge as b; assert not b._backends"
    # Not from the working folder, where there may be an axjax without native modules.
    folder = pathlib.Path(axjax.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=folder)


def test_build_info_tells_what_is_usable_and_why_not():
    info = axjax.build_info()
    assert info["version"] == axjax.__version__
    assert set(info["engines"]) == set(axjax.ENGINES)
    for engine in ("reference", "xla", "cpu"):
        assert info["engines"][engine] == "usable"
    assert info["native"]["cpu"]["xla_ffi_api_version"] <= (0, 99)
    texture = info["engines"]["cuda_texture"]
    assert texture == "usable" or "CUDA" in texture


def test_handlers_run_side_by_side_and_in_many_threads():
    """More calls at a time than the pool has threads: every one ends, with its own result."""
    from concurrent.futures import ThreadPoolExecutor

    mul = axjax.Multiplier.exact(8)
    rng = np.random.default_rng(0)
    w = rng.integers(0, 256, (3, 3, 8, 8), dtype=np.uint8)
    xs = rng.integers(0, 256, (16, 2, 20, 20, 8), dtype=np.uint8)
    run = jax.jit(lambda x: axjax.lut_conv(x, w, mul, engine="cpu"))
    on_cpu = jax.device_put(list(xs), jax.devices("cpu")[0])  # threads have their own default
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda x: np.asarray(run(x)), on_cpu))
    for x, result in zip(xs, results, strict=True):
        expected = axjax.lut_conv(x, w, mul, engine="xla")
        np.testing.assert_array_equal(result, expected)


def test_every_instruction_set_gives_the_same_bits():
    native = axjax.build_info()["native"]["cpu"]
    chosen = native["instruction_set"]
    assert chosen in native["instruction_sets"]
    rng = np.random.default_rng(1)
    mul = axjax.Multiplier(rng.integers(0, 2**16, (256, 256)))
    x = rng.integers(0, 256, (2, 13, 11, 37), dtype=np.uint8)
    w = rng.integers(0, 256, (3, 3, 37, 45), dtype=np.uint8)
    expected = axjax.lut_conv(x, w, mul, 1, "SAME", engine="reference")
    try:
        for name in native["instruction_sets"]:
            assert _ffi._cpu.set_instruction_set(name)
            out = axjax.lut_conv(x, w, mul, 1, "SAME", engine="cpu")
            np.testing.assert_array_equal(out, expected, err_msg=name)
    finally:
        assert _ffi._cpu.set_instruction_set(chosen)
    assert not _ffi._cpu.set_instruction_set("none such")


def test_an_unknown_instruction_set_is_an_error():
    code = """
import axjax, numpy as np
codes = np.zeros((1, 1), np.uint8)
axjax.lut_dot(codes, codes, axjax.Multiplier.exact(8), engine="cpu").block_until_ready()
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=pathlib.Path(axjax.__file__).parents[1],
        env=os.environ | {"AXJAX_CPU_ISA": "mmx", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "AXJAX_CPU_ISA" in done.stderr
    assert "mmx" in done.stderr
