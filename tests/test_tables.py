# SPDX-License-Identifier: Apache-2.0
import concurrent.futures
import functools
import io
import os
import pathlib
import re
import tempfile
import warnings

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

import axjax
from axjax import Multiplier, circuits


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
        ("t.xyz", b"1", "a table file ends in .bin, .npy, .npz, "),
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


# Every text format, for every kind of operands.

KINDS = {
    "unsigned": (8, False),
    "signed": (8, True),
    "narrow": ((4, 3), False),
    "narrow signed": ((3, 5), True),
    "signed by unsigned": ((4, 4), (True, False)),
}


def random_multiplier(rng, kind):
    """Not commutative, 0 x 0 not 0, and with both signs where an operand is signed."""
    bits, signed = KINDS[kind]
    exact = axjax.Multiplier.exact(bits, signed=signed)
    noise = rng.integers(0, 4, exact.products().shape)
    return axjax.Multiplier(exact.products() + noise, bits=bits, signed=signed, name="m")


def facts(mul):
    return mul.activation, mul.weight, mul.products().tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("format", ["npz", "npy", "txt", "rows", "csv", "h"])
def test_what_is_saved_is_loaded(tmp_path, rng, format, kind):
    mul = random_multiplier(rng, kind)
    path = tmp_path / ("m.txt" if format == "rows" else f"m.{format}")
    axjax.save(path, mul, format="rows" if format == "rows" else None)
    signed = None if format in ("npz", "rows", "csv") else KINDS[kind][1]
    back = axjax.load(path, signed=signed)
    assert facts(back) == facts(mul)
    assert back.name == "m"


@pytest.mark.parametrize("kind", ["unsigned", "signed"])
def test_bin_round_trip(tmp_path, rng, kind):
    mul = random_multiplier(rng, kind)
    axjax.save(tmp_path / "m.bin", mul)
    assert facts(axjax.load(tmp_path / "m.bin", signed=KINDS[kind][1])) == facts(mul)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("format", ["npy", "txt", "h"])
def test_transpose_reads_a_table_with_weights_in_its_rows(tmp_path, rng, format, kind):
    mul = random_multiplier(rng, kind)
    axjax.save(tmp_path / f"m.{format}", mul.transpose())
    back = axjax.load(tmp_path / f"m.{format}", transpose=True, signed=KINDS[kind][1])
    assert facts(back) == facts(mul)


@pytest.mark.parametrize("kind", KINDS)
def test_order_of_codes_can_be_said(tmp_path, rng, kind):
    mul = random_multiplier(rng, kind)
    signed = KINDS[kind][1]
    by_value = mul.products()[
        np.ix_(np.argsort(mul.activation.values()), np.argsort(mul.weight.values()))
    ]
    np.save(tmp_path / "m.npy", by_value)
    np.savetxt(tmp_path / "m.txt", mul.products(), fmt="%d")
    assert facts(axjax.load(tmp_path / "m.npy", signed=signed, order="value")) == facts(mul)
    assert facts(axjax.load(tmp_path / "m.txt", signed=signed, order="pattern")) == facts(mul)


TEXTS = {
    "matrix of floats": ("t.txt", "0 0 0 0\n0 1e0 2.0 3\n0 2 4 6\n0 3 6 9\n"),
    "tabs, semicolons, comments": ("t.dat", "# x\n0\t0;0 0 // y\n\n0,1,2,3\n0 2 4 6\n0 3 6 9"),
    "trailing commas": ("t.csv", "0,0,0,0,\n0,1,2,3,\n0,2,4,6,\n0,3,6,9,\n"),
    "rows in any order": ("t.csv", "a,b,p\n" + "\n".join(
        f"{x},{w},{x * w}" for w in (2, 0, 3, 1) for x in (3, 1, 2, 0))),
    "labels in any order": ("t.csv", ",3,1,0,2\n1,3,1,0,2\n0,0,0,0,0\n2,6,2,0,4\n3,9,3,0,6"),
    "C, of two dimensions": ("t.h", "/* {1} */ static const int t[4][4] = {{0,0,0,0},"
                             "{0,1,2,3},\n{0,2,4,6},{0,3,6,0x9u}}; // ,"),
    "C, of one dimension": ("t.c", "int t[16] = {0,0,0,0,0,1,2,3,0,2,4,6,0,3,6,9};"),
    "C, sizes left out": ("t.h", "int t[][4] = {{0,0,0,0},{0,1,2,3},{0,2,4,6},{0,3,6,9},};"),
    "C, sizes by name": ("t.h", "#define N 4\nint t[N][N]={{0,0,0,0},{0,1,2,3},{0,2,4,6},"
                         "{0,3,6,9}};"),
    "no suffix": ("table", "0 0 0 0\n0 1 2 3\n0 2 4 6\n0 3 6 9\n"),
}  # fmt: skip


