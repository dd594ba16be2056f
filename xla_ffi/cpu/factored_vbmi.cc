// SPDX-License-Identifier: Apache-2.0
// Expansion with AVX-512 VBMI, whose shuffles look 64 bytes up in 128 at a time: a term
// of 64 codes takes two of them and a blend. A term's 256 bytes are four registers, so
// that four terms are taken at a time.
#include <immintrin.h>

#include "cpu/factored_kernels.h"

namespace axjax {
namespace vbmi {
namespace {

constexpr int kTermsTogether = 4;

struct Table {
  __m512i part[4];
};

inline __attribute__((always_inline)) Table LoadTable(const uint8_t* table) {
  Table t;
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) t.part[i] = _mm512_loadu_si512(table + 64 * i);
  return t;
}

// `upper` says which codes are 128 and more.
inline __attribute__((always_inline)) __m512i LookUp(const Table& t, __m512i codes,
                                                     __mmask64 upper) {
  const __m512i low = _mm512_permutex2var_epi8(t.part[0], codes, t.part[1]),
                high = _mm512_permutex2var_epi8(t.part[2], codes, t.part[3]);
  return _mm512_mask_blend_epi8(upper, low, high);
}

constexpr uint64_t LowBits(int64_t count) {
  return count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
}

// The codes of 64 / kWidth positions, behind each other.
template <int kWidth>
inline __attribute__((always_inline)) __m512i LoadCodes(const uint8_t* const* from,
                                                        uint64_t channels) {
  if constexpr (kWidth == 64) {
    return _mm512_maskz_loadu_epi8(channels, from[0]);
  } else if constexpr (kWidth == 32) {
    const __mmask32 mask = static_cast<__mmask32>(channels);
    return _mm512_inserti64x4(
        _mm512_castsi256_si512(_mm256_maskz_loadu_epi8(mask, from[0])),
        _mm256_maskz_loadu_epi8(mask, from[1]), 1);
  } else {
    const __mmask16 mask = static_cast<__mmask16>(channels);
    __m512i codes = _mm512_castsi128_si512(_mm_maskz_loadu_epi8(mask, from[0]));
    codes = _mm512_inserti32x4(codes, _mm_maskz_loadu_epi8(mask, from[1]), 1);
    codes = _mm512_inserti32x4(codes, _mm_maskz_loadu_epi8(mask, from[2]), 2);
    return _mm512_inserti32x4(codes, _mm_maskz_loadu_epi8(mask, from[3]), 3);
  }
}

// From terms of 64 / kWidth positions to lines: exchanges the roles of vectors and of
// their parts.
template <int kWidth>
inline __attribute__((always_inline)) void ToLines(__m512i* v) {
  if constexpr (kWidth == 32) {
    const __m512i a = v[0], b = v[1];
    v[0] = _mm512_shuffle_i64x2(a, b, 0x44);
    v[1] = _mm512_shuffle_i64x2(a, b, 0xee);
  } else if constexpr (kWidth == 16) {
    const __m512i a = _mm512_shuffle_i32x4(v[0], v[1], 0x44),
                  b = _mm512_shuffle_i32x4(v[0], v[1], 0xee),
                  c = _mm512_shuffle_i32x4(v[2], v[3], 0x44),
                  d = _mm512_shuffle_i32x4(v[2], v[3], 0xee);
    v[0] = _mm512_shuffle_i32x4(a, c, 0x88);
    v[1] = _mm512_shuffle_i32x4(a, c, 0xdd);
    v[2] = _mm512_shuffle_i32x4(b, d, 0x88);
    v[3] = _mm512_shuffle_i32x4(b, d, 0xdd);
  }
}

// kTerms terms from `first` on, whole lines of them.
template <int kWidth, int kTerms>
void ExpandTerms(const ExpandCodesArgs& a, int first) {
  constexpr int kTogether = kLineBytes / kWidth;  // positions, and terms of a line
  static_assert(kTerms % kTogether == 0, "whole lines");
  Table tables[kTerms];
#pragma GCC unroll 4
  for (int t = 0; t < kTerms; ++t) {
    // What stands behind the last term counts nothing: the weights are zero there.
    const int term = first + t < a.terms ? first + t : a.terms - 1;
    tables[t] = LoadTable(a.tables + 256 * term);
  }
  const uint64_t channels = LowBits(a.channels);
  uint8_t* to = a.lines + first / kTogether * a.line_stride;
  const uint8_t* codes = a.codes;
  for (int64_t p = 0; p < a.positions; p += kTogether, to += kTogether * kLineBytes) {
    const int64_t left = a.positions - p;
    const uint8_t* from[kTogether];
#pragma GCC unroll 4
    for (int i = 0; i < kTogether; ++i) {
      from[i] = codes;
      if (i + 1 < left) codes += a.code_stride;
    }
    const __m512i x = LoadCodes<kWidth>(from, channels);
    const __mmask64 upper = _mm512_movepi8_mask(x);
#pragma GCC unroll 4
    for (int t = 0; t < kTerms; t += kTogether) {
      __m512i lines[kTogether];
#pragma GCC unroll 4
      for (int i = 0; i < kTogether; ++i) lines[i] = LookUp(tables[t + i], x, upper);
      ToLines<kWidth>(lines);
      uint8_t* const line = to + t / kTogether * a.line_stride;
#pragma GCC unroll 4
      for (int i = 0; i < kTogether; ++i)
        if (i < left) _mm512_storeu_si512(line + i * kLineBytes, lines[i]);
    }
  }
}

template <int kWidth>
void ExpandCodesOf(const ExpandCodesArgs& a) {
  constexpr int kTogether = kLineBytes / kWidth;
  int term = 0;
  for (; term + kTermsTogether <= a.terms; term += kTermsTogether)
    ExpandTerms<kWidth, kTermsTogether>(a, term);
  // The rest in whole lines, and no line more.
  constexpr auto kWhole = [](int terms) {
    return (terms + kTogether - 1) / kTogether * kTogether;
  };
  switch (a.terms - term) {
    case 1:
      return ExpandTerms<kWidth, kWhole(1)>(a, term);
    case 2:
      return ExpandTerms<kWidth, kWhole(2)>(a, term);
    case 3:
      return ExpandTerms<kWidth, kWhole(3)>(a, term);
  }
}

// Four depth positions of 16 outputs, position after position, become outputs of four.
inline __m512i ToFours(__m512i codes) {
  alignas(64) static constexpr uint8_t kOrder[64] = {
      0,  16, 32, 48, 1,  17, 33, 49, 2,  18, 34, 50, 3,  19, 35, 51,
      4,  20, 36, 52, 5,  21, 37, 53, 6,  22, 38, 54, 7,  23, 39, 55,
      8,  24, 40, 56, 9,  25, 41, 57, 10, 26, 42, 58, 11, 27, 43, 59,
      12, 28, 44, 60, 13, 29, 45, 61, 14, 30, 46, 62, 15, 31, 47, 63};
  return _mm512_permutexvar_epi8(_mm512_load_si512(kOrder), codes);
}

// Up to four depth positions of up to 16 outputs, as ToFours orders them.
inline __attribute__((always_inline)) __m512i LoadFours(const uint8_t* codes,
                                                        int64_t stride, int64_t depth,
                                                        int outputs) {
  const __mmask16 mask = static_cast<__mmask16>(LowBits(outputs));
  const auto load = [&](int i) {
    return _mm_maskz_loadu_epi8(i < depth ? mask : __mmask16{0},
                                codes + (i < depth ? i * stride : 0));
  };
  __m512i rows = _mm512_zextsi128_si512(load(0));
  rows = _mm512_inserti32x4(rows, load(1), 1);
  rows = _mm512_inserti32x4(rows, load(2), 2);
  return ToFours(_mm512_inserti32x4(rows, load(3), 3));
}

// Which of their bytes are there.
inline __mmask64 Fours(int64_t depth, int outputs) {
  const uint64_t of_output = depth > 3 ? 15 : depth > 0 ? LowBits(depth) : 0;
  return LowBits(4 * outputs) & of_output * 0x1111111111111111;
}

}  // namespace

void ExpandCodes(const ExpandCodesArgs& a) {
  if (a.terms == 0) return;
  switch (a.width) {
    case 16:
      return ExpandCodesOf<16>(a);
    case 32:
      return ExpandCodesOf<32>(a);
    default:
      return ExpandCodesOf<64>(a);
  }
}

void ExpandWeights(const ExpandWeightsArgs& a) {
  const int fours = a.width / 4;  // of a term
  __m512i codes[kLineBytes / 4];
  for (int i = 0; i < fours; ++i)
    codes[i] = LoadFours(a.codes + 4 * i * a.code_stride, a.code_stride,
                         a.channels - 4 * i, a.outputs);
  const int rooms = (a.terms * a.width + kLineBytes - 1) / kLineBytes * kLineBytes /
                    a.width;  // for terms, in whole lines
  for (int term = 0; term < rooms; ++term) {
    const int byte = term * a.width;
    uint8_t* const to =
        a.tiles + byte / kLineBytes * a.tile_stride + byte % kLineBytes * kTileOutputs;
    if (term >= a.terms) {
      for (int i = 0; i < fours; ++i)
        _mm512_storeu_si512(to + i * 64, _mm512_setzero_si512());
      continue;
    }
    const Table table = LoadTable(a.tables + 256 * term);
    for (int i = 0; i < fours; ++i) {
      const __m512i v = LookUp(table, codes[i], _mm512_movepi8_mask(codes[i]));
      _mm512_storeu_si512(
          to + i * 64, _mm512_maskz_mov_epi8(Fours(a.channels - 4 * i, a.outputs), v));
    }
  }
}

// Byte by byte of the values: one multiply-add sums the four bytes of every output.
// What they have in common is taken out first, so that few of their bytes are not zero.
void SumWeights(const SumWeightsArgs& a) {
  int32_t least = a.values[0];
  for (int i = 1; i < 256; ++i) least = a.values[i] < least ? a.values[i] : least;
  alignas(64) uint8_t bytes[4][256];
  int count = 0;  // of bytes that some value has
  for (int i = 0; i < 256; ++i) {
    const uint32_t rest =
        static_cast<uint32_t>(a.values[i]) - static_cast<uint32_t>(least);
    for (int b = 0; b < 4; ++b) {
      bytes[b][i] = static_cast<uint8_t>(rest >> (8 * b));
      if (bytes[b][i] != 0 && count <= b) count = b + 1;
    }
  }
  const __m512i ones = _mm512_set1_epi8(1);
  __m512i total = _mm512_set1_epi32(
      static_cast<int>(static_cast<uint32_t>(least) * static_cast<uint32_t>(a.depth)));
  for (int b = 0; b < count; ++b) {
    const Table table = LoadTable(bytes[b]);
    __m512i sums = _mm512_setzero_si512();
    for (int64_t k = 0; k < a.depth; k += 4) {
      const __m512i codes =
          LoadFours(a.codes + k * a.code_stride, a.code_stride, a.depth - k, a.outputs);
      const __m512i v = LookUp(table, codes, _mm512_movepi8_mask(codes));
      sums = _mm512_dpbusd_epi32(
          sums, _mm512_maskz_mov_epi8(Fours(a.depth - k, a.outputs), v), ones);
    }
    total = _mm512_add_epi32(total, _mm512_sll_epi32(sums, _mm_cvtsi32_si128(8 * b)));
  }
  const __mmask16 mask = static_cast<__mmask16>(LowBits(a.outputs));
  const __m512i sums = _mm512_maskz_loadu_epi32(mask, a.sums);
  _mm512_mask_storeu_epi32(a.sums, mask, _mm512_add_epi32(sums, total));
}

}  // namespace vbmi
}  // namespace axjax
