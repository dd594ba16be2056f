// SPDX-License-Identifier: Apache-2.0
// Convolution by table look-up as an implicit matrix product: the kernel, for any way
// to fetch an entry.
//
// A block computes one tile (tile_plan.h). It brings a chunk of the depth of codes and
// weights into shared memory, codes transposed to (position, pixel), so that a thread's
// four pixels are one word; then every thread adds the products of its pixels and
// outputs for each position. Nothing like im2col exists in device memory.
//
// Neighbouring threads have the same outputs, hence the same weight codes, and other
// pixels. The table is given transposed, so that their entries lie in one row of it,
// 512 bytes of 16-bit entries: fetches of a warp that fall into many rows take longer
// (texture.cu has the numbers). It is the weights that are shared because any
// convolution has many pixels, while it may have a single output a group.
//
// What bounds it is the fetch: 4 a clock a multiprocessor through the texture units,
// that is one instruction of a warp every 8 clocks, while 32 other instructions could
// issue. All else hides behind it as long as some warp always has a fetch to issue. So
// blocks are small and many share a multiprocessor: while one waits for its chunk,
// others fetch, and no double buffering is needed; and the last wave of blocks is
// short.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "conv_geometry.h"
#include "cuda/tile_plan.h"

namespace axjax {

// What the kernel is given: geometry and plan in 32 bits, and the operands but the
// table.
struct LookupArgs {
  int in[3], kernel[3], out[3], stride[3], pad_low[3], in_dilation[3],
      kernel_dilation[3];
  int in_c, in_c_per_group, out_c, out_c_per_group, groups;
  int depth;  // taps x plan.run
  int64_t pixels;
  TilePlan plan;
  const uint8_t* lhs;
  const uint8_t* rhs;
  const uint8_t* pad_code;
  int32_t* out_sums;
};

// Batch index and the position that tap (0, 0, 0) reads, in the dilated input.
struct alignas(16) TilePixel {
  int batch, at[3];
};

template <typename Int>
__device__ TilePixel TilePixelOf(const LookupArgs& a, Int pixel) {
  TilePixel p;
#pragma unroll
  for (int d = 2; d >= 0; --d) {
    const Int rest = pixel / a.out[d];
    p.at[d] = static_cast<int>(pixel - rest * a.out[d]) * a.stride[d] - a.pad_low[d];
    pixel = rest;
  }
  p.batch = static_cast<int>(pixel);
  return p;
}

// A position of a tile's depth: channel of the run and kernel tap.
struct TilePosition {
  int channel, tap[3];

  __device__ TilePosition(const LookupArgs& a, int position) {
    int flat = position / a.plan.run;
    channel = position - flat * a.plan.run;
#pragma unroll
    for (int d = 2; d >= 0; --d) {
      const int rest = flat / a.kernel[d];
      tap[d] = flat - rest * a.kernel[d];
      flat = rest;
    }
  }

