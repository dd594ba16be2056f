// SPDX-License-Identifier: Apache-2.0
// Multiply on AVX-VNNI: 32 multiply-adds an instruction, on machines without AVX-512.
#include <immintrin.h>

#include "cpu/factored_kernels.h"

namespace axjax {
namespace avx2vnni {
namespace {

using Vector = __m256i;
constexpr int kVectorBytes = 32;
constexpr int kRows = 6;  // 12 sums, two vectors of weights and one of codes

inline Vector Load(const void* from) {
  return _mm256_loadu_si256(static_cast<const Vector*>(from));
}
inline void Store(void* to, Vector v) {
  _mm256_storeu_si256(static_cast<Vector*>(to), v);
}
inline Vector Splat(const uint8_t* four) {
  int word;
  __builtin_memcpy(&word, four, 4);
  return _mm256_set1_epi32(word);
}
inline Vector Dot(Vector sum, Vector codes, Vector weights) {
  return _mm256_dpbusd_avx_epi32(sum, codes, weights);
}

}  // namespace

#include "cpu/factored_vnni.inc"

}  // namespace avx2vnni
}  // namespace axjax
