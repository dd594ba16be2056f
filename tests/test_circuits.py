# SPDX-License-Identifier: Apache-2.0
"""Every family against a model that works on single bits of single operands."""

from fractions import Fraction

import numpy as np
import pytest

from axjax import Multiplier, circuits
from axjax.circuits._drum import reduced


def bits_of(code, width):
    """Bit values of a code's pattern, least significant first."""
    return [int(c) for c in reversed(format(code & (1 << width) - 1, f"0{width}b"))]


def ripple(columns, width):
    """Adds up columns of bits, carrying from one to the next; the low `width` result bits."""
    carry, result = 0, 0
    for position in range(width):
        carry += sum(columns.get(position, ()))
        result |= (carry & 1) << position
        carry >>= 1
    return result


def array_model(x, w, bits, *, rows=0, dropped=0):
    """AND gates of an unsigned array, less its first rows and low columns."""
    a, b = bits_of(x, bits[0]), bits_of(w, bits[1])
    columns = {}
    for j in range(rows, bits[1]):
        for i in range(bits[0]):
            if i + j >= dropped:
                columns.setdefault(i + j, []).append(a[i] & b[j])
    return ripple(columns, sum(bits))


def baugh_wooley_model(x, w, bits, *, dropped):
    """AND and NAND gates of the two's complement array, and its constant ones."""
    n, m = bits
    a, b = bits_of(x, n), bits_of(w, m)
    columns = {}
    for j in range(m):
        for i in range(n):
            gate = a[i] & b[j]
            if (i == n - 1) != (j == m - 1):
                gate = 1 - gate
            columns.setdefault(i + j, []).append(gate)
    ones = [n, n + m - 1] if n == m else [n - 1, m - 1, n + m - 1]
    for column in ones:
        columns[column].append(1) if column in columns else columns.update({column: [1]})
    product = ripple({c: bits for c, bits in columns.items() if c >= dropped}, n + m)
    return product - (1 << n + m) if product >> n + m - 1 else product


def drum_model(x, w, bits, *, k):
    """Strings of digits: the k from the first 1 on, the last of them made 1."""

    def reduce(code, width):
        digits = format(code, f"0{width}b")
        start = digits.find("1")
        if start < 0 or width - start <= k:
            return code
        kept = digits[start : start + k - 1] + "1"
        return int(kept + "0" * (width - start - k), 2)

    return reduce(x, bits[0]) * reduce(w, bits[1])


def mitchell_model(x, w, bits):
    """The paper's equations in rational numbers."""
    if x == 0 or w == 0:
        return 0
    characteristics, fractions = [], []
    for code, width in zip((x, w), bits, strict=True):
        k = max(i for i, bit in enumerate(bits_of(code, width)) if bit)
        characteristics.append(k)
        fractions.append(Fraction(code, 2**k) - 1)
    total = sum(fractions)
    if total < 1:
        product = 2 ** sum(characteristics) * (1 + total)
    else:
        product = 2 ** (sum(characteristics) + 1) * total
    assert product.denominator == 1
    return int(product)


def kulkarni_model(x, w, width):
    """Gates of the 2 x 2 block, and halves down to it."""
    if width == 2:
        (a0, a1), (b0, b1) = bits_of(x, 2), bits_of(w, 2)
        return (a0 & b0) | ((a1 & b0) | (a0 & b1)) << 1 | (a1 & b1) << 2
    half = width // 2
    low = (1 << half) - 1
    x0, x1, w0, w1 = x & low, x >> half, w & low, w >> half
    middle = kulkarni_model(x1, w0, half) + kulkarni_model(x0, w1, half)
    return (
        kulkarni_model(x0, w0, half)
        + (middle << half)
        + (kulkarni_model(x1, w1, half) << width)
    )


def static_segment_model(x, w, bits, *, m):
    """Strings of digits: the last m of them, or the first m and zeros."""

    def segment(code, width):
        digits = format(code, f"0{width}b")
        if "1" not in digits[:-m] or width <= m:
            return code
        return int(digits[:m] + "0" * (width - m), 2)

    return segment(x, bits[0]) * segment(w, bits[1])


def iterative_logarithmic_model(x, w, *, corrections):
    """The paper's sum, term by term."""
    total = 0
    for _ in range(corrections + 1):
        if x == 0 or w == 0:
            break
        i, j = x.bit_length() - 1, w.bit_length() - 1
        r, s = x - 2**i, w - 2**j
        total += 2 ** (i + j) + r * 2**j + s * 2**i
        x, w = r, s
    return total


