# SPDX-License-Identifier: Apache-2.0
"""One convolution on approximate hardware, for the tests of several devices."""

import axjax

MUL = axjax.load("mul8s_trunc4")
FIXED = axjax.Quantization(lhs=axjax.GivenRange(-3.0, 3.0))


def conv(x, w, multiplier=MUL, quantization=FIXED, groups=1):
    return axjax.conv_general_dilated(
        x,
        w,
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
        multiplier=multiplier,
        quantization=quantization,
    )
