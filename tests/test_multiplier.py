# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from axjax import CodeType, Multiplier


def exact(bits, signed):
    a, b = (CodeType(n, s).values() for n, s in zip(bits, signed, strict=True))
    return a[:, None] * b[None, :]


@pytest.mark.parametrize("signed", [(False, False), (True, True), (False, True), (True, False)])
@pytest.mark.parametrize("bits", [(8, 8), (4, 4), (8, 3), (2, 7)])
def test_exact_table_holds_the_products_of_signed_bytes(bits, signed):
    mul = Multiplier.exact(bits, signed=signed)
    table = np.asarray(mul.table)
    assert table.shape == (256, 256)
    for x in range(256):
        for w in range(0, 256, 5):
            values = [
                (v & (1 << b) - 1) - ((1 << b) if s and v >> (b - 1) & 1 else 0)
                for v, b, s in zip((x, w), bits, signed, strict=True)
            ]
            assert table[x, w] == values[0] * values[1]


def test_rows_are_activations():
    mul = Multiplier.from_function(lambda x, w: 10 * x + w, (8, 8))
    assert mul.table[3, 7] == 37
    assert mul.transpose().table[7, 3] == 37


@pytest.mark.parametrize(
    ("make", "dtype"),
    [
        (lambda: Multiplier.exact(8), np.uint16),
        (lambda: Multiplier.exact(4), np.uint16),
        (lambda: Multiplier.exact(8, signed=True), np.int16),
        (lambda: Multiplier.exact(8, signed=(False, True)), np.int16),
        (lambda: Multiplier.from_function(lambda x, w: -(x * w) // 4), np.int16),
        (lambda: Multiplier.from_function(lambda x, w: x * w - 1), np.int32),
        (lambda: Multiplier.from_function(lambda x, w: x * w + 65536), np.int32),
        (
            lambda: Multiplier.from_function(lambda x, w: x * 0 + w * 0 + 40000, signed=True),
            np.uint16,
        ),
    ],
)
def test_entries_have_the_narrowest_type_of_the_family(make, dtype):
    assert make().table.dtype == dtype


def test_bound_is_that_of_the_exact_product_or_of_the_entry_type():
    def bound(function, **options):
        return Multiplier.from_function(function, **options).bound

    assert Multiplier.exact(8).bound == 255 * 255
    assert Multiplier.exact(8, signed=True).bound == 128 * 128
    assert bound(lambda x, w: x * w // 2) == 255 * 255
    assert bound(lambda x, w: x * w + 9) == 2**16 - 1
    assert bound(lambda x, w: x * w - 2 * x, signed=True) == 2**15
    assert bound(lambda x, w: -2 * x * w) == 2**17
    assert bound(lambda x, w: 0 * x * w - 2**20) == 2**20


def test_scalar_functions_are_called_for_every_pair():
    def scalar(x, w):
        return x if x > w else w * x

    mul = Multiplier.from_function(scalar, 3, signed=True)
    values = CodeType(3, True).values()
    expected = [[scalar(int(a), int(b)) for b in values] for a in values]
    np.testing.assert_array_equal(mul.products(), expected)
    assert mul.name == "scalar"


def test_a_faulty_function_shows_its_own_error():
    with pytest.raises(ZeroDivisionError):
        Multiplier.from_function(lambda x, w: int(x) // 0)


def test_errors_are_products_minus_exact_products():
    mul = Multiplier.from_function(lambda x, w: x * w + 1, (4, 5), signed=True)
    assert mul.errors().shape == (16, 32)
    assert (mul.errors() == 1).all()


def test_swapping_tables_of_a_kind_does_not_compile_again():
    traces = []

    @jax.jit
    def entry(mul):
        traces.append(mul)
        return mul.table[5, 7].astype(jnp.int32)

    assert entry(Multiplier.exact(8)) == 35
    assert entry(Multiplier.from_function(lambda x, w: x * w & ~7, name="other")) == 32
    assert len(traces) == 1
    entry(Multiplier.exact(8, signed=True))
    assert len(traces) == 2


def test_vmap_runs_over_stacked_multipliers():
    muls = [Multiplier.exact(8), Multiplier.from_function(lambda x, w: x * w // 2)]
    stacked = jax.tree.map(lambda *tables: jnp.stack(tables), *muls)
    out = jax.vmap(lambda mul: mul.table[6, 7].astype(jnp.int32))(stacked)
    np.testing.assert_array_equal(out, [42, 21])


def test_repr_names_the_code_types():
    mul = Multiplier.exact((8, 4), signed=(False, True))
    assert repr(mul) == "Multiplier('exact uint8 x int4', uint8 x int4)"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: Multiplier(np.zeros((256, 256))),
            TypeError,
            "a product is an integer, got dtype=float64",
        ),
        (
            lambda: Multiplier(np.zeros((256, 255), int)),
            ValueError,
            r"2\*\*bits rows and 2\*\*bits columns, got shape=\(256, 255\)",
        ),
        (lambda: Multiplier(np.zeros(65536, int)), ValueError, r"got shape=\(65536,\)"),
        (
            lambda: Multiplier(np.zeros((16, 16), int), bits=8),
            ValueError,
            r"got shape=\(16, 16\) for uint8 x uint8",
        ),
        (lambda: Multiplier(np.full((4, 4), 2**31)), ValueError, "a product fits int32"),
        (lambda: Multiplier(np.zeros((512, 512), int)), ValueError, "2 to 8 bits, got bits=9"),
        (lambda: Multiplier.exact(1), ValueError, "2 to 8 bits, got bits=1"),
        (lambda: CodeType(8.0), ValueError, "2 to 8 bits, got bits=8.0"),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_published_figures_and_a_new_name_do_not_make_another_kind():
    plain = Multiplier.exact(4)
    mul = Multiplier(plain.products(), name="a", published={"PDK45_PWR": 0.5})
    assert dict(mul.published) == {"PDK45_PWR": 0.5}
    assert mul.renamed("b").name == "b"
    assert mul.renamed("b").published == mul.transpose().published == mul.published
    assert jax.tree.structure(mul) == jax.tree.structure(plain)
    assert jax.tree.map(lambda leaf: leaf, mul).published == mul.published
    with pytest.raises(TypeError):
        mul.published["PDK45_PWR"] = 1