def roba_model(x, w):
    """The nearest of all powers of two, the greater of two, 2 for 3."""

    def rounded(code):
        if code in (0, 3):
            return 2 * code // 3
        return min((2**p for p in range(10)), key=lambda power: (abs(power - code), -power))

    return rounded(x) * w + x * rounded(w) - rounded(x) * rounded(w)


def error_tolerant_model(x, w, width):
    """Wires from the highest position down."""
    half = width // 2
    a, b = bits_of(x, width), bits_of(w, width)
    if not any(a[half:] + b[half:]):
        return x * w
    high = sum(a[half + i] * b[half + j] << i + j for i in range(half) for j in range(half))
    product, seen = high << width, 0
    for position in reversed(range(half)):
        seen = seen | a[position] | b[position]
        product |= seen << half + position
    for position in range(half):
        product |= seen << position
    return product


def lower_or_model(x, w, bits, *, columns):
    """Full adders above, OR gates below, row after row."""
    width = sum(bits)
    total = [0] * width
    a, b = bits_of(x, bits[0]), bits_of(w, bits[1])
    for j in range(bits[1]):
        row = [a[c - j] & b[j] if 0 <= c - j < bits[0] else 0 for c in range(width)]
        carry, summed = 0, []
        for c in range(width):
            if c < columns:
                carry = total[c] & row[c] if c == columns - 1 else 0
                summed.append(total[c] | row[c])
            else:
                count = total[c] + row[c] + carry
                summed.append(count & 1)
                carry = count >> 1
        total = summed
    return sum(bit << c for c, bit in enumerate(total))


# Of a compressor's inputs those that it gets wrong, with what it puts out.
MOMENI = {(0, 0, 0, 0): 1, (0, 0, 1, 1): 1, (1, 1, 0, 0): 1, (1, 1, 1, 1): 3}


def compressor_tree_model(x, w, bits, *, columns):
    """Lists of bits, and the compressor's truth table."""
    width = sum(bits)
    a, b = bits_of(x, bits[0]), bits_of(w, bits[1])
    array = {c: [] for c in range(width + 1)}
    for j in range(bits[1]):
        for i in range(bits[0]):
            array[i + j].append(a[i] & b[j])
    while max(len(array[c]) for c in range(columns)) > 3:
        stage = {c: [] for c in array}
        for c in range(width):
            left = list(array[c])
            while c < columns and len(left) >= 4:
                four, left = tuple(left[:4]), left[4:]
                value = MOMENI.get(four, sum(four))
                stage[c].append(value & 1)
                stage[c + 1].append(value >> 1)
            stage[c] += left
        array = stage
    return ripple(array, width)


def booth_model(x, w, bits, *, columns, signed):
    """Rows of wires: inverted for a negative digit, which adds a one in the lowest column."""
    width = sum(bits)
    weight = bits_of(w, bits[1])
    weight += [weight[-1] if signed else 0] * 3
    wires = {}
    for k in range(0, bits[1] + (0 if signed else 1), 2):
        digit = (weight[k - 1] if k else 0) + weight[k] - 2 * weight[k + 1]
        multiple = bits_of(abs(digit) * x, width)
        for position in range(width - k):
            bit = multiple[position] ^ (digit < 0)
            wires.setdefault(position + k, []).append(bit)
        wires.setdefault(k, []).append(int(digit < 0))
    product = ripple({c: column for c, column in wires.items() if c >= columns}, width)
    return product - (1 << width) if signed and product >> width - 1 else product


def by_sign_and_magnitude(model, x, w, bits):
    """Two's complement negation is inversion and increment, on the operand's own wires."""

    def magnitude(code, width):
        mask = (1 << width) - 1
        return ((code & mask) ^ mask) + 1 & mask if code < 0 else code

    product = model(magnitude(x, bits[0]), magnitude(w, bits[1]))
    return -product if (x < 0) ^ (w < 0) else product


def assert_table_equals_model(multiplier, model):
    """All pairs of codes; the message names the operands of the first wrong entry."""
    table = np.asarray(multiplier.table).tolist()
    for x in multiplier.activation.values().tolist():
        for w in multiplier.weight.values().tolist():
            entry = table[x & 255][w & 255]
            expected = model(x, w)
            assert entry == expected, f"{multiplier}: {x} * {w} gave {entry}, not {expected}"


