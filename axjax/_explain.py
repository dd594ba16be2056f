# SPDX-License-Identifier: Apache-2.0
"""explain: which engine an operation runs on, and why."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax

from axjax import _ffi, engines
from axjax._geometry import (
    ConvGeometry,
    Padding,
    canonical_geometry,
    canonical_lhs_shape,
    canonical_rhs_shape,
)
from axjax._multiplier import Multiplier


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Which engine `engine="auto"` takes for one operation. Prints as text.

    Attributes:
        engine: its name.
        platform: for which.
        products: look-ups that the operation emulates.
        terms: int8 products that replace a look-up in the factored form, in whole words of
            four; None for a multiplier without factors.
        seconds: estimates for the engines of a GPU that were compared; empty elsewhere, where
            there is one engine to take.
        reason: in words.
    """

    engine: str
    platform: str
    products: int
    terms: int | None
    seconds: dict[str, float]
    reason: str

    def __str__(self) -> str:
        lines = [
            f"engine {self.engine} on {self.platform}: {self.reason}",
            f"  {self.products:,} products"
            + ("" if self.terms is None else f", {self.terms} int8 terms each"),
        ]
        for name, seconds in sorted(self.seconds.items(), key=lambda item: item[1]):
            lines.append(f"  {name:<18} about {seconds * 1e3:.3f} ms on an H100")
        return "\n".join(lines)


def explain(
    multiplier: Multiplier,
    shape: Sequence[int],
    rhs_shape: Sequence[int] | None = None,
    window_strides: Sequence[int] | int = 1,
    padding: Padding = "VALID",
    *,
    lhs_dilation: Sequence[int] | int | None = None,
    rhs_dilation: Sequence[int] | int | None = None,
    feature_group_count: int = 1,
    platform: str | None = None,
) -> Explanation:
    """Tells which engine `engine="auto"` runs for an operation, and why.

    Args:
        multiplier: the table, and its factors if it has them.
        shape: of a convolution's input, `(N, *spatial, C)`; or, without `rhs_shape`, the sizes
            `(M, K, N)` of a matrix product.
        rhs_shape: of the kernel, `(*window, C / feature_group_count, O)`.
        window_strides, padding, lhs_dilation, rhs_dilation, feature_group_count: as in
            `axjax.lut_conv`.
        platform: "cpu", "cuda", "tpu", ...; by default that of JAX's default device.
    Raises:
        ValueError: for shapes that make no convolution.

    >>> import axjax
    >>> mul = axjax.load("mul8u_trunc4")
    >>> axjax.explain(mul, (65536, 1152, 128), platform="cpu").engine
    'cpu_factored'
    """
    kernel: tuple[int, ...]
    shape = tuple(int(size) for size in shape)
    if rhs_shape is None:
        if len(shape) != 3:
            raise ValueError(
                "explain: without rhs_shape the shape is that of a matrix product, (M, K, N), "
                f"got shape={shape}. Pass three sizes, or the kernel's shape as well."
            )
        m, k, n = shape
        shape, kernel, geometry = (m, k), (k, n), ConvGeometry()
    else:
        kernel = tuple(int(size) for size in rhs_shape)
        geometry = canonical_geometry(
            "explain",
            shape,
            kernel,
            window_strides=window_strides,
            padding=padding,
            lhs_dilation=lhs_dilation,
            rhs_dilation=rhs_dilation,
            feature_group_count=feature_group_count,
        )
    canonical = canonical_lhs_shape(shape), canonical_rhs_shape(kernel)
    work = engines.work_of(*canonical, geometry, multiplier.factors)
    if platform is None:
        platform = _default_platform()
    engine = engines.choose(platform, work)
    seconds = {}
    if engine.startswith("cuda"):
        seconds = engines.gpu_seconds(work, int8_tensor_cores=_ffi.has_int8_tensor_cores())
    return Explanation(
        engine=engine,
        platform=platform,
        products=work.products,
        terms=work.terms,
        seconds=seconds,
        reason=_reason(engine, platform, multiplier, work, set(seconds)),
    )


_FEW_TERMS = (
    " With factors (multiplier.factorized()) of a few terms it may be several times faster."
)


def _default_platform() -> str:
    device = jax.config.jax_default_device or jax.devices()[0]  # type: ignore[attr-defined]
    platform = device if isinstance(device, str) else device.platform
    return "cuda" if platform in ("gpu", "cuda") else platform


def _reason(
    engine: str, platform: str, multiplier: Multiplier, work: engines.Work, compared: set[str]
) -> str:
    if engine == "cpu":
        advice = "" if multiplier.factors else _FEW_TERMS
        return "the native CPU engine runs any table at one speed." + advice
    if engine == "cpu_factored":
        units = _ffi.instruction_set()
        assert work.terms is not None
        form = _ffi.cpu_form_of_factors(
            pixels=work.pixels,
            depth=work.depth,
            channels=work.channels,
            outputs=work.outputs,
            groups=work.groups,
            terms=work.terms,
        )
        if form == "products":
            return f"int8 products on this machine ({units}), faster than rows of the table."
        return (
            f"on this machine ({units}) rows of the table, which it multiplies out, are "
            "faster than int8 products."
        )
    if engine == "xla":
        return (
            f"a gather in plain JAX, since axjax has no native code for {platform} here. "
            "With factors (multiplier.factorized()) it would be matrix products."
        )
    if engine == "xla_factored":
        return (
            f"matrix products in plain JAX, since axjax has no native code for {platform} here."
        )
    if len(compared) > 1:
        return "the least estimated time."
    if multiplier.factors is None:
        return (
            "the multiplier has no factors. With them (multiplier.factorized()) tensor cores "
            "may run it, up to 40 times faster."
        )
    return "the GPU has no int8 tensor cores (compute capability 8.0)."
