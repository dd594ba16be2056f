// SPDX-License-Identifier: Apache-2.0
// What zero points add to the sums of products, (6) of docs/arithmetic.md.
#pragma once
#include <cstdint>

#include "conv_geometry.h"
#include "cpu/workers.h"

namespace axjax {

struct ZeroPoints {
  int32_t lhs;
  const int32_t* rhs;  // one, or one for each output channel
  bool one_rhs;
};

// out[p, o] = sums[p, o] - rhs_zero[o] X[p] - lhs_zero W[o] + depth lhs_zero
// rhs_zero[o], rounded to float32 once, where X is the sum of the codes that an output
// reads, padding counted as lhs_zero, and W that of its kernel's codes. Each term wraps
// in 32 bits, their sum does not.
//
// Memory: 4 bytes for each position and group of the input.
void CorrectSums(const ConvGeometry& g, const int32_t* sums, const uint8_t* lhs,
                 bool lhs_signed, const uint8_t* rhs, bool rhs_signed,
                 const ZeroPoints& zero, float* out, Workers& workers);

}  // namespace axjax