@pytest.mark.parametrize("bits", [(8, 8), (8, 3), (2, 5)])
@pytest.mark.parametrize("signed", [False, True])
def test_exact_is_the_product(bits, signed):
    multiplier = circuits.exact(bits, signed=signed)
    assert_table_equals_model(multiplier, lambda x, w: x * w)
    assert not multiplier.errors().any()


@pytest.mark.parametrize(
    ("bits", "columns"), [((8, 8), 0), ((8, 8), 6), ((8, 8), 15), ((8, 4), 5), ((3, 6), 2)]
)
def test_truncated_equals_its_gates(bits, columns):
    assert_table_equals_model(
        circuits.truncated(bits, columns=columns),
        lambda x, w: array_model(x, w, bits, dropped=columns),
    )


@pytest.mark.parametrize(
    ("bits", "columns"),
    [((8, 8), 0), ((8, 8), 4), ((8, 8), 8), ((8, 8), 15), ((8, 4), 5), ((3, 6), 8)],
)
def test_signed_truncated_equals_the_gates_of_baugh_and_wooley(bits, columns):
    assert_table_equals_model(
        circuits.truncated(bits, columns=columns, signed=True),
        lambda x, w: baugh_wooley_model(x, w, bits, dropped=columns),
    )


@pytest.mark.parametrize("columns", range(8))
def test_below_the_complemented_bits_signed_and_unsigned_truncation_err_alike(columns):
    np.testing.assert_array_equal(
        circuits.truncated(columns=columns, signed=True).errors(),
        circuits.truncated(columns=columns).errors(),
    )


@pytest.mark.parametrize(
    ("bits", "levels"), [((8, 8), (2, 6)), ((8, 8), (0, 5)), ((8, 8), (8, 0)), ((5, 8), (3, 7))]
)
def test_broken_array_equals_its_gates(bits, levels):
    horizontal, vertical = levels
    assert_table_equals_model(
        circuits.broken_array(bits, horizontal=horizontal, vertical=vertical),
        lambda x, w: array_model(x, w, bits, rows=horizontal, dropped=vertical),
    )


def test_broken_array_drops_rows_of_the_weight():
    multiplier = circuits.broken_array(horizontal=3, vertical=0)
    assert multiplier.products()[255, 7] == 0
    assert multiplier.products()[7, 255] == 7 * 248


def test_broken_array_without_horizontal_break_is_truncated():
    np.testing.assert_array_equal(
        circuits.broken_array(horizontal=0, vertical=7).table,
        circuits.truncated(columns=7).table,
    )


@pytest.mark.parametrize(
    ("bits", "k"), [((8, 8), 2), ((8, 8), 6), ((8, 8), 8), ((8, 4), 5), ((3, 7), 2)]
)
def test_drum_equals_its_digits(bits, k):
    assert_table_equals_model(
        circuits.drum(bits, k=k), lambda x, w: drum_model(x, w, bits, k=k)
    )


@pytest.mark.parametrize(("k", "published"), [(3, 11.90), (4, 5.89), (5, 2.94), (6, 1.47)])
def test_drum_on_16_bits_has_the_published_mean_relative_error(k, published, rng):
    x, w = rng.integers(1, 1 << 16, (2, 1 << 20))
    relative = reduced(x, k) * reduced(w, k) / (x * w) - 1
    # A million pairs leave a standard error of at most 0.01 points (k = 3); figures of the
    # paper have two decimals.
    assert abs(100 * np.abs(relative).mean() - published) < 0.05


def test_drum_on_16_bits_has_the_standard_deviation_of_the_abstract(rng):
    x, w = rng.integers(1, 1 << 16, (2, 1 << 20))
    for k, published in [(5, 3.61), (8, 0.45)]:
        relative = reduced(x, k) * reduced(w, k) / (x * w) - 1
        assert abs(100 * relative.std() - published) < 0.02


@pytest.mark.parametrize("bits", [(8, 8), (8, 3), (2, 6)])
def test_mitchell_equals_his_equations(bits):
    assert_table_equals_model(circuits.mitchell(bits), lambda x, w: mitchell_model(x, w, bits))


