// SPDX-License-Identifier: Apache-2.0
// Multiply on AMX tiles: one instruction multiplies 16 pixels by 16 outputs at 64 depth
// positions, 16,384 multiply-adds in 16 cycles. Four tiles of sums stay in registers,
// so that each tile that is loaded is used twice. The two tiles of weights come from
// the second-level cache, 32 lines in the 64 cycles that the products take; those of
// codes are in the first-level one for all but the first outputs.
#include <immintrin.h>

#include "cpu/factored_kernels.h"

namespace axjax {
namespace amx {
namespace {

// The operand of LDTILECFG: all eight tiles have 16 rows of 64 bytes. In static memory,
// since compilers know of no read of it but that of the first eight bytes.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(kLineBytes == 64 && kTileRows == 16, "a whole register");
const TileConfig kConfig;

constexpr int kUnrolled = 8;

// Sums are tiles 0 to 3, codes 4 and 5, weights 6 and 7.
template <int kTiles, int kBlocks>
void MultiplyOf(const MultiplyArgs& a) {
  _tile_loadd(0, a.first[0][0], a.first_stride);
  if (kBlocks > 1) _tile_loadd(1, a.first[0][1], a.first_stride);
  if (kTiles > 1) _tile_loadd(2, a.first[1][0], a.first_stride);
  if (kTiles > 1 && kBlocks > 1) _tile_loadd(3, a.first[1][1], a.first_stride);
  const uint8_t* weights = a.weights;
  const int64_t* offsets = a.offsets;
  const auto step = [&] {
    const int64_t offset = *offsets++;
    _tile_loadd(6, weights, kLineBytes);
    _tile_loadd(4, a.codes[0] + offset, kLineBytes);
    _tile_dpbssd(0, 4, 6);
    if (kTiles > 1) {
      _tile_loadd(5, a.codes[1] + offset, kLineBytes);
      _tile_dpbssd(2, 5, 6);
    }
    if (kBlocks > 1) {
      _tile_loadd(7, weights + kTileBytes, kLineBytes);
      _tile_dpbssd(1, 4, 7);
      if (kTiles > 1) _tile_dpbssd(3, 5, 7);
    }
    weights += kBlocks * kTileBytes;
  };
  // A store of tiles takes a quarter of a microsecond longer if the last one was more
  // than some 0.65 before (Xeon with AMX, family 6, model 167). So store a tile now and
  // then.
  alignas(kLineBytes) char nowhere[kTileBytes];
  int64_t s = 0;
  for (; s + kUnrolled <= a.steps; s += kUnrolled) {
#pragma GCC unroll 8
    for (int i = 0; i < kUnrolled; ++i) step();
    _tile_stored(6, nowhere, kLineBytes);
  }
  for (; s < a.steps; ++s) step();
  _tile_stored(0, a.sums[0][0], a.sums_stride);
  if (kBlocks > 1) _tile_stored(1, a.sums[0][1], a.sums_stride);
  if (kTiles > 1) _tile_stored(2, a.sums[1][0], a.sums_stride);
  if (kTiles > 1 && kBlocks > 1) _tile_stored(3, a.sums[1][1], a.sums_stride);
}

}  // namespace

void Begin() { _tile_loadconfig(&kConfig); }

void End() { _tile_release(); }

void Multiply(const MultiplyArgs& a) {
  if (a.tiles == 2) return a.blocks == 2 ? MultiplyOf<2, 2>(a) : MultiplyOf<2, 1>(a);
  return a.blocks == 2 ? MultiplyOf<1, 2>(a) : MultiplyOf<1, 1>(a);
}

}  // namespace amx
}  // namespace axjax
