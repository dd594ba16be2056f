// SPDX-License-Identifier: Apache-2.0
// Implicit GEMM: the warps that bring a tile's activation codes into shared memory.
//
// A tile is `rows` output pixels; a stage holds two chunks of its codes, 64 bytes a
// pixel, laid out as (piece of 16 bytes, row). Copies of a row's 64 bytes touch one
// line of memory and, thanks to a gap of 32 bytes after each piece's rows, different
// banks; look-ups read consecutive rows of one piece. A 16-byte piece lies within one
// kernel tap when the channels of a group are a multiple of 16; then one asynchronous
// copy moves it. Other channel counts are multiples of 4 and take four copies: whoever
// has others adds channels without weights. Where the geometry pads, a line of pad
// codes is copied, so that they go through the table like any other code.
#pragma once
#include <cstdint>

#include "cuda/tensor_core_pipeline.cuh"
#include "cuda/tensor_core_plan.h"

namespace axjax {

constexpr int kStageChunks = 2;
constexpr int kStagePieces = kStageChunks * kChunk / kPiece;
__host__ __device__ constexpr int PieceStride(int rows) { return rows * kPiece + 32; }
__host__ __device__ constexpr int CodeStageBytes(int rows) {
  return kStagePieces * PieceStride(rows);
}

// Division of numbers below 2^31 by a number known on the host: two instructions in
// place of twenty.
struct Divider {
  uint32_t multiplier;  // 0: division by 1
  int shift;

  static Divider Of(int divisor) {
    Divider d = {0, 0};
    if (divisor <= 1) return d;
    while (int64_t{2} << d.shift < divisor) ++d.shift;  // 2^shift < divisor
    const uint64_t power = uint64_t{1} << (32 + d.shift);
    d.multiplier = static_cast<uint32_t>((power + divisor - 1) / divisor);
    return d;
  }
  __device__ int Quotient(int n) const {
    if (multiplier == 0) return n;
    return static_cast<int>(__umulhi(static_cast<uint32_t>(n), multiplier) >> shift);
  }
};

// ConvGeometry in 32 bits, as the kernel uses it.
struct CodeGeometry {
  int in[3], kernel[3], out[3], stride[3], pad_low[3], in_dilation[3],
      kernel_dilation[3];
  int in_c, in_c_per_group, pixels, depth;
  Divider by_out[3], by_kernel_dilation[3];
  int step;      // bytes that can be copied at once: 16 or 4
  bool general;  // the input is dilated, or the kernel has over kMaskTaps taps a
                 // dimension
};

// Where an output pixel's taps read. In general: batch index and the position of tap
// (0, 0, 0), in the dilated input. Else what makes a tap's pixel cheap to find, since
// few warps look up those of a whole tile: the index of the pixel that tap (0, 0, 0)
// reads, modulo 2^32 where that lies outside, and a bit for each tap that lies inside.
struct alignas(16) PixelOrigin {
  int first;
  uint32_t along[3];
};
constexpr int kMaskTaps = 31;  // leaves a bit that is zero for whatever lies beyond

template <bool kGeneral>
__device__ inline PixelOrigin OriginOf(const CodeGeometry& g, int pixel) {
  int at[3];
#pragma unroll
  for (int d = 2; d >= 0; --d) {
    const int rest = g.by_out[d].Quotient(pixel);
    at[d] = (pixel - rest * g.out[d]) * g.stride[d] - g.pad_low[d];
    pixel = rest;
  }
  PixelOrigin origin;
  if constexpr (kGeneral) {
    origin.first = pixel;
#pragma unroll
    for (int d = 0; d < 3; ++d) origin.along[d] = static_cast<uint32_t>(at[d]);
  } else {
    uint32_t first = static_cast<uint32_t>(pixel);
#pragma unroll
    for (int d = 0; d < 3; ++d) {
      first = first * g.in[d] + at[d];
      // The first tap inside, and the one behind the last.
      const Divider by = g.by_kernel_dilation[d];
      const int low = by.Quotient(max(-at[d], 0) + g.kernel_dilation[d] - 1);
      const int high = by.Quotient(max(g.in[d] - at[d], 0) + g.kernel_dilation[d] - 1);
      const uint32_t below = (1u << min(low, kMaskTaps)) - 1;
      origin.along[d] = ((1u << min(high, g.kernel[d])) - 1) & ~below;
    }
    origin.first = static_cast<int>(first);
  }
  return origin;
}

// A position of the depth: channel of the group and kernel tap.
struct DepthPosition {
  int channel = 0, tap[3] = {0, 0, 0};

