// SPDX-License-Identifier: Apache-2.0
// A table as a sum of products of int8 vectors, as axjax.PackedFactors has it:
//
//   table[x, w] = beta[w] + sum over planes d of 256^d * sum over terms r of
//                 u[d, x, r] * v[d, w, r],
//
// modulo 2^32: (1) of docs/factorization.md.
#pragma once
#include <cstdint>

namespace axjax {

constexpr int kMaxPlanes = 4;  // a fifth would be shifted out of 32 bits
constexpr int kMaxTerms = 512;

// How many terms there are is data, too: one compiled program serves tables of any
// number. All arrays are where the engine computes, on the GPU for CUDA.
struct TableFactors {
  int planes;       // 1 to kMaxPlanes
  int stride;       // terms of a plane that there is room for, multiple of 4
  const int8_t* u;  // (planes, 256, stride), rows are activation codes
  const int8_t* v;  // (planes, 256, stride), rows are weight codes
  const int32_t*
      words;            // (planes,), groups of 4 terms; what lies beyond counts nothing
  const int32_t* beta;  // (256,); CUDA also takes nullptr, for zeros
};

}  // namespace axjax
