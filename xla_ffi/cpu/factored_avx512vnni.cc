// SPDX-License-Identifier: Apache-2.0
// Multiply on AVX-512 VNNI: 64 multiply-adds an instruction.
#include <immintrin.h>

#include "cpu/factored_kernels.h"

namespace axjax {
namespace avx512vnni {
namespace {

using Vector = __m512i;
constexpr int kVectorBytes = 64;
constexpr int kRows = 8;  // 16 sums: an instruction takes five cycles, two start in one

inline Vector Load(const void* from) { return _mm512_loadu_si512(from); }
inline void Store(void* to, Vector v) { _mm512_storeu_si512(to, v); }
inline Vector Splat(const uint8_t* four) {
  int word;
  __builtin_memcpy(&word, four, 4);
  return _mm512_set1_epi32(word);
}
inline Vector Dot(Vector sum, Vector codes, Vector weights) {
  return _mm512_dpbusd_epi32(sum, codes, weights);
}

}  // namespace

#include "cpu/factored_vnni.inc"

}  // namespace avx512vnni
}  // namespace axjax