  // Steps forward; true if the tap has changed.
  __device__ bool Advance(const LookupArgs& a, int positions) {
    channel += positions;
    if (channel < a.plan.run) return false;
    for (; channel >= a.plan.run; channel -= a.plan.run) {
      if (++tap[2] < a.kernel[2]) continue;
      tap[2] = 0;
      if (++tap[1] < a.kernel[1]) continue;
      tap[1] = 0;
      ++tap[0];  // at and beyond kernel[0] behind the end of the depth
    }
    return true;
  }
};

// Index of the input pixel that a tap reads, or -1 where it reads padding or a hole of
// the dilated input.
__device__ inline int64_t InputPixelOf(const LookupArgs& a, const TilePixel& pixel,
                                       const TilePosition& position) {
  int64_t index = pixel.batch;
  bool inside = true;
#pragma unroll
  for (int d = 0; d < 3; ++d) {
    int i = pixel.at[d] + position.tap[d] * a.kernel_dilation[d];
    if (a.in_dilation[d] != 1) {
      inside &= i >= 0 && i % a.in_dilation[d] == 0;
      i /= a.in_dilation[d];
    }
    inside &= static_cast<unsigned>(i) < static_cast<unsigned>(a.in[d]);
    index = index * a.in[d] + i;
  }
  return inside ? index : -1;
}

// The bytes that one load brings.
template <int kBytes>
struct Piece;
template <>
struct Piece<16> {
  using Type = uint4;
  static __device__ uint4 Fill(uint32_t word) { return {word, word, word, word}; }
  static __device__ uint32_t Byte(const uint4& v, int i) {
    const uint32_t word = i < 4 ? v.x : i < 8 ? v.y : i < 12 ? v.z : v.w;
    return word >> (i % 4 * 8);
  }
};
template <>
struct Piece<4> {
  using Type = uint32_t;
  static __device__ uint32_t Fill(uint32_t word) { return word; }
  static __device__ uint32_t Byte(uint32_t v, int i) { return v >> (i * 8); }
};
template <>
struct Piece<1> {
  using Type = uint8_t;
  static __device__ uint8_t Fill(uint32_t word) { return static_cast<uint8_t>(word); }
  static __device__ uint32_t Byte(uint8_t v, int) { return v; }
};

// Writes codes[position][pixel] for `count` positions from `first` on. Padding is
// written as the pad code, so that it goes through the table like any other code; so is
// what lies beyond the last group in a tile of several, which no thread reads.
template <int kStep>
__device__ void StageCodes(const LookupArgs& a, const TilePixel* pixels,
                           int first_channel, int first, int count, uint32_t pad,
                           uint8_t* codes) {
  using Bytes = Piece<kStep>;
  constexpr int kBatch = kStep == 16 ? 2 : kByteBatch;  // loads in flight
  const int lanes = a.plan.code_lanes, pitch = a.plan.code_pitch();
  const int begin = (threadIdx.x & (lanes - 1)) * kStep, stride = lanes * kStep;
  const TilePosition begin_position(a, first + begin);
#pragma unroll 1
  for (int p = threadIdx.x / lanes; p < a.plan.pixels(); p += a.plan.threads / lanes) {
    TilePosition position = begin_position;
    int64_t pixel = InputPixelOf(a, pixels[p], position);
#pragma unroll 1
    for (int k = begin; k < count; k += kBatch * stride) {
      typename Bytes::Type pieces[kBatch];
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        if (k + i * stride >= count) continue;
        const int channel = first_channel + position.channel;
        pieces[i] = pixel >= 0 && channel < a.in_c
                        ? __ldg(reinterpret_cast<const typename Bytes::Type*>(
                              a.lhs + pixel * a.in_c + channel))
                        : Bytes::Fill(pad);
        // A tap's pixel serves all channels of the run.
        if (position.Advance(a, stride)) pixel = InputPixelOf(a, pixels[p], position);
      }
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        if (k + i * stride >= count) continue;
#pragma unroll
        for (int b = 0; b < kStep; ++b)
          codes[(k + i * stride + b) * pitch + p] =
              static_cast<uint8_t>(Bytes::Byte(pieces[i], b));
      }
    }
  }
}

// Writes weights[row][column] for `rows` positions of a group's depth from `first` on.
template <int kStep>
__device__ void StageWeights(const LookupArgs& a, int first_column, int columns,
                             int first, int rows, uint8_t* weights) {
  using Bytes = Piece<kStep>;
  const int lanes = a.plan.weight_lanes, pitch = a.plan.weight_pitch();
  const int lane = threadIdx.x & (lanes - 1);
  for (int row = threadIdx.x / lanes; row < rows; row += a.plan.threads / lanes) {
    const uint8_t* from = a.rhs + int64_t{first + row} * a.out_c + first_column;
    for (int c = lane * kStep; c < a.plan.weight_pitch(); c += lanes * kStep) {
      // Columns beyond the last are read by the thread of a pair's first column.
      const auto piece =
          c < columns ? __ldg(reinterpret_cast<const typename Bytes::Type*>(from + c))
                      : Bytes::Fill(0);
      *reinterpret_cast<typename Bytes::Type*>(weights + row * pitch + c) = piece;
    }
  }
}

// sums[i][j] += entry(code of pixel i, weight of output j), for `count` positions that
// are `code_pitch` and `weight_pitch` bytes apart.
template <typename Fetch, int kOutputs>
__device__ void AddProducts(const Fetch& fetch, const uint8_t* codes, int code_pitch,
                            const uint8_t* weights, int weight_pitch, int count,
                            uint32_t (&sums)[kThreadPixels][kOutputs]) {
#pragma unroll 4
  for (int k = 0; k < count; ++k) {
    const auto four = *reinterpret_cast<const uint32_t*>(codes);
    uint32_t w;
    if constexpr (kOutputs == 1) {
      w = *weights;
    } else {
      w = *reinterpret_cast<const uint16_t*>(weights);
    }
#pragma unroll
    for (int i = 0; i < kThreadPixels; ++i)
#pragma unroll
      for (int j = 0; j < kOutputs; ++j) {
        // Byte j of `w` << 8 | byte i of `four` in one instruction: the highest byte of
        // `w` is zero.
        sums[i][j] += fetch(__byte_perm(four, w, 0x7700 | (4 + j) << 4 | i));
      }
    codes += code_pitch;
    weights += weight_pitch;
  }
}

// Keeps registers at 64 a thread, of 65,536 a multiprocessor: 32 warps to hide latency
// with.
constexpr int kMinBlocks = 4;

