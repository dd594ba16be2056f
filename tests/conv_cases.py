# SPDX-License-Identifier: Apache-2.0
"""Convolutions of every shape class, and random codes and tables for them."""

import dataclasses

import numpy as np

from axjax import Factors, Multiplier


@dataclasses.dataclass(frozen=True)
class Case:
    """Arguments of `axjax.lut_conv`, without the codes."""

    lhs: tuple[int, ...]
    rhs: tuple[int, ...]
    options: dict


def case(lhs, rhs, **options):
    return Case(lhs, rhs, {"window_strides": 1, "padding": "VALID"} | options)


CASES = {
    "1x1": case((3, 5, 7, 16), (1, 1, 16, 10)),
    "3x3 same": case((2, 9, 8, 5), (3, 3, 5, 7), padding="SAME"),
    "3x3 same lower, stride 2": case(
        (2, 9, 8, 3), (3, 3, 3, 17), padding="SAME_LOWER", window_strides=2
    ),
    "7x7 stem": case((1, 15, 14, 3), (7, 7, 3, 8), padding="SAME", window_strides=2),
    "kernel covers the image": case((4, 3, 4, 6), (3, 4, 6, 9)),
    "stride beyond the kernel": case((2, 11, 12, 4), (2, 1, 4, 5), window_strides=(5, 3)),
    "asymmetric padding": case((1, 6, 5, 3), (3, 2, 3, 4), padding=[(4, 0), (0, 3)]),
    "cropping": case((2, 9, 8, 3), (2, 3, 3, 4), padding=[(-2, 1), (2, -3)]),
    "all padding": case((1, 2, 2, 3), (2, 2, 3, 4), padding=[(5, 5), (-2, 5)]),
    "kernel dilation": case((2, 11, 9, 4), (3, 3, 4, 6), rhs_dilation=(2, 3), padding="SAME"),
    "input dilation": case(
        (2, 5, 4, 4), (3, 3, 4, 6), lhs_dilation=(2, 3), padding=[(2, 1)] * 2
    ),
    "input dilation, cropping": case(
        (1, 5, 4, 2),
        (2, 3, 2, 3),
        lhs_dilation=(3, 2),
        padding=[(-1, 2), (1, -2)],
        window_strides=(2, 1),
        rhs_dilation=(2, 1),
    ),
    "groups": case((2, 6, 6, 12), (3, 3, 4, 9), feature_group_count=3, padding="SAME"),
    "depthwise": case((2, 7, 6, 19), (3, 3, 1, 19), feature_group_count=19, padding="SAME"),
    "depthwise, two outputs a channel": case(
        (2, 7, 6, 5), (3, 3, 1, 10), feature_group_count=5, window_strides=2
    ),
    "1-D": case((3, 17, 6), (5, 6, 11), padding="SAME", window_strides=3),
    "3-D": case((2, 4, 5, 6, 3), (2, 3, 2, 3, 5), padding="SAME", window_strides=(1, 2, 1)),
    "deep": case((1, 4, 4, 131), (3, 3, 131, 33)),
    "wide": case((1, 3, 3, 20), (2, 2, 20, 150)),
    "many pixels": case((2, 40, 41, 3), (3, 3, 3, 5), padding="SAME"),
    "one image without batch": case((6, 5, 3), (3, 3, 3, 4)),
    "two batch dimensions": case((2, 3, 6, 5, 3), (3, 3, 3, 4)),
    "empty batch": case((0, 6, 5, 3), (3, 3, 3, 4)),
    "no output pixel": case((2, 2, 5, 3), (3, 3, 3, 4)),
    "no channel": case((2, 4, 4, 0), (3, 3, 0, 4)),
    "no output channel": case((2, 4, 4, 3), (3, 3, 3, 0)),
}

ENTRIES = {"uint16": (0, 2**16), "int16": (-(2**15), 2**15), "int32": (-(2**20), 2**20)}
"""Ranges of random entries; 2**20 leaves room for depths up to 2047."""


def random_multiplier(rng, entries="uint16", signed=False):
    low, high = ENTRIES[entries]
    products = rng.integers(low, high, (256, 256))
    products[0, 0] = products[products != 0].flat[0]  # a product of zeros that is not zero
    return Multiplier(products, signed=signed, name=f"random {entries}")


def random_codes(rng, shape, signed=False):
    return rng.integers(0, 256, shape, dtype=np.uint8).view(np.int8 if signed else np.uint8)


PLANE_TERMS = {"1 term": (1,), "13 terms": (13,), "two planes": (6, 3), "empty plane": (0, 2)}
"""Numbers of terms of random factors, lowest plane first."""


def random_factored(rng, plane_terms="13 terms", signed=False):
    """A multiplier with random factors over the whole int8 range; entries stay below 2**21."""
    counts = PLANE_TERMS[plane_terms]
    stride = -(-max(counts) // 4) * 4
    u, v = rng.integers(-128, 128, (2, len(counts), 256, stride), dtype=np.int8)
    for plane, terms in enumerate(counts):
        u[plane, :, terms:] = v[plane, :, terms:] = 0
    v[1:] //= 16  # times 256
    u[1:] //= 16
    alpha, beta = rng.integers(-(2**15), 2**15, (2, 256), dtype=np.int32)
    factors = Factors(u, v, alpha, beta, counts, alpha_is_zero=False)
    return Multiplier(factors.table(), signed=signed, name="factored").with_factors(factors)