@pytest.mark.parametrize("case", TEXTS)
def test_text_is_read_however_it_is_written(tmp_path, case):
    name, text = TEXTS[case]
    mul = axjax.load(written(tmp_path, name, text.encode()))
    assert facts(mul) == facts(axjax.Multiplier.exact(2))


def test_a_matrix_in_one_line_or_column(tmp_path):
    entries = axjax.Multiplier.exact(8).products().ravel()
    for name, separator in (("line.txt", " "), ("column.txt", "\n")):
        path = written(tmp_path, name, separator.join(map(str, entries)).encode())
        assert facts(axjax.load(path)) == facts(axjax.Multiplier.exact(8))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.txt", "", "a text table holds numbers, got none"),
        ("t.txt", "a b c d\n", "entries of a table are whole numbers that fit int32, got 'a'"),
        ("t.txt", "0 0 0 0\n0 1 2\n", "as many entries, got 3 after 4 in line=2"),
        ("t.txt", "0 0 0 0\n0 1 nan 3\n", "whole numbers that fit int32, got 'nan' in line=2"),
        ("t.txt", "0 0 0 0\n0 1 inf 3\n", "whole numbers that fit int32, got 'inf' in line=2"),
        ("t.txt", "0 0 0 0\n0 1 2.5 3\n", "whole numbers that fit int32, got '2.5' in line=2"),
        ("t.txt", f"0 0 0 {10**40}\n", "whole numbers that fit int32, got '1000"),
        ("t.txt", "0 0 0\n0 1 0\n", "2 to 8 bits, got bits=0"),
        ("t.txt", "0 0 0\n0 1 0\n1 0 0\n1 1 1\n", "2 to 8 bits, got bits=1"),
        ("t.txt", "0 999 0\n" * 4, "a table lists every pair of codes once"),
        ("t.txt", "0 1 2\n" * 16, "a table lists every pair of codes once"),
        ("t.csv", ",0,1,2,3\n", "a table lists every pair of codes once"),
        ("t.txt", "0 0 0 0\n\0", "a text file is text, got binary data"),
        ("t.h", "int x;", "a C header holds one table, got none"),
        ("t.h", "int a[4][4]={" + "1," * 16 + "}; int b[4][4]={" + "1," * 16 + "};",
         "a C header holds one table, got a, b"),
        ("t.h", "int a[4][4]={" + "1," * 15 + "};", "as its sizes say, got 15 for a"),
        ("t.h", "int a[4][4]={" + "1," * 17, "as its sizes say, got 17 for a"),
        ("t.h", "int a[4][4]={" + "1," * 15 + "X};", "holds integers only, got 'X' in a"),
        ("t.h", "double a[4][4]={" + "1," * 15 + "1.5};", "holds integers only, got '1.' in a"),
    ],
)  # fmt: skip
def test_text_that_is_no_table_is_refused(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=message):
        axjax.load(written(tmp_path, name, text.encode()))


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "t.txt"
    with path.open("wb") as file:
        file.truncate((16 << 20) + 1)
    with pytest.raises(ValueError, match="at most 16777216 bytes, got 16777217"):
        axjax.load(path)


def test_a_header_that_asks_for_all_memory_is_refused(tmp_path):
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        content, {"descr": "<i8", "fortran_order": False, "shape": (1 << 40, 1 << 10)}
    )
    with pytest.raises(ValueError, match="the data end before shape"):
        axjax.load(written(tmp_path, "t.npy", content.getvalue() + bytes(64)))


def test_an_archive_that_unpacks_to_much_is_refused(tmp_path):
    arrays = {"products": np.zeros((1024, 1024), np.int64), "bits": [8, 8]}
    np.savez_compressed(
        tmp_path / "t.npz", **arrays, signed=[False, False], more=np.zeros(2**21)
    )
    with pytest.raises(ValueError, match="unpacks to"):
        axjax.load(tmp_path / "t.npz")