def test_mitchell_falls_short_by_at_most_one_ninth():
    multiplier = circuits.mitchell()
    errors = multiplier.errors()
    exact = multiplier.products() - errors
    assert (errors <= 0).all()
    assert (-9 * errors <= exact).all()
    assert -9 * errors[3, 3] == exact[3, 3]


def test_kulkarni_block_is_wrong_in_one_entry_of_16():
    errors = circuits.kulkarni(2).errors()
    assert errors[3, 3] == -2
    assert np.count_nonzero(errors) == 1


@pytest.mark.parametrize("width", [2, 4, 8])
def test_kulkarni_equals_its_gates(width):
    assert_table_equals_model(
        circuits.kulkarni(width), lambda x, w: kulkarni_model(x, w, width)
    )


@pytest.mark.parametrize("bits", [(5, 3), (8, 4), (7, 7)])
def test_kulkarni_pads_narrow_operands_with_zeros(bits):
    assert_table_equals_model(circuits.kulkarni(bits), lambda x, w: kulkarni_model(x, w, 8))


@pytest.mark.parametrize("width", [2, 4, 8])
def test_kulkarni_errs_as_published(width):
    multiplier = circuits.kulkarni(width)
    exact = multiplier.products() - multiplier.errors()
    relative = np.abs(multiplier.errors()) / np.maximum(exact, 1)
    assert relative.max() == 2 / 9
    # The paper's abstract: a mean of 1.39 % for the block, up to 3.32 % for wide multipliers.
    mean = round(100 * relative.mean(), 2)
    assert mean == 1.39 if width == 2 else 1.39 < mean < 3.32


@pytest.mark.parametrize("columns", [0, 3, 8])
def test_recursive_uses_its_block_in_the_low_columns(columns, rng):
    block = rng.integers(0, 16, (4, 4)).tolist()
    multiplier = circuits.recursive((5, 8), block=block, columns=columns, variant="x")

    def model(x, w):
        total = 0
        for i in (0, 2, 4):
            for j in (0, 2, 4, 6):
                a, b = x >> i & 3, w >> j & 3
                total += (block[a][b] if i + j < columns else a * b) << i + j
        return total

    assert_table_equals_model(multiplier, model)


@pytest.mark.parametrize(
    ("bits", "m"), [((8, 8), 4), ((8, 8), 6), ((8, 8), 8), ((8, 4), 5), ((3, 7), 4)]
)
def test_static_segment_equals_its_digits(bits, m):
    assert_table_equals_model(
        circuits.static_segment(bits, m=m), lambda x, w: static_segment_model(x, w, bits, m=m)
    )


@pytest.mark.parametrize(("bits", "corrections"), [(8, 0), (8, 1), (8, 2), ((8, 5), 1)])
def test_iterative_logarithmic_equals_its_terms(bits, corrections):
    assert_table_equals_model(
        circuits.iterative_logarithmic(bits, corrections=corrections),
        lambda x, w: iterative_logarithmic_model(x, w, corrections=corrections),
    )


def test_each_correction_of_the_iterative_logarithm_errs_a_quarter():
    for corrections in range(8):
        multiplier = circuits.iterative_logarithmic(corrections=corrections)
        errors = multiplier.errors()
        exact = multiplier.products() - errors
        assert (errors <= 0).all()
        assert (4 ** (corrections + 1) * -errors <= exact).all()
    assert not errors.any()


@pytest.mark.parametrize("bits", [(8, 8), (8, 3), (2, 6)])
def test_roba_rounds_to_the_nearest_power(bits):
    assert_table_equals_model(circuits.roba(bits), roba_model)


def test_roba_errs_by_at_most_one_ninth():
    errors = circuits.roba().errors()
    exact = circuits.exact().products()
    assert (9 * np.abs(errors) <= exact).all()
    assert 9 * abs(errors[96, 96]) == exact[96, 96]


@pytest.mark.parametrize("bits", [2, 4, 6, 8])
def test_error_tolerant_equals_its_wires(bits):
    assert_table_equals_model(
        circuits.error_tolerant(bits), lambda x, w: error_tolerant_model(x, w, bits)
    )


@pytest.mark.parametrize(
    ("bits", "columns"), [((8, 8), 6), ((8, 4), 5), ((8, 4), 11), ((3, 6), 1)]
)
def test_lower_or_equals_its_gates(bits, columns):
    assert_table_equals_model(
        circuits.lower_or(bits, columns=columns),
        lambda x, w: lower_or_model(x, w, bits, columns=columns),
    )