// Fetch is called with weight code << 8 | activation code, the index of the transposed
// table, and returns the entry, extended to 32 bits.
template <typename Fetch, int kOutputs>
__global__ void __launch_bounds__(kMaxThreads, kMinBlocks)
    LookupKernel(const __grid_constant__ LookupArgs a, const Fetch fetch) {
  static_assert(kOutputs == 1 || kOutputs == kThreadOutputs);
  extern __shared__ __align__(16) uint8_t shared[];
  const TilePlan& plan = a.plan;
  auto* pixels = reinterpret_cast<TilePixel*>(shared);
  uint8_t* codes = shared + plan.codes_at();
  uint8_t* weights = shared + plan.weights_at();

  // Tiles of the same pixels are neighbours in time, for the sake of the L2 cache.
  const int pixel_tile = blockIdx.x / plan.column_tiles;
  const int column_tile = blockIdx.x - pixel_tile * plan.column_tiles;
  const int64_t first_pixel = int64_t{pixel_tile} * plan.pixels();
  const int group_tile = column_tile / plan.column_tiles_per_group;
  const int part = column_tile - group_tile * plan.column_tiles_per_group;
  const int first_group = group_tile * plan.groups;
  const int first_channel = first_group * a.in_c_per_group;
  const int first_column = first_group * a.out_c_per_group + part * plan.columns;
  const int columns =
      min(plan.columns, min(plan.groups, a.groups - first_group) * a.out_c_per_group -
                            part * plan.columns);

  for (int p = threadIdx.x; p < plan.pixels(); p += plan.threads) {
    const int64_t pixel = min(first_pixel + p, a.pixels - 1);  // the last: repeated
    pixels[p] = a.pixels <= INT32_MAX ? TilePixelOf(a, static_cast<int>(pixel))
                                      : TilePixelOf(a, pixel);
  }

  // This thread's place in the tile.
  const int thread_column = threadIdx.x / plan.rows;
  const int row = threadIdx.x - thread_column * plan.rows;
  const int column = thread_column * kOutputs;
  const bool active = column < columns && first_pixel + row * kThreadPixels < a.pixels;
  const int group = plan.groups == 1 ? 0 : column / a.out_c_per_group;
  const uint8_t* own_codes =
      codes + group * a.in_c_per_group * plan.code_pitch() + row * kThreadPixels;
  const uint8_t* own_weights = weights + column;
  const uint32_t pad = *a.pad_code * 0x01010101u;
  uint32_t sums[kThreadPixels][kOutputs] = {};
  // Positions of this thread's group that are evenly spaced in the run: all of them if
  // the tile is of one group or the groups have one channel, else those of one tap.
  const bool even = plan.groups == 1 || a.in_c_per_group == 1;
  const int stretch = even ? plan.chunk : a.in_c_per_group;
  const int code_stride =
      even && plan.groups > 1 ? plan.run * plan.code_pitch() : plan.code_pitch();

#pragma unroll 1
  for (int first = 0; first < a.depth; first += plan.chunk) {
    const int count = min(plan.chunk, a.depth - first);
    const int rows = count / plan.groups;
    __syncthreads();  // the pixels are there; the last chunk has been read
    if (plan.weight_step == 4) {
      StageWeights<4>(a, first_column, columns, first / plan.groups, rows, weights);
    } else {
      StageWeights<1>(a, first_column, columns, first / plan.groups, rows, weights);
    }
    if (plan.code_step == 16) {
      StageCodes<16>(a, pixels, first_channel, first, count, pad, codes);
    } else if (plan.code_step == 4) {
      StageCodes<4>(a, pixels, first_channel, first, count, pad, codes);
    } else {
      StageCodes<1>(a, pixels, first_channel, first, count, pad, codes);
    }
    __syncthreads();
    if (!active) continue;
#pragma unroll 1
    for (int t = 0, k = 0; k < rows; ++t, k += stretch)
      AddProducts<Fetch, kOutputs>(fetch, own_codes + t * plan.run * plan.code_pitch(),
                                   code_stride, own_weights + k * plan.weight_pitch(),
                                   plan.weight_pitch(), min(stretch, rows - k), sums);
  }

  if (!active) return;
  int32_t* out = a.out_sums + (first_pixel + row * kThreadPixels) * a.out_c +
                 first_column + column;
#pragma unroll
  for (int i = 0; i < kThreadPixels; ++i, out += a.out_c) {
    if (first_pixel + row * kThreadPixels + i >= a.pixels) return;
#pragma unroll
    for (int j = 0; j < kOutputs; ++j)
      if (column + j < columns) out[j] = static_cast<int32_t>(sums[i][j]);
  }
}

}  // namespace axjax