def test_order_is_one_of_two(tmp_path):
    np.save(tmp_path / "t.npy", axjax.Multiplier.exact(4).products())
    with pytest.raises(ValueError, match="in the order of pattern or value, got order='rows'"):
        axjax.load(tmp_path / "t.npy", order="rows")


def test_npz_keeps_factors_and_published_figures(tmp_path):
    core = circuits.truncated(8, columns=4, signed=True)
    mul = Multiplier(core.products(), signed=True, published={"PDK45_PWR": 0.25}).factorized()
    axjax.save(tmp_path / "m.npz", mul)
    back = axjax.load(tmp_path / "m.npz")
    assert back.published == {"PDK45_PWR": 0.25}
    assert back.factors.factors().terms == mul.factors.factors().terms
    np.testing.assert_array_equal(back.factors.factors().table(), mul.table)
    other = axjax.load(tmp_path / "m.npz", transpose=True)
    assert other.factors is None
    assert other.published == back.published


def test_factors_of_another_table_are_refused(tmp_path):
    arrays = dict(np.load(io.BytesIO(saved(axjax.load("mul8u_trunc4"), tmp_path))))
    arrays["differences"] = np.load(io.BytesIO(saved(axjax.load("mul8u_trunc2"), tmp_path)))[
        "differences"
    ]
    np.savez(tmp_path / "wrong.npz", **arrays)
    with pytest.raises(ValueError, match="with_factors: factors multiply to the table"):
        axjax.load(tmp_path / "wrong.npz")


def saved(mul, folder):
    axjax.save(folder / "saved.npz", mul)
    return (folder / "saved.npz").read_bytes()


# Another reading that fits far better.


def test_no_warning_for_any_shipped_table_in_any_format(tmp_path):
    for name in axjax.available():
        mul = axjax.load(name)
        signed = mul.activation.signed
        for suffix in ("npy", "csv"):
            axjax.save(tmp_path / f"{name}.{suffix}", mul)
            assert facts(axjax.load(tmp_path / f"{name}.{suffix}", signed=signed)) == facts(mul)


def test_no_warning_for_any_real_table(shared_luts):
    for path in sorted(shared_luts.iterdir()):
        axjax.load(path)


def wrong_readings():
    signed = axjax.load("mul8s_trunc4").products()
    value_order = np.roll(signed, (128, 128), (0, 1))
    mixed = axjax.Multiplier.exact(6, signed=(True, False)).products()
    return {
        "signed products stored as unsigned": (
            signed.astype(np.int16).view(np.uint16), {}, True,
            "signed=(True, True), order='pattern', products_signed=True",
        ),
        "signed codes in ascending order": (
            value_order, {}, True, "signed=(True, True), order='value'",
        ),
        "signed read as unsigned": (
            signed, {"signed": False}, True, "signed=(True, True), order='pattern'",
        ),
        "unsigned read as signed": (
            axjax.load("mul8u_drum3").products(), {"signed": True}, False,
            "signed=(False, False), order='pattern'",
        ),
        "operands exchanged": (
            mixed.T, {"signed": (True, False)}, (True, False), "transpose=True",
        ),
    }  # fmt: skip


@pytest.mark.parametrize("case", wrong_readings())
def test_a_wrong_reading_is_noticed_and_the_advice_helps(tmp_path, case):
    products, options, signed, advice = wrong_readings()[case]
    np.save(tmp_path / "t.npy", products)
    pattern = re.escape(f"Pass {advice}, or filter")
    with pytest.warns(UserWarning, match=pattern):
        axjax.load(tmp_path / "t.npy", **options)
    better = {**options, **eval(f"dict({advice})")}
    mul = axjax.load(tmp_path / "t.npy", **better)  # a warning would be an error
    assert axjax.readings(mul)[0].mae < 2000
    assert (mul.activation.signed, mul.weight.signed) == (
        signed if isinstance(signed, tuple) else (signed, signed)
    )


