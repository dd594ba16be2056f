# SPDX-License-Identifier: Apache-2.0
"""One circuit through every route is one table; whatever is no circuit is one message."""

import pathlib
import time
import warnings

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

import axjax
from axjax import Multiplier, circuits

# The circuit: a 3 x 2 bit array multiplier whose column 1 is OR-ed instead of added, and
# whose x[2] & w[1] also sets bit 0. Not commutative in widths, and wrong in a third of pairs.


def as_function(x, w):
    a, b = [x >> i & 1 for i in range(3)], [w >> i & 1 for i in range(2)]
    low = (a[0] & b[0]) | (a[2] & b[1])
    return low | ((a[1] & b[0]) | (a[0] & b[1])) << 1 | ((a[2] & b[0]) + (a[1] & b[1])) << 2


C = """
#include <stdint.h>
// PDK45_PWR = 0.005 mW
static inline int bit(int v, int i) { return (v >> i) & 1; }
uint8_t mul3x2u_or(uint8_t A, uint8_t B) {
  uint8_t P = (bit(A, 0) & bit(B, 0)) | (bit(A, 2) & bit(B, 1));  /* } ( { */
  P |= ((bit(A, 1) & bit(B, 0)) | (bit(A, 0) & bit(B, 1))) << 1;
  return P + (((bit(A, 2) & bit(B, 0)) + (bit(A, 1) & bit(B, 1))) << 2);
}
"""

VERILOG = """
module half(input x, input y, output sum, output carry);
  assign {carry, sum} = x + y;
endmodule
module mul3x2u_or(input [2:0] A, input [1:0] B, output reg [3:0] P);
  wire s, c;
  half add(.x(A[2] & B[0]), .y(A[1] & B[1]), .sum(s), .carry(c));
  always @* begin
    P[0] = (A[0] & B[0]) | (A[2] & B[1]);
    if (A[1]) P[1] = B[0] | (A[0] & B[1]); else P[1] = A[0] & B[1];
    P[3:2] = {c, s};
  end
endmodule
"""

BLIF = """
# column 1 is OR-ed
.model mul3x2u_or
.inputs A[0] A[1] A[2] \\
        B[0] B[1]
.outputs P[3] P[2] P[1] P[0]
.names A[0] B[0] A[2] B[1] P[0]
11-- 1
--11 1
.names A[1] B[0] A[0] B[1] P[1]
0-0- 0
0--0 0
-00- 0
-0-0 0
.names A[2] B[0] t
11 1
.names A[1] B[1] u
11 1
.subckt half x=t y=u sum=P[2] carry=P[3]
.end
.model half
.inputs x y
.outputs sum carry
.names x y sum
10 1
01 1
.names x y carry
11 1
.end
"""

SOURCES = {"c": C, "v": VERILOG, "sv": VERILOG, "blif": BLIF}


def written(folder, name, text):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def expected():
    return Multiplier.from_function(as_function, (3, 2)).products()


@pytest.mark.parametrize("suffix", SOURCES)
def test_one_circuit_through_every_route_is_one_table(tmp_path, expected, suffix):
    if suffix in ("v", "sv"):
        pytest.importorskip("pyosys")
    mul = axjax.load(written(tmp_path, f"mul3x2u_or.{suffix}", SOURCES[suffix]))
    np.testing.assert_array_equal(mul.products(), expected)
    assert mul.name == "mul3x2u_or"
    assert (mul.activation.signed, mul.weight.signed) == (False, False)
    for format in ("npz", "npy", "txt", "csv", "h"):
        axjax.save(tmp_path / f"again.{format}", mul)
        again = axjax.load(tmp_path / f"again.{format}")
        np.testing.assert_array_equal(again.products(), expected)


@pytest.mark.parametrize("suffix", SOURCES)
def test_operands_of_a_circuit_can_be_exchanged(tmp_path, expected, suffix):
    if suffix in ("v", "sv"):
        pytest.importorskip("pyosys")
    path = written(tmp_path, f"mul3x2u_or.{suffix}", SOURCES[suffix])
    mul = axjax.load(path, transpose=True)
    np.testing.assert_array_equal(mul.products(), expected.T)


ARITHS_GEN = ("UnsignedDaddaMultiplier", "SignedDaddaMultiplier", "UnsignedArrayMultiplier")


