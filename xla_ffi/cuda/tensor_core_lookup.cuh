// SPDX-License-Identifier: Apache-2.0
// The look-up that turns activation codes into tensor-core operands.
//
// Thread (g, t) = (lane / 4, lane % 4) of a warp holds rows g and g + 8 of a 16-row
// operand. Of a row's chunk of 32 codes it owns 4t..4t+3 and 16+4t..16+4t+3, and
// fetches all words of a code itself: the order of the depth is ours to choose, the
// expanded weights follow it (ExpandedWord below). Every lane thus reads an address of
// its own, and to keep the 32 banks free of conflicts each code's block is repeated to
// fill 128 bytes: 32 copies of a single, 16 of a pair, 8 of a quad, which a warp reads
// in one, two or four rounds of 128 bytes. So a block costs 32 KB, and one look-up
// instruction feeds up to 16 bytes of operand.
#pragma once
#include <cstdint>

#include "cuda/tensor_core_plan.h"

namespace axjax {

// Which code of the chunk (0 to 31) and which word of the block stands at 16-byte
// column `i` (0 to 7), word `t` (0 to 3), of a unit's rows.
struct ExpandedWord {
  int code;
  int word;
};
__host__ __device__ inline ExpandedWord WordAt(int width, int unit, int i, int t) {
  const int linear = 8 * unit + i, own = linear / width;
  return {16 * (own >> 2) + 4 * t + (own & 3), linear % width};
}

// The four terms of word `word` of `code`.
__device__ inline uint32_t LoadWord(const int8_t* factors, int stride, int code,
                                    int word) {
  return reinterpret_cast<const uint32_t*>(factors + int64_t{code} * stride)[word];
}

// Writes a block's repeated table; `thread` of `threads` does its share.
__device__ inline void FillLookup(uint4* table, const int8_t* u, int stride,
                                  int first_word, int width, int thread, int threads) {
  for (int i = thread; i < kLookupBytes / 16; i += threads) {
    const int code = i / 8;
    uint32_t w[4];
    for (int j = 0; j < 4; ++j)
      w[j] = LoadWord(u, stride, code, first_word + j % width);
    table[i] = make_uint4(w[0], w[1], w[2], w[3]);
  }
}

// Shared address of a lane's copy in the block's table at `table`.
template <int kWidth>
__device__ inline uint32_t LaneTable(uint32_t table, int lane) {
  return table + lane % (32 / kWidth) * (4 * kWidth);
}

// The eight words that one row contributes to a unit. `low` and `high` are the codes
// that this thread owns, four in each half of the chunk.
template <int kWidth>
__device__ inline void Lookup(uint32_t lane_table, uint32_t low, uint32_t high,
                              int unit, uint32_t (&words)[8]) {
  const auto address = [&](uint32_t codes, int i) {
    return lane_table + __byte_perm(codes, 0, 0x4440 + i) * 128;  // byte i
  };
  if constexpr (kWidth == 1) {
#pragma unroll
    for (int i = 0; i < 8; ++i)
      asm volatile("ld.shared.u32 %0, [%1];"
                   : "=r"(words[i])
                   : "r"(address(i < 4 ? low : high, i % 4)));
  } else if constexpr (kWidth == 2) {
    const uint32_t codes = unit == 0 ? low : high;
#pragma unroll
    for (int i = 0; i < 4; ++i)
      asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];"
                   : "=r"(words[2 * i]), "=r"(words[2 * i + 1])
                   : "r"(address(codes, i)));
  } else {
    static_assert(kWidth == 4, "a block is 1, 2 or 4 words wide");
    const uint32_t codes = (unit < 2 ? low : high) >> (16 * (unit & 1));
#pragma unroll
    for (int i = 0; i < 2; ++i)
      asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                   : "=r"(words[4 * i]), "=r"(words[4 * i + 1]), "=r"(words[4 * i + 2]),
                     "=r"(words[4 * i + 3])
                   : "r"(address(codes, i)));
  }
}

}  // namespace axjax