def test_readings_are_those_written_out():
    mul = axjax.Multiplier(np.arange(16).reshape(4, 4) - 20)
    first, *others = axjax.readings(mul)
    assert (first.signed, first.order, first.products_signed) == (
        (False, False),
        "pattern",
        None,
    )
    codes = {False: [0, 1, 2, 3], True: [0, 1, -2, -1]}
    for reading in [first, *others]:
        total = 0
        for i in range(4):
            for j in range(4):
                x, w = (
                    (sorted(codes[s]) if reading.order == "value" else codes[s])[k]
                    for s, k in zip(reading.signed, (i, j), strict=True)
                )
                entry = 4 * i + j - 20
                if reading.products_signed is not None:
                    entry %= 16
                    if reading.products_signed and entry >= 8:
                        entry -= 16
                total += abs(entry - x * w)
        assert reading.mae == total / 16, reading
    assert len(others) == 20
    assert [r.mae for r in others] == sorted(r.mae for r in others)


# Writing.


def test_saving_refuses_what_a_format_cannot_hold(tmp_path):
    wide = axjax.Multiplier(np.full((256, 256), 70000))
    for mul in (wide, axjax.Multiplier.exact(4)):
        with pytest.raises(ValueError, match="256 x 256 products of 16 bits, got Multiplier"):
            axjax.save(tmp_path / "m.bin", mul)
    with pytest.raises(ValueError, match="a format is one of npz, npy, .*, got path="):
        axjax.save(tmp_path / "m.xyz", wide)
    with pytest.raises(ValueError, match="a format is one of npz, npy, .*, got format='xyz'"):
        axjax.save(tmp_path / "m.bin", wide, format="xyz")
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "m.npz"
    axjax.save(path, axjax.load("mul8u_drum3"))
    monkeypatch.setattr(os, "fsync", lambda file: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        axjax.save(path, axjax.load("mul8u_drum4"))
    assert facts(axjax.load(path)) == facts(axjax.load("mul8u_drum3"))
    assert list(tmp_path.iterdir()) == [path]


def test_writers_at_once_leave_one_whole_file(tmp_path):
    path = tmp_path / "m.npz"
    multipliers = [axjax.load(name) for name in ("mul8u_drum3", "mul8u_mitchell")]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        writes = [pool.submit(axjax.save, path, multipliers[i % 2]) for i in range(40)]
        reads = []
        while not all(write.done() for write in writes):
            if path.exists():
                reads.append(facts(axjax.load(path)))
    for write in writes:
        write.result()
    possible = [facts(mul) for mul in multipliers]
    assert all(found in possible for found in [*reads, facts(axjax.load(path))])
    assert list(tmp_path.iterdir()) == [path]


# Whatever a file holds, there is a multiplier or one message.

SUFFIXES = (".bin", ".npy", ".npz", ".txt", ".csv", ".h", ".blif", "")


def assert_a_table_or_one_message(path):
    message = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            axjax.load(path)
        except ValueError as error:
            message = str(error)
    assert not message or re.match(
        r"(load|Multiplier|CodeType|with_factors|from_\w+): ", message
    ), message
    assert "\n" not in message


@hypothesis.given(
    content=st.binary(max_size=300)
    | st.text(max_size=200).map(lambda t: t.encode("utf-8", "replace")),
    suffix=st.sampled_from(SUFFIXES),
)
def test_any_bytes_give_a_table_or_one_message(tmp_path_factory, content, suffix):
    folder = tmp_path_factory.getbasetemp()
    assert_a_table_or_one_message(written(folder, f"fuzz{suffix}", content))


@functools.cache
def valid_files():
    mul = axjax.Multiplier.exact((3, 2), signed=True)
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("npy", "npz", "txt", "csv", "h"):
            path = pathlib.Path(folder) / f"m.{suffix}"
            axjax.save(path, mul)
            files[f".{suffix}"] = path.read_bytes()
    return files


@hypothesis.given(data=st.data())
def test_damaged_files_give_a_table_or_one_message(tmp_path_factory, data):
    suffix = data.draw(st.sampled_from(sorted(valid_files())))
    content = bytearray(valid_files()[suffix])
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(content)))
        length = data.draw(st.integers(0, 8))
        content[position : position + length] = data.draw(st.binary(max_size=8))
    assert_a_table_or_one_message(
        written(tmp_path_factory.getbasetemp(), f"damaged{suffix}", bytes(content))
    )
