// SPDX-License-Identifier: Apache-2.0
// How a convolution is cut into tiles for the kernel of lookup_kernel.cuh. Plain
// numbers, made on the host; no CUDA header.
//
// A tile, the work of one block, is `pixels()` output pixels by `columns` outputs. Its
// columns are a part of one group's outputs, or all outputs of several whole groups
// where groups are narrow (depthwise: one output each), so that a block's reads stay
// contiguous and its threads busy. A thread owns kThreadPixels x `outputs` sums in
// registers.
//
// The depth of a tile is walked over (kernel tap, channel of the run): the run is the
// channels of the tile's groups, contiguous in memory. `chunk` of these positions are
// in shared memory at a time.
#pragma once
#include <algorithm>
#include <cstdint>
#include <numeric>

#include "conv_geometry.h"

namespace axjax {

constexpr int kThreadPixels = 4;   // one 32-bit word of codes in shared memory
constexpr int kThreadOutputs = 2;  // at most; even, so that a pair is one 16-bit read
constexpr int kMaxThreads = 256;
// Where codes are loaded byte by byte: neighbouring threads on one pixel, so that a
// warp's loads fall into few cache lines, and loads of a thread in flight.
constexpr int kByteLanes = 4;
constexpr int kByteBatch = 4;

// Neighbouring threads whose fetches are to come from one row of the table: where a
// warp's fell into 4 rows, the texture units ran at full speed, with 8 rows at three
// quarters.
constexpr int kRowThreads = 8;

// The defaults are the best of the ones that `check_texture tune` times on an H200.
struct TileTuning {
  int threads = 128;       // of a block, about
  int columns = 16;        // outputs of a tile, at most about
  int stage_bytes = 6144;  // shared memory for codes and weights, about
};

struct TilePlan {
  int threads;  // multiple of a warp; rows x thread_columns() of them compute
  int rows;     // of threads; each has kThreadPixels pixels
  int outputs;  // of a thread: 1 or kThreadOutputs
  int columns;  // of a tile
  int groups;   // of a tile
  int run;      // channels of a tile at one kernel tap
  int chunk;    // positions; whole taps where a tile has several groups
  int code_step, weight_step;  // bytes of one load from device memory
  int code_lanes,
      weight_lanes;  // neighbouring threads on one pixel or depth; powers of 2
  int column_tiles_per_group;  // 1 where a tile has several groups
  int column_tiles;            // in all
  int64_t tiles;

