// SPDX-License-Identifier: Apache-2.0
// The specification of the operation in C++. Tests compare with it; it never gets fast.
#pragma once
#include <cstdint>

#include "conv_geometry.h"
#include "cpu/workers.h"

namespace axjax {

// out[p, o] = sum over taps and channels of table[input code, kernel code]; sums wrap.
// Entry is uint16_t, int16_t or int32_t.
template <typename Entry>
void LutConvReference(const ConvGeometry& geometry, const uint8_t* lhs,
                      const uint8_t* rhs, const Entry* table, uint8_t pad_code,
                      int32_t* out, Workers& workers);

}  // namespace axjax
