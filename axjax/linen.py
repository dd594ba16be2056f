# SPDX-License-Identifier: Apache-2.0
"""flax.linen's layers on approximate hardware.

Constructors, parameters, names and initial values are Flax's own, so that a checkpoint loads
unchanged. What axjax adds is keyword-only: `multiplier`, `quantization` and `engine`.

With `Quantization(lhs=MovingAverage())` a layer keeps the range of its activations in the
collection "quantization", under `activation_range`: `low` and `high`, float32 scalars. `init`
sets it from its batch, `apply` moves it where the collection is mutable, and otherwise it stays
as it is. A batch with NaN or infinite values leaves it: NaN makes that batch's result NaN,
infinities saturate.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from axjax._attention import AttentionProduct, attention_product
from axjax._callers_function import keywords_of
from axjax._conv import conv_general_dilated
from axjax._dot import dot_general
from axjax._multiplier import Multiplier
from axjax._quantization import GivenRange, MovingAverage, Quantization
from axjax.emulation import Rule, emulate

__all__ = ["Conv", "ConvTranspose", "Dense", "DenseGeneral", "MultiHeadDotProductAttention"]


# The names of these classes are part of users' parameter trees: linen numbers layers by them.
class Conv(nn.Conv, kw_only=True):
    """`flax.linen.Conv`, its products taken from a multiplier's table.

    Attributes:
        multiplier: the approximate multiplier. None is exactly Flax's layer.
        quantization: how inputs and kernel become codes, `Quantization()` by default.
        engine: "auto", or a name from `axjax.ENGINES`.

    A `conv_general_dilated` (other than lax's) or `conv_general_dilated_cls` of the caller's
    goes before them.

    >>> import axjax, jax, jax.numpy as jnp
    >>> from axjax import linen
    >>> layer = linen.Conv(8, (3, 3), multiplier=axjax.load("mul8u_trunc4"))
    >>> variables = layer.init(jax.random.key(0), jnp.ones((1, 5, 5, 3)))
    >>> layer.apply(variables, jnp.ones((2, 5, 5, 3))).shape
    (2, 5, 5, 8)
    """

    multiplier: Multiplier | None = None
    quantization: Quantization | None = None
    engine: str = "auto"

    def __post_init__(self) -> None:
        bound = keywords_of(lax.conv_general_dilated, self.conv_general_dilated)
        self.conv_general_dilated_cls = _operation(
            self, self.conv_general_dilated_cls, conv_general_dilated, bound
        )
        super().__post_init__()


class Dense(nn.Dense, kw_only=True):
    """`flax.linen.Dense`, its products taken from a multiplier's table.

    Attributes:
        multiplier: the approximate multiplier. None is exactly Flax's layer.
        quantization: how inputs and kernel become codes, `Quantization()` by default.
        engine: "auto", or a name from `axjax.ENGINES`.

    A `dot_general` (other than lax's) or `dot_general_cls` of the caller's goes before them.
    """

    multiplier: Multiplier | None = None
    quantization: Quantization | None = None
    engine: str = "auto"

    def __post_init__(self) -> None:
        self.dot_general_cls = _product(self, self.dot_general, self.dot_general_cls)
        super().__post_init__()


class DenseGeneral(nn.DenseGeneral, kw_only=True):
    """`flax.linen.DenseGeneral`, its products taken from a multiplier's table.

    Attributes:
        multiplier, quantization, engine: as in `Dense`.
    """

    multiplier: Multiplier | None = None
    quantization: Quantization | None = None
    engine: str = "auto"

    def __post_init__(self) -> None:
        self.dot_general_cls = _product(self, self.dot_general, self.dot_general_cls)
        super().__post_init__()


class ConvTranspose(nn.ConvTranspose, kw_only=True):
    """`flax.linen.ConvTranspose`, its products taken from a multiplier's table.

    The zeros between pixels go through the table, as in hardware: (7) of docs/arithmetic.md.

    Attributes:
        multiplier, quantization, engine: as in `Conv`.
    """

    multiplier: Multiplier | None = None
    quantization: Quantization | None = None
    engine: str = "auto"

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """As Flax's layer."""
        quantization = _frozen(self.quantization, inputs)
        if self.multiplier is None or self.is_initializing():
            return super().__call__(inputs)
        # Flax's layer calls lax by its name: what it computes is a function to emulate.
        fields = (field.name for field in dataclasses.fields(nn.ConvTranspose) if field.init)
        given = {name: getattr(self, name) for name in fields if name not in ("parent", "name")}
        layer = nn.ConvTranspose(**given, parent=None)
        rules = [Rule(".*", self.multiplier, quantization, self.engine)]
        apply = lambda params, inputs: layer.apply({"params": params}, inputs)
        names = ("kernel", "bias") if self.use_bias else ("kernel",)
        params: Any = {name: self.get_variable("params", name) for name in names}
        return emulate(apply, rules)(params, inputs)


class MultiHeadDotProductAttention(nn.MultiHeadDotProductAttention, kw_only=True):
    """`flax.linen.MultiHeadDotProductAttention`, all its products taken from a table.

    Queries, keys, values and the output are products with weights; scores, and values weighted
    by them, are products of two activations. With a `MovingAverage` the latter are quantised
    by the range of the batch at hand. (`axjax.calibrate` finds ranges for both operands.)

    Attributes:
        multiplier, quantization, engine: as in `Dense`.

    An `attention_fn` of the caller's runs as it is. `precision` is left at None.
    """

    multiplier: Multiplier | None = None
    quantization: Quantization | None = None
    engine: str = "auto"

    def __post_init__(self) -> None:
        for side in ("qkv", "out"):
            given = (getattr(self, f"{side}_{name}") for name in _PRODUCT_FIELDS)
            setattr(self, f"{side}_dot_general_cls", _product(self, *given))
        for field in ("qk_attn_weights_einsum_cls", "attn_weights_value_einsum_cls"):
            given = getattr(self, field)
            if given is None or isinstance(given, AttentionProduct):
                setattr(self, field, attention_product(self))
        super().__post_init__()


_PRODUCT_FIELDS = ("dot_general", "dot_general_cls")


def _product(layer: Any, function: Any, factory: Any) -> Any:
    return _operation(layer, factory, dot_general, keywords_of(lax.dot_general, function))


def _frozen(quantization: Quantization | None, inputs: jax.Array) -> Quantization | None:
    """The quantisation of this batch, whose moving range the layer keeps if there is one."""
    if quantization is None or not isinstance(quantization.lhs, MovingAverage):
        return quantization
    ranges = ActivationRange(quantization.lhs, name="activation_range")
    return dataclasses.replace(quantization, lhs=ranges.quantizer(inputs))


def _operation(
    layer: Any, given: Any, function: Callable[..., Any], bound: dict[str, Any] | None
) -> Any:
    """The `..._cls` field of a layer: the caller's, or what gives the emulated operation."""
    if given is not None and not isinstance(given, _Emulation):
        return given
    if layer.multiplier is None or bound is None:
        return None
    keywords = tuple(sorted(bound.items()))
    return _Emulation(function, keywords, layer.multiplier, layer.quantization, layer.engine)


@dataclasses.dataclass(frozen=True)
class _Emulation:
    """Gives the emulated operation. Flax calls it in the scope of the layer.

    A type of its own tells it from the caller's functions when a layer is cloned. It compares
    by value, as layers do: `nn.jit` compiles again for every layer that differs.
    """

    function: Callable[..., Any]
    keywords: tuple[tuple[str, Any], ...]
    multiplier: Multiplier
    quantization: Quantization | None
    engine: str

    def __call__(self) -> Callable[..., Any]:
        emulated = functools.partial(
            self.function,
            **dict(self.keywords),
            multiplier=self.multiplier,
            engine=self.engine,
        )

        def with_range(lhs: jax.Array, *args: Any, **kwargs: Any) -> jax.Array:
            return emulated(lhs, *args, quantization=_frozen(self.quantization, lhs), **kwargs)

        return with_range


class ActivationRange(nn.Module):
    """The moving range of one layer's activations, in the collection "quantization"."""

    average: MovingAverage

    # Not `__call__`, which `capture_intermediates` would record as a layer of the network.
    @nn.compact
    def quantizer(self, inputs: jax.Array) -> GivenRange:
        """The quantizer for this batch, after it has moved the range."""
        mutable = self.is_mutable_collection("quantization")
        known = self.has_variable("quantization", "low")
        if not mutable and not known:
            path = "/".join(self.path[:-1])
            raise ValueError(
                "ActivationRange: a layer with a moving average needs the collection "
                f"'quantization', got variables without it for {path!r}. Pass what init "
                "returned, or apply with mutable=['quantization'] on a batch first."
            )
        unset = functools.partial(jnp.full, (), jnp.nan, jnp.float32)
        low = self.variable("quantization", "low", unset)
        high = self.variable("quantization", "high", unset)
        if mutable and not (known and self.is_initializing()):  # a layer may run twice in init
            low.value, high.value = self.average.update(low.value, high.value, inputs)
        return self.average.freeze(low.value, high.value)
