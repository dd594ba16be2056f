// SPDX-License-Identifier: Apache-2.0
// Expands weight codes to int8 terms, in the order in which the main kernel reads them.
//
// A unit of a tile is columns x 128 bytes, exactly as it must lie in shared memory, so
// that one contiguous copy brings it: 16-byte column i of row n stands at i ^ (n & 7),
// the 128-byte swizzle that tensor-core loads undo. Depth beyond the end, channels that
// the input has only to make its rows whole words, and outputs beyond the group's are
// zero, which makes whatever code stands on the other side harmless.
#pragma once
#include <cstdint>

#include "cuda/tensor_core_lookup.cuh"
#include "cuda/tensor_core_pipeline.cuh"
#include "cuda/tensor_core_plan.h"

namespace axjax {

struct WeightArgs {
  const uint8_t* rhs;
  const int8_t* v;
  const uint8_t* pad_code;
  uint8_t* pad_line;  // kPiece pad codes, for the kernel that loads activations
  uint8_t* expanded;
  int stride;
  int planes, slots;
  const int32_t* words;
  int depth, out_c, out_c_per_group, columns;
  int in_c, rhs_in_c;  // channels of a group: of the depth, and those that have weights
  int tiles_per_group, first_tile;
  int64_t tile_bytes;
};

// The outputs of one tile: [begin, end), at most `columns`.
struct TileColumns {
  int group, begin, end;
};
__host__ __device__ inline TileColumns ColumnsOfTile(int tile, int tiles_per_group,
                                                     int out_c_per_group, int columns) {
  const int group = tile / tiles_per_group;
  const int in_group = (tile - group * tiles_per_group) * columns;
  const int left = out_c_per_group - in_group;
  const int begin = group * out_c_per_group + in_group;
  return {group, begin, begin + (left < columns ? left : columns)};
}

constexpr int kExpandThreads = 256;

// Grid: (chunks, units of a full chunk in all passes x slices of a unit, tiles). A
// thread makes 16 bytes: one word of four codes. Small blocks, since with few terms
// there is little to do, and the main kernel waits for it.
static __global__ void __launch_bounds__(kExpandThreads)
    ExpandWeights(const __grid_constant__ WeightArgs args) {
  AllowNextKernel();
  if (blockIdx.x + blockIdx.y + blockIdx.z == 0 && threadIdx.x < kPiece)
    args.pad_line[threadIdx.x] = *args.pad_code;
  const int chunk = blockIdx.x, left = args.depth - chunk * kChunk;
  const bool half = left <= kChunk / 2;
  const int tail = args.depth % kChunk;
  const int unit_bytes = args.columns * kUnitBytes;
  const int items = args.columns * 8, slices = items / kExpandThreads;
  // Neighbouring threads take neighbouring columns: their codes are consecutive bytes.
  const int item = blockIdx.y % slices * kExpandThreads + threadIdx.x;
  const int n = item % args.columns, i = item / args.columns;

  __shared__ TensorCorePasses passes;
  if (threadIdx.x == 0)
    MakePasses(LoadWords(args.planes, args.words, args.stride), args.slots, &passes);
  __syncthreads();

  // Which pass, and which of its units in this chunk.
  int unit = blockIdx.y / slices, p = 0;
  int64_t units_before = 0;
  for (; p < passes.count && unit >= passes.pass[p].units(false); ++p) {
    const TensorCorePass& pass = passes.pass[p];
    unit -= pass.units(false);
    units_before += int64_t{args.depth / kChunk} * pass.units(false);
    if (tail != 0) units_before += pass.units(tail <= kChunk / 2);
  }
  if (p == passes.count) return;  // room that the table does not need
  const TensorCorePass pass = passes.pass[p];
  if (unit >= pass.units(half)) return;
  units_before += int64_t{chunk} * pass.units(false) + unit;

  // Which block of the pass, and which of its units.
  int width = 4, word = pass.first_word;
  const auto skip = [&](int blocks, int block_width) {
    const int units = half && block_width > 1 ? block_width / 2 : block_width;
    const int skipped = min(unit / units, blocks);
    unit -= skipped * units;
    word += skipped * block_width;
    return skipped == blocks;
  };
  if (skip(pass.quads, 4)) {
    width = 2;
    if (skip(pass.pair, 2)) width = 1;
  }

  const TileColumns tile =
      ColumnsOfTile(args.first_tile + blockIdx.z, args.tiles_per_group,
                    args.out_c_per_group, args.columns);
  const int8_t* v = args.v + int64_t{pass.plane} * 256 * args.stride;
  uint32_t words[4];
#pragma unroll
  for (int t = 0; t < 4; ++t) {
    const ExpandedWord e = WordAt(width, unit, i, t);
    words[t] = 0;
    const int position = chunk * kChunk + e.code;
    const int tap = position / args.in_c, channel = position - tap * args.in_c;
    if (e.code < left && channel < args.rhs_in_c && tile.begin + n < tile.end) {
      const int64_t row = int64_t{tap} * args.rhs_in_c + channel;
      const uint8_t w = args.rhs[row * args.out_c + tile.begin + n];
      words[t] = LoadWord(v, args.stride, w, word + e.word);
    }
  }
  uint8_t* to = args.expanded + blockIdx.z * args.tile_bytes +
                units_before * unit_bytes + n * kUnitBytes + ((i ^ (n & 7)) << 4);
  *reinterpret_cast<uint4*>(to) = make_uint4(words[0], words[1], words[2], words[3]);
}

constexpr int kBetaColumns = 32, kBetaRows = 16;

// sums[o] = sum over the depth of beta[w(k, o)].
static __global__ void SumBeta(const uint8_t* rhs, const int32_t* beta, int depth,
                               int out_c, int32_t* sums) {
  __shared__ uint32_t part[kBetaRows][kBetaColumns];
  const int o = blockIdx.x * kBetaColumns + threadIdx.x;
  uint32_t sum = 0;
  if (o < out_c)
    for (int k = threadIdx.y; k < depth; k += kBetaRows)
      sum += static_cast<uint32_t>(beta[rhs[int64_t{k} * out_c + o]]);
  part[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || o >= out_c) return;
  for (int r = 1; r < kBetaRows; ++r) sum += part[r][threadIdx.x];
  sums[o] = static_cast<int32_t>(sum);
}

}  // namespace axjax