  AXJAX_HOST_DEVICE int thread_columns() const {
    return (columns + outputs - 1) / outputs;
  }
  AXJAX_HOST_DEVICE int pixels() const { return rows * kThreadPixels; }
  // Bytes from one position's codes to the next's: an odd number of words, so that
  // threads that read different positions use different banks.
  AXJAX_HOST_DEVICE int code_pitch() const { return (rows | 1) * kThreadPixels; }
  AXJAX_HOST_DEVICE int weight_pitch() const { return (columns + 3) / 4 * 4; }
  // Shared memory: origins of the pixels, then codes, then weights.
  AXJAX_HOST_DEVICE int codes_at() const { return pixels() * 16; }
  AXJAX_HOST_DEVICE int weights_at() const { return codes_at() + chunk * code_pitch(); }
  AXJAX_HOST_DEVICE int shared_bytes() const {
    return weights_at() + (chunk + groups - 1) / groups * weight_pitch();
  }
};

namespace tile_plan {

inline int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t RoundUp(int64_t a, int64_t b) { return CeilDiv(a, b) * b; }
inline int PowerOfTwoUpTo(int64_t value) {
  int power = 1;
  while (power * 2 <= value) power *= 2;
  return power;
}

// Threads and rows: of the block sizes from `wanted` on, the one that leaves the fewest
// threads idle. Rows come in units of kRowThreads where there are enough pixels.
inline void ChooseThreads(const ConvGeometry& g, int wanted, TilePlan* p) {
  const int across = p->thread_columns();
  const int rows_needed = static_cast<int>(
      std::min<int64_t>(kMaxThreads, CeilDiv(g.pixels(), kThreadPixels)));
  const int step = std::min(rows_needed, kRowThreads);
  const auto idle_share = [&](int rows) {
    const int64_t threads = RoundUp(int64_t{rows} * across, 32);
    return (threads - rows * across) * 1024 / threads;
  };
  const int most = std::min(kMaxThreads, std::max(2 * wanted, step * across)) / across;
  p->rows = step;
  for (int rows = 2 * step; rows <= std::min(most, rows_needed); rows += step)
    if (p->rows * across <= wanted - 32 || idle_share(rows) < idle_share(p->rows))
      p->rows = rows;
  p->threads = static_cast<int>(RoundUp(int64_t{p->rows} * across, 32));
}

// Columns and groups of a tile.
inline void ChooseColumns(const ConvGeometry& g, int wanted, TilePlan* p) {
  const int64_t outputs = g.out_c_per_group(), channels = g.in_c_per_group();
  const bool even = outputs % kThreadOutputs == 0;
  p->groups = 1;
  p->column_tiles_per_group = 1;
  if (outputs > (even ? wanted : 2 * wanted)) {
    p->outputs = kThreadOutputs;
    p->column_tiles_per_group = static_cast<int>(CeilDiv(outputs, wanted));
    const int64_t part = CeilDiv(outputs, p->column_tiles_per_group);
    p->columns = static_cast<int>(RoundUp(part, outputs % 4 == 0 ? 4 : kThreadOutputs));
    p->column_tiles = static_cast<int>(p->column_tiles_per_group * g.groups);
    return;
  }
  // A few single outputs are better than a last pair with one output unused; and a pair
  // is of one group.
  p->outputs = even ? kThreadOutputs : 1;
  const int64_t most = std::max<int64_t>(
      1,
      std::min({g.groups, wanted / outputs, wanted / std::max<int64_t>(1, channels)}));
  int64_t groups = CeilDiv(g.groups, CeilDiv(g.groups, most));
  if (groups > 1 && g.in_c % 16 == 0)  // whole 16-byte pieces, where that costs little
    groups = std::min(RoundUp(groups, 16 / std::gcd<int64_t>(16, channels)), most);
  p->groups = static_cast<int>(groups);
  p->columns = static_cast<int>(groups * outputs);
  p->column_tiles = static_cast<int>(CeilDiv(g.groups, groups));
}

inline void ChooseChunk(const ConvGeometry& g, int stage_bytes, TilePlan* p) {
  const int64_t unit = p->groups > 1      ? p->run
                       : p->code_step > 1 ? p->code_step
                                          : kByteLanes * kByteBatch;
  const int64_t depth = g.taps() * p->run;
  const int64_t most = std::max<int64_t>(
      1, stage_bytes / (p->code_pitch() + p->weight_pitch() / p->groups));
  const int64_t longest = std::max(unit, std::min(depth, most / unit * unit));
  const int64_t chunks = CeilDiv(depth, longest);
  p->chunk = static_cast<int>(RoundUp(CeilDiv(depth, chunks), unit));
}

inline TilePlan WithThreads(const ConvGeometry& g, const uint8_t* lhs,
                            const uint8_t* rhs, const TileTuning& tuning) {
  TilePlan p = {};
  ChooseColumns(g, tuning.columns, &p);
  ChooseThreads(g, tuning.threads, &p);
  p.run = static_cast<int>(p.groups * g.in_c_per_group());
  const uint64_t codes = reinterpret_cast<uintptr_t>(lhs) |
                         static_cast<uint64_t>(g.in_c) | static_cast<uint64_t>(p.run);
  p.code_step = codes % 16 == 0 ? 16 : codes % 4 == 0 ? 4 : 1;
  const uint64_t weights = reinterpret_cast<uintptr_t>(rhs) |
                           static_cast<uint64_t>(g.out_c) |
                           static_cast<uint64_t>(g.out_c_per_group() * p.groups) |
                           static_cast<uint64_t>(p.columns);
  p.weight_step = weights % 4 == 0 ? 4 : 1;
  ChooseChunk(g, tuning.stage_bytes, &p);
  // More threads on one pixel as far as there are not enough pixels.
  const int spare = std::min(32, p.threads / p.pixels());
  p.code_lanes = PowerOfTwoUpTo(std::min<int64_t>(
      std::max(spare, p.code_step == 1 ? kByteLanes : 1), p.chunk / p.code_step));
  p.weight_lanes = PowerOfTwoUpTo(2 * CeilDiv(p.columns, p.weight_step) - 1);
  p.weight_lanes = std::min(p.weight_lanes, 32);
  const int64_t pixel_tiles = CeilDiv(g.pixels(), p.pixels());
  p.tiles = pixel_tiles * p.column_tiles;
  return p;
}

}  // namespace tile_plan

// Sizes that the kernel's 32-bit arithmetic holds. Pixels of input and output, and
// bytes of any operand, may exceed it.
inline bool FitsTiles(const ConvGeometry& g) {
  constexpr int64_t kLimit = int64_t{1} << 30;
  if (g.batch >= kLimit || g.depth() >= kLimit || g.taps() * g.in_c >= kLimit ||
      g.in_c >= kLimit || g.out_c >= kLimit)
    return false;
  for (int d = 0; d < 3; ++d)
    if (g.in[d] >= kLimit || g.out[d] >= kLimit || g.kernel[d] >= kLimit ||
        g.stride[d] >= kLimit || g.kernel_dilation[d] >= kLimit ||
        g.in_dilation[d] >= kLimit || g.out[d] * g.stride[d] >= kLimit ||
        g.kernel[d] * g.kernel_dilation[d] >= kLimit || g.pad_low[d] >= kLimit ||
        g.pad_low[d] <= -kLimit)
      return false;
  return true;
}

// The plan of a convolution with at least one output and a depth of at least one, whose
// sizes FitsTiles. Smaller blocks where there are too few tiles for all
// multiprocessors.
inline TilePlan MakeTilePlan(const ConvGeometry& g, const uint8_t* lhs,
                             const uint8_t* rhs, int multiprocessors,
                             TileTuning tuning = {}) {
  TilePlan plan = tile_plan::WithThreads(g, lhs, rhs, tuning);
  while (tuning.threads > 32 && plan.tiles < 2 * multiprocessors) {
    tuning.threads /= 2;
    tuning.columns = std::max(8, tuning.columns / 2);
    plan = tile_plan::WithThreads(g, lhs, rhs, tuning);
  }
  return plan;
}

}  // namespace axjax
