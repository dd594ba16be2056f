// SPDX-License-Identifier: Apache-2.0
// A transposition of 16 x 16 bytes, by perfect shuffles.
#pragma once
#include <cstdint>

namespace axjax {

// to[i * stride + j] = rows[j][i].
inline void Transpose16(const uint8_t* const* rows, uint8_t* to, int64_t stride) {
  typedef uint8_t V __attribute__((vector_size(16), aligned(1), may_alias));
  V r[16], s[16];
  for (int j = 0; j < 16; ++j) r[j] = *reinterpret_cast<const V*>(rows[j]);
  for (int step = 0; step < 4; ++step) {
    for (int j = 0; j < 8; ++j) {
      s[2 * j] = __builtin_shufflevector(r[j], r[j + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4,
                                         20, 5, 21, 6, 22, 7, 23);
      s[2 * j + 1] = __builtin_shufflevector(r[j], r[j + 8], 8, 24, 9, 25, 10, 26, 11,
                                             27, 12, 28, 13, 29, 14, 30, 15, 31);
    }
    for (int j = 0; j < 16; ++j) r[j] = s[j];
  }
  for (int j = 0; j < 16; ++j) *reinterpret_cast<V*>(to + j * stride) = r[j];
}

}  // namespace axjax
