# SPDX-License-Identifier: Apache-2.0
"""Multiplier: an approximate multiplier, known by its table of products."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from axjax._code_type import CodeType

if TYPE_CHECKING:  # they import this module
    from axjax._gradient import Gradient
    from axjax._metrics import Metrics
    from axjax.factorization import Factors, PackedFactors

Pair = tuple[int, int] | int
"""One number for both operands, or (activation, weight)."""


@dataclasses.dataclass(frozen=True)
class _Label:
    """What is known of a multiplier by name; it takes no part in comparisons.

    The name of a multiplier is part of its pytree structure, and `jax.jit` compiles again
    where structures differ. Labels are all equal, so that one compiled network runs with
    any table of the same kind.
    """

    text: str = dataclasses.field(compare=False)
    published: Mapping[str, float] = dataclasses.field(compare=False)


def _pair(value: Any) -> tuple[Any, Any]:
    return tuple(value) if isinstance(value, tuple | list) else (value, value)


# No dataclass: Flax's `nn.jit` walks through a dataclass and compares all entries of the table.
@jax.tree_util.register_pytree_node_class
class Multiplier:
    """A multiplier's truth table: what the hardware puts out for every pair of codes.

    `Multiplier(products)` takes the products in the order of bit patterns, row = activation,
    column = weight: integers of shape `(2**activation bits, 2**weight bits)`. Signed codes
    are in two's complement order: 0, 1, ..., 127, -128, ..., -1.

    A pytree whose leaves are `table` and the arrays of `factors` and `gradient`: pass a
    multiplier to a jitted function as an argument, and another one of the same kind (code
    types, entry type, room for factors and slopes) runs without compiling again; `jax.vmap`
    runs over multipliers that are stacked with `jax.tree.map`. `axjax.alike` makes several
    multipliers of one kind.

    Attributes:
        table: `(256, 256)`, row = activation code's byte, column = weight code's byte, in
            the narrowest of uint16, int16 and int32 that holds all entries. For codes
            narrower than a byte the table is repeated: the multiplier sees the low bits.
        activation: code type of the first operand.
        weight: code type of the second operand.
        bound: no entry exceeds this absolute value. It is that of the exact product, or
            of the entry type where an entry lies beyond, so that tables share it.
        factors: the table as an exact sum of int8 products, for the engines that are fastest
            where it has few of them, or None. `factorized` adds them.
        gradient: how to differentiate it, or None, which is `Gradient.clipped_ste()`.
            `with_gradient` sets it.
        name: for people.
        published: figures that come with the circuit, by their names at their source, for
            example `PDK45_PWR` (mW), `PDK45_AREA` (um2) and `PDK45_DELAY` (ns); often empty.

    >>> from axjax import Multiplier
    >>> mul = Multiplier.from_function(lambda x, w: (x * w) & ~15, 8, name="low nibble cut")
    >>> int(mul.table[255, 255])
    65024
    """

    table: jax.Array
    activation: CodeType
    weight: CodeType
    bound: int
    factors: PackedFactors | None
    gradient: Gradient | None
    name: str
    published: Mapping[str, float]

    def __init__(
        self,
        products: Any,
        *,
        bits: Pair | None = None,
        signed: tuple[bool, bool] | bool = False,
        name: str = "",
        published: Mapping[str, float] | None = None,
    ) -> None:
        """Checks the products and lays them out.

        Args:
            products: integers `(2**activation bits, 2**weight bits)`.
            bits: widths, 2 to 8; taken from the shape by default.
            signed: signedness of the codes, for both operands or (activation, weight).
            name: for people.
            published: figures that come with the circuit, for people too.
        Raises:
            TypeError: if the products are not integers.
            ValueError: if their shape does not fit, or an entry does not fit int32.
        """
        products = np.asarray(products)
        if not np.issubdtype(products.dtype, np.integer):
            raise TypeError(
                f"Multiplier: a product is an integer, got dtype={products.dtype}. "
                "Round or scale the table first."
            )
        if bits is None:
            bits = _bits_of_shape(products.shape)
        activation, weight = (
            CodeType(b, bool(s)) for b, s in zip(_pair(bits), _pair(signed), strict=True)
        )
        expected = (1 << activation.bits, 1 << weight.bits)
        if products.shape != expected:
            raise ValueError(
                f"Multiplier: a table has a row for each activation code and a column for "
                f"each weight code, got shape={products.shape} for {activation} x {weight}. "
                f"Pass an array of shape {expected}."
            )
        low, high = int(products.min()), int(products.max())
        if low < -(2**31) or high >= 2**31:
            raise ValueError(
                f"Multiplier: a product fits int32, got entries from {low} to {high}. "
                "Sums are accumulated in 32 bits, as in the hardware."
            )
        layout = np.ix_(activation.patterns_of_bytes(), weight.patterns_of_bytes())
        table = products[layout].astype(_entry_type(low, high, activation, weight))
        self._set(
            table=table,
            activation=activation,
            weight=weight,
            bound=_bound(max(-low, high), activation.magnitude * weight.magnitude, table.dtype),
            factors=None,
            gradient=None,
            name=str(name),
            published=types.MappingProxyType(dict(published or {})),
        )

    def _set(self, **attributes: Any) -> None:
        for key, value in attributes.items():
            object.__setattr__(self, key, value)

    def __setattr__(self, name: str, value: Any) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    @classmethod
    def exact(cls, bits: Pair = 8, *, signed: tuple[bool, bool] | bool = False) -> Multiplier:
        """The multiplier that makes no error.

        >>> from axjax import Multiplier
        >>> int(Multiplier.exact(8, signed=True).table[0x80, 0x7F])
        -16256
        """
        operands = [
            CodeType(b, bool(s)) for b, s in zip(_pair(bits), _pair(signed), strict=True)
        ]
        name = "exact " + " x ".join(map(str, operands))
        return cls.from_function(lambda x, w: x * w, bits, signed=signed, name=name)

    @classmethod
    def from_function(
        cls,
        function: Callable[[Any, Any], Any],
        bits: Pair = 8,
        *,
        signed: tuple[bool, bool] | bool = False,
        name: str | None = None,
    ) -> Multiplier:
        """Tabulates a Python function of an activation code and a weight code.

        Args:
            function: called once with two int64 arrays that broadcast against each other.
                A function that cannot take arrays is called for every pair of ints.
            bits: widths, 2 to 8, for both operands or (activation, weight).
            signed: signedness, likewise.
            name: the function's own name by default.
        """
        x, w = (
            CodeType(b, bool(s)).values()
            for b, s in zip(_pair(bits), _pair(signed), strict=True)
        )
        products = _tabulate(function, x, w)
        if name is None:
            name = getattr(function, "__name__", "")
        return cls(products, bits=bits, signed=signed, name=name)

    def products(self) -> np.ndarray:
        """The table without repetition: int64 `(2**activation bits, 2**weight bits)`."""
        rows, columns = 1 << self.activation.bits, 1 << self.weight.bits
        return np.asarray(self.table)[:rows, :columns].astype(np.int64)

    def errors(self) -> np.ndarray:
        """Product minus exact product, laid out as `products`."""
        return self.products() - np.multiply.outer(
            self.activation.values(), self.weight.values()
        )

    def metrics(self, weights: Any = None) -> Metrics:
        """Error metrics in EvoApproxLib's definitions: see `axjax.metrics`."""
        from axjax._metrics import metrics

        return metrics(self, weights)

    def factorized(self) -> Multiplier:
        """The multiplier with `factors`, which `axjax.factorize` finds if there are none yet.

        Takes a moment and the package python-flint; `axjax.save` keeps the result. The
        multipliers that ship with axjax have their factors.

        Raises:
            ImportError: without python-flint, which `pip install 'axjax[factor]'` brings.

        >>> from axjax import circuits
        >>> circuits.truncated(8, columns=4).factorized().factors.terms
        8
        """
        if self.factors is not None:
            return self
        from axjax.factorization import PackedFactors, factorize

        return self._with(factors=PackedFactors.of(factorize(self)))

    def with_factors(self, factors: Factors | PackedFactors | None) -> Multiplier:
        """The multiplier with these factors, or with none.

        Without factors, multipliers of equal code types and entry type share compiled
        programs, however much their structure differs.

        Raises:
            ValueError: if they are the factors of another table.
        """
        from axjax.factorization import PackedFactors

        if factors is None:
            return self._with(factors=None)
        if isinstance(factors, PackedFactors):
            factors = factors.factors()
        table = np.asarray(self.table, np.int32)
        wrong = int((np.asarray(factors.table()) != table).sum())
        if wrong:
            raise ValueError(
                f"with_factors: factors multiply to the table, got {wrong} of 65536 entries "
                f"that differ for {self!r}. Pass this table's factors, or use factorized()."
            )
        return self._with(factors=PackedFactors.of(factors))

    def with_gradient(self, gradient: Gradient | None) -> Multiplier:
        """The multiplier, to be differentiated in this way: see `axjax.Gradient`.

        Raises:
            ValueError: for slopes of a multiplier of other code types.

        >>> import axjax
        >>> mul = axjax.load("mul8u_drum4")
        >>> mul.with_gradient(axjax.Gradient.lut_difference(mul)).gradient
        Gradient(terms=(2, 2), clip=True)
        """
        kinds = (self.activation, self.weight)
        if gradient is not None and gradient.types not in (None, kinds):
            x, w = gradient.types
            raise ValueError(
                "with_gradient: slopes are those of a multiplier of the same code types, got "
                f"slopes of {x} x {w} for {self!r}. Make them from this multiplier."
            )
        return self._with(gradient=gradient)

    def _with(self, **attributes: Any) -> Multiplier:
        """A copy with other attributes, unchecked."""
        leaves, structure = self.tree_flatten()
        new = self.tree_unflatten(structure, leaves)
        new._set(**attributes)
        return new

    def renamed(self, name: str) -> Multiplier:
        """The same multiplier under another name."""
        new = object.__new__(type(self))
        new._set(**{**vars(self), "name": name})
        return new

    def transpose(self) -> Multiplier:
        """The multiplier with its operands exchanged."""
        return Multiplier(
            self.products().T,
            bits=(self.weight.bits, self.activation.bits),
            signed=(self.weight.signed, self.activation.signed),
            name=f"{self.name} transposed",
            published=self.published,
        )

    def tree_flatten(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return (self.table, self.factors, self.gradient), (
            self.activation,
            self.weight,
            self.bound,
            _Label(self.name, self.published),
        )

    @classmethod
    def tree_unflatten(
        cls, structure: tuple[Any, ...], children: tuple[Any, ...]
    ) -> Multiplier:
        new = object.__new__(cls)  # children may be tracers: nothing to check
        activation, weight, bound, label = structure
        new._set(
            table=children[0],
            activation=activation,
            weight=weight,
            bound=bound,
            factors=children[1],
            gradient=children[2],
            name=label.text,
            published=label.published,
        )
        return new

    def __repr__(self) -> str:
        return f"Multiplier({self.name!r}, {self.activation} x {self.weight})"


def alike(multipliers: Iterable[Multiplier]) -> list[Multiplier]:
    """The same multipliers as members of one kind, which share every compiled program.

    Tables get one entry type and one bound, factors and slopes equal room; if one multiplier
    has no factors, none has.

    Args:
        multipliers: of equal code types.
    Raises:
        ValueError: if the code types differ, or some gradients are clipped and some not.

    >>> import axjax, jax
    >>> pair = axjax.alike([axjax.load("mul8u_exact"), axjax.load("mul8u_mitchell")])
    >>> jax.tree.structure(pair[0]) == jax.tree.structure(pair[1])
    True
    """
    given = list(multipliers)
    kinds = {(m.activation, m.weight) for m in given}
    if len(kinds) > 1:
        text = ", ".join(sorted(f"{x} x {w}" for x, w in kinds))
        raise ValueError(
            f"alike: multipliers of one kind have equal code types, got {text}. "
            "Group them by their code types first."
        )
    bound = max((m.bound for m in given), default=0)
    entry = np.result_type(*(m.table.dtype for m in given)) if given else None
    factors: list[Any] = [m.factors for m in given]
    if not given or any(f is None for f in factors):
        factors = [None] * len(given)
    else:
        planes = max(f.planes for f in factors)
        capacity = max(f.capacity for f in factors)
        factors = [f.with_room(planes, capacity) for f in factors]
    gradients = _alike_gradients([m.gradient for m in given])
    return [
        m._with(table=m.table.astype(entry), bound=bound, factors=f, gradient=g)
        for m, f, g in zip(given, factors, gradients, strict=True)
    ]


def _alike_gradients(gradients: list[Gradient | None]) -> Sequence[Gradient | None]:
    if all(g is None for g in gradients):
        return gradients
    from axjax._gradient import alike_gradients

    return alike_gradients(gradients)


def _bits_of_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    bits = tuple(size.bit_length() - 1 for size in shape)
    if len(shape) != 2 or any(1 << b != size for b, size in zip(bits, shape, strict=True)):
        raise ValueError(
            f"Multiplier: a table has 2**bits rows and 2**bits columns, got shape={shape}. "
            "Pass a two-dimensional array, 256 x 256 for 8-bit codes."
        )
    return bits[0], bits[1]


def _entry_type(low: int, high: int, activation: CodeType, weight: CodeType) -> type:
    # Both 16-bit types run at one speed; of two that fit, the one that the code types
    # suggest, so that tables of one family have one type and share compiled programs.
    narrow: tuple[type, type] = (np.uint16, np.int16)
    for entry in narrow[::-1] if activation.signed or weight.signed else narrow:
        limits = np.iinfo(entry)
        if limits.min <= low and high <= limits.max:
            return entry
    return np.int32


def _bound(magnitude: int, exact: int, entry: np.dtype) -> int:
    """A bound on entries that differs between tables only where it must."""
    if magnitude <= exact:
        return exact
    if entry == np.int32:
        return 1 << (magnitude - 1).bit_length()
    limits = np.iinfo(entry)
    return max(-limits.min, limits.max)


def _tabulate(function: Callable[[Any, Any], Any], x: np.ndarray, w: np.ndarray) -> np.ndarray:
    shape = (x.size, w.size)
    try:
        products = np.asarray(function(x[:, None], w[None, :]))
        if products.shape == shape:
            return products
    except (TypeError, ValueError):
        pass  # written for numbers: the loop below shows its own error, if it has one
    return np.array([[int(function(int(a), int(b))) for b in w] for a in x])
