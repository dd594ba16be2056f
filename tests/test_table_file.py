# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

import axjax


def products(rng, signed=False):
    low, high = (-(2**15), 2**15) if signed else (0, 2**16)
    return rng.integers(low, high, (256, 256)).astype(np.int16 if signed else np.uint16)


def test_bin_is_little_endian_and_activation_major(tmp_path, rng):
    path = tmp_path / "mul8u_X.bin"
    table = products(rng)
    path.write_bytes(b"".join(int(v).to_bytes(2, "little") for v in table.flat))
    mul = axjax.load(path)
    np.testing.assert_array_equal(mul.table, table)
    assert (mul.name, mul.activation.signed, mul.weight.signed) == ("mul8u_X", False, False)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_npy_tells_signedness_by_its_entries(tmp_path, rng, signed, flat):
    table = products(rng, signed)
    np.save(tmp_path / "t.npy", table.ravel() if flat else table)
    mul = axjax.load(str(tmp_path / "t.npy"))
    np.testing.assert_array_equal(mul.table, table)
    assert (mul.activation.signed, mul.weight.signed) == (signed, signed)


def test_what_the_caller_says_overrides_the_file(tmp_path, rng):
    np.save(tmp_path / "t.npy", np.abs(products(rng, True).astype(np.int32)))
    mul = axjax.load(tmp_path / "t.npy", signed=(True, False), name="mine")
    assert (mul.activation.signed, mul.weight.signed, mul.name) == (True, False, "mine")


def test_npy_of_narrow_operands(tmp_path):
    np.save(tmp_path / "t.npy", np.arange(16 * 8).reshape(16, 8))
    mul = axjax.load(tmp_path / "t.npy")
    assert (mul.activation.bits, mul.weight.bits) == (4, 3)


def test_npz_with_products(tmp_path, rng):
    table = products(rng, True)
    np.savez(tmp_path / "t.npz", products=table, bits=[8, 8], signed=[True, True])
    mul = axjax.load(tmp_path / "t.npz")
    np.testing.assert_array_equal(mul.table, table)
    assert mul.activation.signed


def written(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.bin", bytes(131071), "has 131072 bytes, got 131071"),
        ("t.bin", bytes(131073), "has 131072 bytes, got 131073"),
        ("t.bin", b"", "has 131072 bytes, got 0"),
        ("t.npy", b"not a table", "a .npy file holds one array of integers"),
        ("t.npy", b"", "a .npy file holds one array of integers"),
        ("t.npz", b"PK\x03\x04 junk", "a .npz file holds the arrays"),
        ("t.npz", b"", "a .npz file holds the arrays"),
        ("t.xyz", b"1", "a table file ends in .bin, .npy, .npz"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=message):
        axjax.load(written(tmp_path, name, content))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((256, 256), np.float32), "products are integers, got dtype=float32"),
        (np.zeros((256, 255), int), r"got shape=\(256, 255\)"),
        (np.zeros(65535, int), r"got shape=\(65535,\)"),
        (np.full((4, 4), 2**40), "a product fits int32"),
        (np.zeros((2, 256), int), "2 to 8 bits, got bits=1"),
    ],
)
def test_an_array_that_is_no_table_is_refused(tmp_path, array, message):
    np.save(tmp_path / "t.npy", array)
    with pytest.raises(ValueError, match=message):
        axjax.load(tmp_path / "t.npy")


def test_a_cut_npy_file_is_refused(tmp_path, rng):
    np.save(tmp_path / "t.npy", products(rng))
    whole = (tmp_path / "t.npy").read_bytes()
    with pytest.raises(ValueError, match="a .npy file holds one array of integers"):
        axjax.load(written(tmp_path, "cut.npy", whole[:-5]))


def test_pickles_are_not_opened(tmp_path):
    np.save(tmp_path / "t.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="a .npy file holds one array of integers"):
        axjax.load(tmp_path / "t.npy")


def test_npz_without_its_arrays_is_refused(tmp_path):
    np.savez(tmp_path / "t.npz", table=np.zeros((256, 256), int))
    with pytest.raises(ValueError, match="a .npz file holds the arrays"):
        axjax.load(tmp_path / "t.npz")


def test_a_wrong_name_is_answered_with_near_ones():
    with pytest.raises(FileNotFoundError, match="Did you mean mul8u_"):
        axjax.load("mul8u_trunk4")
    with pytest.raises(FileNotFoundError, match="The shipped ones are mul8s_drum4"):
        axjax.load("nothing like it")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="a table is a file, got the folder"):
        axjax.load(tmp_path)