  // Steps forward; true if the tap has changed.
  __device__ bool Advance(const CodeGeometry& g, int positions) {
    channel += positions;
    bool changed = false;
    while (channel >= g.in_c_per_group) {
      channel -= g.in_c_per_group;
      changed = true;
      if (++tap[2] < g.kernel[2]) continue;
      tap[2] = 0;
      if (++tap[1] < g.kernel[1]) continue;
      tap[1] = 0;
      ++tap[0];  // at and beyond kernel[0] behind the end of the depth
    }
    return changed;
  }
};

// A tap, prepared for the pixels of many rows.
template <bool kGeneral>
class Tap;

template <>
class Tap<true> {
 public:
  __device__ Tap(const CodeGeometry& g, const DepthPosition& position) : g_(g) {
    inside_ = position.tap[0] < g.kernel[0];
#pragma unroll
    for (int d = 0; d < 3; ++d) offset_[d] = position.tap[d] * g.kernel_dilation[d];
  }
  // Index of the input pixel that it reads, or -1 where it reads padding.
  __device__ int PixelOf(const PixelOrigin& origin) const {
    int pixel = origin.first;
    bool inside = inside_;
#pragma unroll
    for (int d = 0; d < 3; ++d) {
      int i = static_cast<int>(origin.along[d]) + offset_[d];
      if (i >= 0) {
        inside &= i % g_.in_dilation[d] == 0;
        i /= g_.in_dilation[d];
      }
      inside &= static_cast<unsigned>(i) < static_cast<unsigned>(g_.in[d]);
      pixel = pixel * g_.in[d] + i;
    }
    return inside ? pixel : -1;
  }

 private:
  const CodeGeometry& g_;
  bool inside_;
  int offset_[3];
};

template <>
class Tap<false> {
 public:
  __device__ Tap(const CodeGeometry& g, const DepthPosition& position) {
    uint32_t offset = 0;
#pragma unroll
    for (int d = 0; d < 3; ++d) {
      bit_[d] = min(position.tap[d], kMaskTaps);  // beyond the depth: a zero
      offset = offset * g.in[d] + position.tap[d] * g.kernel_dilation[d];
    }
    offset_ = offset;
  }
  __device__ int PixelOf(const PixelOrigin& origin) const {
    const uint32_t inside = origin.along[0] >> bit_[0] & origin.along[1] >> bit_[1] &
                            origin.along[2] >> bit_[2] & 1;
    return inside ? static_cast<int>(static_cast<uint32_t>(origin.first) + offset_)
                  : -1;
  }

 private:
  int bit_[3];
  uint32_t offset_;
};

// Loads the stages of one tile after another. Neighbouring threads take the pieces of
// one row.
//   kStep     bytes copied at once: 16 or 4
//   kGeneral  a pixel takes arithmetic to find, and divisions in a dilated input
//   kThreads  that share the work
template <int kRows, int kThreads, int kStep, bool kGeneral>
class CodeLoader {
 public:
  // `pad_line`: kPiece pad codes.
  __device__ CodeLoader(const CodeGeometry& geometry, const uint8_t* lhs,
                        const uint8_t* pad_line, PixelOrigin* origins, int thread)
      : g_(geometry),
        lhs_(lhs),
        pad_line_(pad_line),
        origins_(origins),
        piece_index_(thread % kStagePieces),
        row_(thread / kStagePieces) {}

