// SPDX-License-Identifier: Apache-2.0
// What the CPU engine is compared with: the loops of published CPU emulators, written
// anew. benchmarks/cpu_engine.py compiles this file, for this machine, and calls it.
//
// Both take a matrix of patches (im2col), rows of `depth` activation codes, and a
// kernel of `outputs` rows of `depth` weight codes:
//
//   out[p * outputs + o] = sum_k table[patches[p * depth + k] * 256 + kernel[o * depth
//   + k]]
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

// One look-up after the other, as in TFApprox's CPU kernel and AdaPT's C++ loop.
int32_t ScalarSum(const uint8_t* x, const uint8_t* w, const int32_t* table,
                  int64_t depth) {
  int32_t sum = 0;
  for (int64_t k = 0; k < depth; ++k) sum += table[x[k] << 8 | w[k]];
  return sum;
}

#if defined(__x86_64__)
// Eight depth positions at a time by a gather, as AdaPT's paper describes (Danopoulos
// et al., IEEE TCAD 2022).
__attribute__((target("avx2"))) int32_t GatherSum(const uint8_t* x, const uint8_t* w,
                                                  const int32_t* table, int64_t depth) {
  __m256i sums = _mm256_setzero_si256();
  int64_t k = 0;
  for (; k + 8 <= depth; k += 8) {
    const __m256i rows =
        _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(x + k)));
    const __m256i columns =
        _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(w + k)));
    const __m256i index = _mm256_or_si256(_mm256_slli_epi32(rows, 8), columns);
    sums = _mm256_add_epi32(sums, _mm256_i32gather_epi32(table, index, 4));
  }
  int32_t parts[8], sum = 0;
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(parts), sums);
  for (int32_t part : parts) sum += part;
  return sum + ScalarSum(x + k, w + k, table, depth - k);
}
#endif

template <class Sum>
void ForEachOutput(Sum sum, const uint8_t* patches, const uint8_t* kernel,
                   const int32_t* table, int64_t first, int64_t last, int64_t depth,
                   int64_t outputs, int32_t* out) {
  for (int64_t p = first; p < last; ++p)
    for (int64_t o = 0; o < outputs; ++o)
      out[p * outputs + o] = sum(patches + p * depth, kernel + o * depth, table, depth);
}

}  // namespace

// Rows [first, last) of the patches, so that threads can share the work.
extern "C" void scalar_loop(const uint8_t* patches, const uint8_t* kernel,
                            const int32_t* table, int64_t first, int64_t last,
                            int64_t depth, int64_t outputs, int32_t* out) {
  ForEachOutput(ScalarSum, patches, kernel, table, first, last, depth, outputs, out);
}

extern "C" int has_avx2() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2");
#else
  return 0;
#endif
}

extern "C" void avx2_gather(const uint8_t* patches, const uint8_t* kernel,
                            const int32_t* table, int64_t first, int64_t last,
                            int64_t depth, int64_t outputs, int32_t* out) {
#if defined(__x86_64__)
  ForEachOutput(GatherSum, patches, kernel, table, first, last, depth, outputs, out);
#endif
}