@pytest.mark.parametrize(
    ("bits", "columns"), [((8, 8), 8), ((5, 5), 10), ((8, 5), 9), ((4, 7), 1)]
)
def test_compressor_tree_equals_its_gates(bits, columns):
    assert_table_equals_model(
        circuits.compressor_tree(bits, columns=columns),
        lambda x, w: compressor_tree_model(x, w, bits, columns=columns),
    )


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    ("bits", "columns"), [((8, 8), 7), ((8, 5), 4), ((3, 7), 3), ((4, 4), 7)]
)
def test_booth_equals_its_rows(bits, columns, signed):
    assert_table_equals_model(
        circuits.booth(bits, columns=columns, signed=signed),
        lambda x, w: booth_model(x, w, bits, columns=columns, signed=signed),
    )


@pytest.mark.parametrize(
    "multiplier",
    [
        circuits.booth(columns=0),
        circuits.booth((5, 8), columns=0, signed=False),
        circuits.compressor_tree(columns=0),
        circuits.lower_or(columns=0),
        circuits.static_segment(m=8),
        circuits.recursive(block=np.zeros((4, 4), int), columns=0, variant="x"),
    ],
    ids=str,
)
def test_families_without_approximation_are_exact(multiplier):
    assert not multiplier.errors().any()


@pytest.mark.parametrize("bits", [(8, 8), (6, 3)])
@pytest.mark.parametrize(
    ("family", "model"),
    [
        (
            lambda bits: circuits.drum(bits, k=3, signed=True),
            lambda x, w, bits: drum_model(x, w, bits, k=3),
        ),
        (lambda bits: circuits.mitchell(bits, signed=True), mitchell_model),
        (
            lambda bits: circuits.kulkarni(bits, signed=True),
            lambda x, w, bits: kulkarni_model(x, w, 8),
        ),
        (
            lambda bits: circuits.broken_array(bits, horizontal=1, vertical=4, signed=True),
            lambda x, w, bits: array_model(x, w, bits, rows=1, dropped=4),
        ),
        (
            lambda bits: circuits.static_segment(bits, m=4, signed=True),
            lambda x, w, bits: static_segment_model(x, w, bits, m=4),
        ),
        (
            lambda bits: circuits.iterative_logarithmic(bits, corrections=1, signed=True),
            lambda x, w, bits: iterative_logarithmic_model(x, w, corrections=1),
        ),
        (lambda bits: circuits.roba(bits, signed=True), lambda x, w, bits: roba_model(x, w)),
        (
            lambda bits: circuits.lower_or(bits, columns=5, signed=True),
            lambda x, w, bits: lower_or_model(x, w, bits, columns=5),
        ),
        (
            lambda bits: circuits.compressor_tree(bits, columns=6, signed=True),
            lambda x, w, bits: compressor_tree_model(x, w, bits, columns=6),
        ),
    ],
    ids=[
        "drum",
        "mitchell",
        "kulkarni",
        "broken_array",
        "static_segment",
        "iterative_logarithmic",
        "roba",
        "lower_or",
        "compressor_tree",
    ],
)
def test_signed_families_work_on_sign_and_magnitude(family, model, bits):
    assert_table_equals_model(
        family(bits),
        lambda x, w: by_sign_and_magnitude(lambda a, b: model(a, b, bits), x, w, bits),
    )


def test_the_most_negative_code_has_magnitude_128():
    multiplier = circuits.mitchell(signed=True)  # powers of two are exact
    table = np.asarray(multiplier.table).astype(int)
    assert table[0x80, 0x80] == 16384
    assert table[0x80, 0x01] == -128
    assert table[0x7F, 0x80] == -127 * 128


def test_zero_is_positive_for_a_core_that_errs_at_zero():
    core = Multiplier.from_function(lambda x, w: x * w + 64, name="core")
    multiplier = circuits.sign_magnitude(core)
    table = np.asarray(multiplier.table).astype(int)
    assert [table[0, 0], table[0, 1], table[0, 255], table[255, 255]] == [64, 64, -64, 65]
    assert str(multiplier.name) == "core sign-magnitude"