@pytest.mark.parametrize("kind", ARITHS_GEN)
def test_circuits_of_ariths_gen_in_every_form(tmp_path, kind):
    buses = pytest.importorskip("ariths_gen.wire_components")
    multipliers = pytest.importorskip("ariths_gen.multi_bit_circuits.multipliers")
    a, b = (buses.Bus(N=4, prefix=letter) for letter in "ab")
    circuit = getattr(multipliers, kind)(a=a, b=b, prefix="m")
    mul = circuits.from_ariths_gen(circuit)
    signed = kind.startswith("Signed")
    expected = Multiplier.exact(4, signed=signed)
    np.testing.assert_array_equal(mul.products(), expected.products())
    for style in ("flat", "hier"):
        for form in ("c", "v", "blif"):
            if form == "v" and not importable("pyosys"):
                continue
            path = tmp_path / f"{style}.{form}"
            with path.open("w") as file:
                getattr(circuit, f"get_{form}_code_{style}")(file)
            again = axjax.load(path, bits=4, signed=signed)
            np.testing.assert_array_equal(again.products(), expected.products())


def importable(module):
    try:
        __import__(module)
    except ImportError:
        return False
    return True


def test_what_is_no_circuit_of_ariths_gen_is_refused():
    with pytest.raises(TypeError, match="has operands a and b .* got circuit=int. For"):
        circuits.from_ariths_gen(3)


# C


@pytest.mark.parametrize(
    ("name", "signature", "options"),
    [
        ("mul8s_x", "int16_t {}(int8_t A, int8_t B)", {}),
        ("mul8s_x", "uint16_t {}(uint8_t A, uint8_t B)", {}),
        ("mul8s_x", "uint64_t {}(const uint64_t A, const uint64_t B)", {}),
        ("mul6s_x", "uint16_t {}(uint8_t A, uint8_t B)", {}),
        ("mul6s_x", "int16_t {}(uint8_t A, uint8_t B)", {}),
        ("mul8x5s_x", "uint16_t {}(uint8_t A, uint8_t B)", {}),
        ("product", "int {}(signed char A, signed char B)", {}),
        ("product", "long {}(int A, int B)", {"bits": (7, 4), "signed": True}),
    ],
)
def test_signed_circuits_with_every_kind_of_parameter(tmp_path, name, signature, options):
    """Two's complement arithmetic on the low bits, as gates would do it."""
    bits = options.get("bits") or {"mul6s_x": (6, 6), "mul8x5s_x": (8, 5)}.get(name, (8, 8))
    a_mask, b_mask, mask = (2**n - 1 for n in (*bits, sum(bits)))
    a_sign, b_sign = (2 ** (n - 1) for n in bits)
    text = f"""#include <stdint.h>
    {signature.format(name)} {{
      int64_t a = ((int64_t)(A & {a_mask}) ^ {a_sign}) - {a_sign};
      int64_t b = ((int64_t)(B & {b_mask}) ^ {b_sign}) - {b_sign};
      return (a * b) & {mask};
    }}"""
    mul = circuits.from_c(written(tmp_path, f"{name}.c", text), **options)
    exact = Multiplier.exact(bits, signed=True)
    assert (mul.activation, mul.weight) == (exact.activation, exact.weight)
    np.testing.assert_array_equal(mul.products(), exact.products())


def test_signed_products_that_are_all_negative_or_zero_stay_as_they_are(tmp_path):
    path = written(tmp_path, "mul4s_x.c", "int mul4s_x(signed char a, signed char b) "
                                          "{ return a * b < 0 ? a * b : -1; }")  # fmt: skip
    found = circuits.from_c(path).products()
    exact = Multiplier.exact(4, signed=True).products()
    np.testing.assert_array_equal(found, np.where(exact < 0, exact, -1))


def test_unsigned_products_from_a_signed_result_type(tmp_path):
    path = written(tmp_path, "f.c", "short f(unsigned char a, unsigned char b) {return a*b;}")
    np.testing.assert_array_equal(
        circuits.from_c(path).products(), Multiplier.exact(8).products()
    )


