// SPDX-License-Identifier: Apache-2.0
// The factored form in plain C++: what the other levels do, said in few words. It
// makes the layout right on every machine; it is not meant to be fast.
#include <cstring>

#include "cpu/factored_kernels.h"

namespace axjax {
namespace plain {

void ExpandCodes(const ExpandCodesArgs& a) {
  for (int term = 0; term < a.terms; ++term) {
    const uint8_t* const table = a.tables + 256 * term;
    const int byte = term * a.width;
    uint8_t* to = a.lines + byte / kLineBytes * a.line_stride + byte % kLineBytes;
    const uint8_t* from = a.codes;
    for (int64_t p = 0; p < a.positions; ++p, from += a.code_stride, to += kLineBytes)
      for (int c = 0; c < a.channels; ++c) to[c] = table[from[c]];
  }
}

void ExpandWeights(const ExpandWeightsArgs& a) {
  const int lines = (a.terms * a.width + kLineBytes - 1) / kLineBytes;
  for (int line = 0; line < lines; ++line)
    std::memset(a.tiles + line * a.tile_stride, 0, kTileBytes);
  for (int term = 0; term < a.terms; ++term) {
    const uint8_t* const table = a.tables + 256 * term;
    for (int c = 0; c < a.channels; ++c) {
      const int byte = term * a.width + c, in_line = byte % kLineBytes;
      uint8_t* const to = a.tiles + byte / kLineBytes * a.tile_stride +
                          in_line / 4 * 4 * kTileOutputs + in_line % 4;
      const uint8_t* const from = a.codes + c * a.code_stride;
      for (int o = 0; o < a.outputs; ++o) to[4 * o] = table[from[o]];
    }
  }
}

void SumWeights(const SumWeightsArgs& a) {
  for (int64_t k = 0; k < a.depth; ++k)
    for (int o = 0; o < a.outputs; ++o)
      a.sums[o] += static_cast<uint32_t>(a.values[a.codes[k * a.code_stride + o]]);
}

void Multiply(const MultiplyArgs& a) {
  const auto at = [](auto* base, int64_t bytes) {
    return reinterpret_cast<decltype(base)>(reinterpret_cast<uintptr_t>(base) + bytes);
  };
  for (int i = 0; i < a.tiles; ++i)
    for (int j = 0; j < a.blocks; ++j)
      for (int row = 0; row < kTileRows; ++row) {
        uint32_t sums[kTileOutputs];
        std::memcpy(sums, at(a.first[i][j], row * a.first_stride), sizeof(sums));
        for (int64_t s = 0; s < a.steps; ++s) {
          const auto* line = reinterpret_cast<const int8_t*>(a.codes[i] + a.offsets[s] +
                                                             row * kLineBytes);
          const auto* tile = reinterpret_cast<const int8_t*>(
              a.weights + (s * a.blocks + j) * kTileBytes);
          for (int four = 0; four < kLineBytes; four += 4)
            for (int o = 0; o < kTileOutputs; ++o)
              for (int b = 0; b < 4; ++b)
                sums[o] += static_cast<uint32_t>(line[four + b] *
                                                 tile[four * kTileOutputs + 4 * o + b]);
        }
        std::memcpy(at(a.sums[i][j], row * a.sums_stride), sums, sizeof(sums));
      }
}

}  // namespace plain
}  // namespace axjax