@pytest.mark.parametrize(
    ("multiplier", "name"),
    [
        (circuits.exact(), "mul8u_exact"),
        (circuits.exact((8, 4), signed=True), "mul8x4s_exact"),
        (circuits.truncated(columns=4), "mul8u_trunc4"),
        (circuits.truncated(columns=4, signed=True), "mul8s_trunc4"),
        (circuits.broken_array(horizontal=2, vertical=6), "mul8u_bam_h2v6"),
        (circuits.broken_array(7, horizontal=2, vertical=6, signed=True), "mul7s_bam_h2v6"),
        (circuits.drum(k=6), "mul8u_drum6"),
        (circuits.drum(k=4, signed=True), "mul8s_drum4"),
        (circuits.mitchell(), "mul8u_mitchell"),
        (circuits.mitchell(signed=True), "mul8s_mitchell"),
        (circuits.kulkarni((4, 8)), "mul4x8u_kulkarni"),
        (circuits.static_segment(m=4), "mul8u_ssm4"),
        (circuits.iterative_logarithmic(corrections=1), "mul8u_ilm1"),
        (circuits.roba(signed=True), "mul8s_roba"),
        (circuits.error_tolerant(), "mul8u_etm"),
        (circuits.lower_or(columns=6), "mul8u_loa6"),
        (circuits.compressor_tree(columns=8), "mul8u_momeni8"),
        (circuits.booth(columns=5), "mul8s_booth5"),
        (circuits.booth(6, columns=5, signed=False), "mul6u_booth5"),
    ],
    ids=str,
)
def test_names_are_canonical(multiplier, name):
    assert str(multiplier.name) == name


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: circuits.truncated(columns=16),
            r"^truncated: columns is .*, 0 to 15, got columns=16\. Pass 0 for the exact",
        ),
        (lambda: circuits.truncated((4, 3), columns=-1), "0 to 6, got columns=-1"),
        (lambda: circuits.truncated(columns=2.0), r"got columns=2\.0"),
        (lambda: circuits.truncated(columns=True), "got columns=True"),
        (
            lambda: circuits.broken_array((8, 4), horizontal=5, vertical=0),
            r"^broken_array: .*rows, 0 to 4, got horizontal=5\. The array has one row",
        ),
        (
            lambda: circuits.broken_array((8, 4), horizontal=0, vertical=12),
            r"^broken_array: .*columns, 0 to 11, got vertical=12\. The array has one column",
        ),
        (lambda: circuits.drum(k=1), r"^drum: k is .*, 2 to 8, got k=1\. The leading one"),
        (lambda: circuits.drum((8, 4), k=9), "2 to 8, got k=9"),
        (lambda: circuits.drum(4, k="3"), "2 to 4, got k='3'"),
        (lambda: circuits.exact(9), "2 to 8 bits, got bits=9"),
        (lambda: circuits.static_segment(m=3), r"^static_segment: m is .*4 to 8, got m=3"),
        (
            lambda: circuits.iterative_logarithmic((8, 3), corrections=3),
            "^iterative_logarithmic: corrections is .*0 to 2, got corrections=3",
        ),
        (
            lambda: circuits.error_tolerant((8, 4)),
            r"^error_tolerant: .*even, got bits=\(8, 4\)\. Pass 2, 4, 6 or 8",
        ),
        (lambda: circuits.error_tolerant(5), "even, got bits=5"),
        (lambda: circuits.lower_or(columns=16), "^lower_or: columns is .*, 0 to 15"),
        (lambda: circuits.compressor_tree(columns=17), "^compressor_tree: .*, 0 to 16"),
        (lambda: circuits.booth(columns=16), "^booth: columns is .*, 0 to 15"),
        (
            lambda: circuits.recursive(block=[[16] * 4] * 4, columns=0, variant="x"),
            r"^recursive: a block has 4 x 4 products from 0 to 15, got block=\[\[16",
        ),
        (
            lambda: circuits.recursive(block=[[1.5] * 4] * 4, columns=0, variant="x"),
            "got block=",
        ),
        (
            lambda: circuits.recursive(block=[[1] * 4] * 4, columns=17, variant="x"),
            "0 to 16, got columns=17",
        ),
        (
            lambda: circuits.sign_magnitude(circuits.exact(signed=True)),
            r"^sign_magnitude: .*got unsigned=Multiplier\('mul8s_exact'.*\. Pass a multiplier",
        ),
    ],
)
def test_bad_parameters_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