def test_which_function_of_a_file(tmp_path):
    text = """
    typedef unsigned char byte;
    typedef unsigned short word;
    static byte pair(byte a, byte b) { return a & b; }
    word first(byte a, byte b) { return a * b; }
    word second(byte a, byte b) { return 0; }
    int one(int a) { return a; }
    int main(int count, char **arguments) { return 1; }
    """
    zero, exact = np.zeros((256, 256)), Multiplier.exact(8).products()
    by_file_name = circuits.from_c(written(tmp_path, "first.c", text))
    np.testing.assert_array_equal(by_file_name.products(), exact)
    last = circuits.from_c(written(tmp_path, "other.c", text))
    np.testing.assert_array_equal(last.products(), zero)
    named = circuits.from_c(tmp_path / "other.c", function="first", name="mine")
    np.testing.assert_array_equal(named.products(), exact)
    assert named.name == "mine"
    with pytest.raises(ValueError, match="got function='one' and pair, first, second in"):
        circuits.from_c(tmp_path / "other.c", function="one")


HEADER = """// MAE% = 0.019 %
// MAE = 12
// WCE = 49
// EP% = {} %
// PDK45_PWR = 0.123 mW
// PDK45_AREA = 456.7 um2
#include <stdint.h>
uint16_t mul8u_x(uint8_t a, uint8_t b) {{
  uint16_t sum = 0;
  for (int i = 0; i < 8; i++) if (b >> i & 1) sum += (a << i) & ~15;
  return sum;
}}
"""


def test_figures_in_a_header_are_kept_and_checked(tmp_path):
    mul = axjax.load(written(tmp_path, "mul8u_x.c", HEADER.format("81.25")))
    assert mul.published == {
        "MAE%": 0.019, "MAE": 12, "WCE": 49, "EP%": 81.25, "PDK45_PWR": 0.123,
        "PDK45_AREA": 456.7,
    }  # fmt: skip
    np.testing.assert_array_equal(mul.products(), axjax.load("mul8u_trunc4").products())
    path = written(tmp_path, "mul8u_x.c", HEADER.format("81.26"))
    with pytest.warns(UserWarning, match="got EP% = 81.26 but 81.25 in"):
        circuits.from_c(path)


C_MISTAKES = {
    "no function": ("int x;", "a C header holds one table, got none"),
    "does not compile": ("int f(int a, char b) { return x; }", "a C file compiles, got '"),
    "wide types": ("int f(int a, int b) { return a; }", r"got bits=\(32, 32\) for f\(int, int"),
    "crash": ("int f(char a, char b) { return *(volatile int*)0; }", "got signal SIG"),
    "exit": ("#include <stdlib.h>\nint f(char a, char b) { exit(0); }", "got exit code 0"),
    "memory": (
        "int f(char a, char b) { static int n; return n++; }",
        "a multiplier has no mem",
    ),
    "too much": ("long f(char a, char b) { return 1L << 40; }", "a product fits int32"),
}


@pytest.mark.parametrize("case", C_MISTAKES)
def test_what_is_no_multiplier_in_c_is_refused(tmp_path, case):
    text, message = C_MISTAKES[case]
    with pytest.raises(ValueError, match=message):
        axjax.load(written(tmp_path, "x.c", text))