  // `origins` is this object's scratch: each thread writes only rows that it, or the
  // others of the row in the same warp, read.
  __device__ void BeginTile(int first_pixel) {
    __syncwarp();
#pragma unroll 1
    for (int i = piece_index_; i < kSteps; i += kStagePieces) {
      const int row =
          row_ + i * kStride;  // beyond the last pixel: the last pixel again
      origins_[row] = OriginOf<kGeneral>(g_, min(first_pixel + row, g_.pixels - 1));
    }
    __syncwarp();
  }

  __device__ void BeginDepth(int first_channel) {
    first_channel_ = first_channel;
    position_ = DepthPosition();
    position_.Advance(g_, piece_index_ * kPiece);
    FindPixels();
  }

  // Fills this thread's part of the stage at `stage` and goes on to the next.
  __device__ void LoadStage(uint32_t stage) {
    const uint32_t to = stage + piece_index_ * PieceStride(kRows) + row_ * kPiece;
    if constexpr (kStep == 16) {
      LoadPieces(to);
    } else {
      if (position_.tap[0] < g_.kernel[0])  // else beyond the depth: nobody looks
        LoadWords(to);
    }
    if (position_.Advance(g_, kStageChunks * kChunk)) FindPixels();
  }

 private:
  static constexpr int kStride = kThreads / kStagePieces;  // rows
  static constexpr int kSteps = kRows / kStride;
  static constexpr uint32_t kOutside = 0xffffffff;
  static_assert(kStep == 16 || kStep == 4);
  static_assert(kSteps % kStagePieces == 0, "threads of a row decode equally many");

  __device__ uint32_t PieceOf(int pixel) const {
    return pixel < 0 ? kOutside : static_cast<uint32_t>(pixel) * (g_.in_c / kPiece);
  }

  // A tap serves several stages when a group has many channels: find its pixels once.
  __device__ void FindPixels() {
    if constexpr (kStep == 16) {
      const Tap<kGeneral> tap(g_, position_);
#pragma unroll
      for (int i = 0; i < kSteps; ++i)
        piece_[i] = PieceOf(tap.PixelOf(origins_[row_ + i * kStride]));
    }
  }

  // A few warps feed all consumers, so this is short and free of branches: where a tap
  // reads padding, a line of pad codes in device memory is copied.
  __device__ void LoadPieces(uint32_t to) {
    const uint8_t* from = lhs_ + first_channel_ + position_.channel;
#pragma unroll
    for (int i = 0; i < kSteps; ++i)
      CopyAsyncCached<kPiece>(
          to + i * kStride * kPiece,
          piece_[i] == kOutside ? pad_line_ : from + uint64_t{piece_[i]} * kPiece);
  }

  __device__ void LoadWords(uint32_t to) {
    DepthPosition position = position_;
#pragma unroll 1
    for (int b = 0; b < kPiece; b += 4, position.Advance(g_, 4)) {
      const Tap<kGeneral> tap(g_, position);
      const uint8_t* from = lhs_ + first_channel_ + position.channel;
#pragma unroll 4
      for (int i = 0; i < kSteps; ++i) {
        const int pixel = tap.PixelOf(origins_[row_ + i * kStride]);
        CopyAsyncCached<4>(to + b + i * kStride * kPiece,
                           pixel < 0 ? pad_line_ : from + int64_t{pixel} * g_.in_c);
      }
    }
  }

  const CodeGeometry& g_;
  const uint8_t *lhs_, *pad_line_;
  PixelOrigin* origins_;
  int piece_index_, row_;
  int first_channel_ = 0;
  DepthPosition position_;
  uint32_t piece_[kSteps];  // kStep 16: where the tap's channels begin, in pieces
};

}  // namespace axjax