def processes():
    """Command lines of all processes."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.append((entry / "cmdline").read_bytes())
            except OSError:
                continue
    return found


LOOPS = {
    "loops": "int f(char a, char b) { for (;;); }",
    "forks": """#include <unistd.h>
    int f(char a, char b) { if (!fork()) execlp("sleep", "sleep", "3.14159", (char*)0);
      for (;;); }""",
    "does not stop to compile": '#include "/dev/stdin"\n#include __FILE__\n' * 3
    + "int f(char a, char b) { return 0; }",
}


@pytest.mark.parametrize("case", LOOPS)
def test_a_c_file_without_an_end_is_killed_with_all_that_it_started(tmp_path, case):
    started = time.monotonic()
    with pytest.raises(ValueError, match=r"at most 0\.5 s to (run|compile), got more"):
        circuits.from_c(written(tmp_path, "f.c", LOOPS[case]), time_limit=0.5)
    assert time.monotonic() - started < 10
    while any(c == b"sleep\x003.14159\x00" or b"./program" in c for c in processes()):
        assert time.monotonic() - started < 10  # killed, and about to go away


def test_without_a_compiler_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(ValueError, match="Install gcc or clang"):
        circuits.from_c(written(tmp_path, "f.c", "int f(char a, char b) { return 0; }"))


def test_compiling_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    circuits.from_c(written(tmp_path, "f.c", "int f(char a, char b) { return a * b; }"))
    with pytest.raises(ValueError, match="compiles"):
        circuits.from_c(written(tmp_path, "g.c", "int f(char a, char b) { return x; }"))
    assert list((tmp_path / "tmp").iterdir()) == []


# Verilog


def verilog(body, ports="input [3:0] a, input [3:0] b, output [7:0] p"):
    return f"module m({ports});\n{body}\nendmodule\n"


VERILOG_CIRCUITS = {
    "signed by its ports": (
        verilog("assign p = a * b;", "input signed [3:0] a, input signed [3:0] b, "
                "output signed [7:0] p"), {}, (4, 4), True),
    "signed as the caller says": (
        verilog("assign p = {{4{a[3]}}, a} * {{4{b[3]}}, b};"), {"signed": True}, (4, 4), True),
    "bits as ports": (
        verilog("assign {p_5, p_4, p_3, p_2, p_1, p_0} = {a_2, a_1, a_0} * {b_2, b_1, b_0};",
                "input a_2, a_1, a_0, b_0, b_1, b_2, output p_0, p_1, p_2, p_3, p_4, p_5"),
        {}, (3, 3), False),
    "ports without names of words": (
        verilog("assign {o3, o2, o1, o0} = {i1, i0} * {i3, i2};",
                "input i0, i1, i2, i3, output o0, o1, o2, o3"), {"bits": 2}, (2, 2), False),
    "descending from the left": (
        verilog("assign p = a * b;", "input [0:3] a, input [0:3] b, output [0:7] p"),
        {}, (4, 4), False),
    "a named module of two": (
        verilog("assign p = a * b;") + "module n(input [3:0] a, output p); assign p = 0; "
        "endmodule", {"top": "m"}, (4, 4), False),
    "constant bits and loops": (
        verilog("integer i; reg [7:0] s; always @* begin s = 0; for (i = 0; i < 4; i = i + 1) "
                "if (b[i]) s = s + (a << i); end assign p = s;"), {}, (4, 4), False),
}  # fmt: skip


@pytest.mark.parametrize("case", VERILOG_CIRCUITS)
def test_verilog_of_every_style(tmp_path, case):
    pytest.importorskip("pyosys")
    text, options, bits, signed = VERILOG_CIRCUITS[case]
    mul = circuits.from_verilog(written(tmp_path, "x.v", text), **options)
    exact = Multiplier.exact(bits, signed=signed)
    assert (mul.activation, mul.weight) == (exact.activation, exact.weight)
    np.testing.assert_array_equal(mul.products(), exact.products())


VERILOG_MISTAKES = {
    "syntax": ("module m(", "Yosys reads the file, got .*ERROR"),
    "no module": ("// nothing", "from_verilog: "),
    "missing part": (verilog("part p1(a, b, p);"), "Yosys reads the file, got .*part"),
    "flip-flop": (
        verilog("reg [7:0] q; always @(posedge a[0]) q <= a * b; assign p = q;"),
        "a multiplier has no memory, neither flip-flop nor latch"),
    "latch": (
        verilog("reg [7:0] q; always @* if (a[0]) q = b; assign p = q;"),
        "a multiplier has no memory, neither flip-flop nor latch"),
    "loop": (verilog("wire t; assign t = ~t & a[0]; assign p = {8{t}};"), "form no loop"),
    "undefined": (verilog("assign p = {7'bx, a[0]};"), "got an undefined bit 'x'"),
    "undriven": (verilog("assign p[3:0] = a;"), "every signal that is read has a driver"),
    "one input": (verilog("assign p = a;", "input [3:0] a, output [7:0] p"),
                  r"two input words, got inputs=a\[4\]"),
    "two outputs": (verilog("assign p = a; assign q = b;", "input [3:0] a, input [3:0] b, "
                            "output [7:0] p, output q"), r"one output word, got outputs=p"),
    "wide input": (verilog("assign p = a * b;", "input [8:0] a, input [3:0] b, output [7:0] p"),
                   "an operand has 2 to 8 bits, got inputs="),
    "wide output": (verilog("assign p = a * b;", "input [3:0] a, input [3:0] b, "
                            "output [8:0] p"), "no more bits than its operands together, 8"),
    "inout": (verilog("assign p = a * b;", "input [3:0] a, inout [3:0] b, output [7:0] p"),
              "ports are inputs and outputs, got inout b"),
}  # fmt: skip


@pytest.mark.parametrize("case", VERILOG_MISTAKES)
def test_what_is_no_multiplier_in_verilog_is_refused(tmp_path, case):
    pytest.importorskip("pyosys")
    text, message = VERILOG_MISTAKES[case]
    with pytest.raises(ValueError, match=message) as caught:
        circuits.from_verilog(written(tmp_path, "x.v", text))
    assert "\n" not in str(caught.value)


def test_a_name_that_is_no_module(tmp_path):
    pytest.importorskip("pyosys")
    path = written(tmp_path, "x.v", verilog("assign p = a * b;"))
    with pytest.raises(ValueError, match="letters, digits, _ and .*got top='m; shell ls'"):
        circuits.from_verilog(path, top="m; shell ls")
    with pytest.raises(ValueError, match="Yosys reads the file, got .*'?n"):
        circuits.from_verilog(path, top="n")
    with pytest.raises(ValueError, match=r"got bits=\(8, 8\) for inputs=a\[4\], b\[4\]"):
        circuits.from_verilog(path, bits=8)


def test_a_circuit_that_takes_too_long_is_given_up(tmp_path):
    pytest.importorskip("pyosys")
    path = written(tmp_path, "x.v", verilog("assign p = a * b;"))
    with pytest.raises(ValueError, match=r"at most 0\.001 s, got more"):
        circuits.from_verilog(path, time_limit=0.001)


def test_without_pyosys_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'axjax\[verilog\]'"):
        circuits.from_verilog(written(tmp_path, "x.v", VERILOG))


# BLIF


def blif(body, inputs="a0 a1 b0 b1", outputs="p0"):
    return f".model m\n.inputs {inputs}\n.outputs {outputs}\n{body}\n.end\n"


BLIF_MISTAKES = {
    "empty": ("", "a BLIF file describes a .model, got none"),
    "latch": (blif(".latch a0 p0 re b0 0"), "a multiplier has no memory, got line=4"),
    "gate of a library": (blif(".gate nand2 A=a0 B=b0 O=p0"), "a line is .model, .inputs"),
    "junk": (blif("junk"), "a line begins with a keyword such as .names, got line=4: 'junk'"),
    "outside": (".inputs a b", "everything stands inside a .model"),
    "short cover": (blif(".names a0 b0 p0\n1 1"), "a row of .names has 2 of 0, 1, -"),
    "both values": (blif(".names a0 b0 p0\n11 1\n00 0"), "give all ones or all zeros"),
    "loop": (blif(".names p0 a0 p0\n11 1"), "gates form no loop, got one through signal='p0'"),
    "undriven": (blif(".names t a0 p0\n11 1"), "has a driver, got none for signal='t'"),
    "driven twice": (blif(".names p0\n1\n.names p0\n0"), "one driver, got two for signal='p0'"),
    "driven input": (blif(".names a0\n1\n.names p0\n0"), "one driver, got two for signal='a0'"),
    "no such part": (blif(".subckt n x=a0"), "a .subckt names a .model of the file"),
    "part of itself": (blif(".subckt m a0=a0 a1=a1 b0=b0 b1=b1"), "no part of itself"),
    "open pin": (blif(".subckt n x=a0\n.end\n.model n\n.inputs x y\n.outputs z\n.names z\n1"),
                 "a .subckt connects every input of its model"),
    "one word": (blif(".names p0\n1", "a0 a1 a2 a3"), r"two input words, got inputs=a\[4\]"),
    "many gates": ("".join(
        f".model m{i}\n.inputs a0 a1 b0 b1\n.outputs p0\n"
        + f".subckt m{i + 1} a0=a0 a1=a1 b0=b0 b1=b1\n" * 10 + ".end\n" for i in range(20))
        + ".model m20\n.inputs a0 a1 b0 b1\n.outputs p0\n.names p0\n1\n.end",
        "up to 4000000 literals"),
}  # fmt: skip


@pytest.mark.parametrize("case", BLIF_MISTAKES)
def test_what_is_no_multiplier_in_blif_is_refused(tmp_path, case):
    text, message = BLIF_MISTAKES[case]
    with pytest.raises(ValueError, match=message):
        axjax.load(written(tmp_path, "x.blif", text))


def test_inputs_without_names_of_words_are_cut_where_bits_say(tmp_path):
    body = ".names pi0 pi3 po0\n11 1\n.names pi2 po1\n1 1"
    path = written(tmp_path, "x.blif", blif(body, "pi0 pi1 pi2 pi3 pi4", "po0 po1"))
    mul = axjax.load(path, bits=(3, 2))
    x, w = np.arange(8)[:, None], np.arange(4)[None, :]
    np.testing.assert_array_equal(mul.products(), (x & w & 1) + 2 * (x >> 2) + 0 * w)


def test_a_signed_product_has_the_sign_of_its_highest_bit(tmp_path):
    path = written(tmp_path, "x.blif", blif(".names a1 p0\n1 1\n.names a1 p1\n1 1",
                                            outputs="p0 p1"))  # fmt: skip
    found = circuits.from_blif(path, signed=True).products()
    np.testing.assert_array_equal(found, [[0] * 4, [0] * 4, [-1] * 4, [-1] * 4])


@hypothesis.settings(max_examples=200)
@hypothesis.given(
    lines=st.lists(
        st.lists(
            st.sampled_from(
                [".model", ".inputs", ".outputs", ".names", ".subckt", ".end", ".latch", "a0",
                 "a1", "b0", "b1", "p0", "m", "x=a0", "0", "1", "-", "11 1", "\\"]
            ),
            max_size=6,
        ).map(" ".join),
        max_size=12,
    )
)  # fmt: skip
def test_any_blif_is_a_table_or_one_message(tmp_path_factory, lines):
    path = written(tmp_path_factory.getbasetemp(), "fuzz.blif", "\n".join(lines))
    message = ""
    try:
        circuits.from_blif(path)
    except ValueError as error:
        message = str(error)
    assert not message or message.startswith(("from_blif: ", "CodeType: "))


HUGE = {
    "words in C": ("x.c", "word " * 100_000),
    "brackets in C": ("x.c", "x(" * 100_000),
    "spaces in C": ("x.c", "x" + " " * 500_000 + "("),
    "dimensions in C": ("x.h", "x" + "[1]" * 100_000),
    "digits in C": ("x.h", "int x[] = {" + "1," * 16 + "9" * 100_000 + "};"),
    "digits in a table": ("x.txt", "1" * 100_000 + " 2\n"),
    "comments": ("x", "# " * 100_000),
    "signs": ("x", "-" * 100_000),
    "spaces": ("x.txt", "1" + " " * 100_000 + "x"),
    "a name in BLIF": ("x.blif", f".model m\n.inputs {'1' * 100_000}x a\n.outputs p"),
    "one cover in BLIF": ("x.blif", ".model m\n.inputs a0 a1 b0 b1\n.outputs p\n.names a0 a1 p"
                          + "\n11 1" * 2_100_000),
}  # fmt: skip


@pytest.mark.parametrize("case", HUGE)
def test_much_of_the_same_does_not_keep_the_readers_busy(tmp_path, case):
    name, text = HUGE[case]
    started = time.monotonic()
    with pytest.raises(ValueError, match=r"^(load|from_\w+): [^\n]*$"):
        axjax.load(written(tmp_path, name, text))
    assert time.monotonic() - started < 20  # quadratic time would take minutes, and more


@pytest.mark.parametrize("suffix", ["c", "v", "blif"])
@pytest.mark.parametrize("content", [b"\x00\x01\xff" * 50, b"\xff\xfe junk ;;; }{", b""])
def test_binary_junk_is_one_message(tmp_path, suffix, content):
    path = tmp_path / f"junk.{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^(load|from_\w+): [^\n]*$"):
        axjax.load(path)


@pytest.mark.parametrize("read", [circuits.from_c, circuits.from_blif, circuits.from_verilog])
def test_a_circuit_is_a_file(tmp_path, read):
    with pytest.raises(ValueError, match="a circuit is a file, got the folder"):
        read(tmp_path)
    with pytest.raises(FileNotFoundError, match="there has to be a file, got path="):
        read(tmp_path / "none")
    with (tmp_path / "large").open("wb") as file:
        file.truncate((16 << 20) + 1)
    with pytest.raises(ValueError, match="a circuit file has at most 16777216 bytes"):
        read(tmp_path / "large")


def test_files_of_evoapproxlib_reproduce_their_own_figures():
    folder = pathlib.Path(__file__).parents[2] / "shared" / "circuits"
    files = sorted(folder.glob("mul*.c"))
    if not files:
        pytest.skip("no files of EvoApproxLib beside this checkout")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in files:
            assert axjax.load(path).published
