// SPDX-License-Identifier: Apache-2.0
// Implicit GEMM: the warps that bring a tile's activation codes into shared memory.
//
// A tile is `rows` output pixels; a stage holds two chunks of its codes, 64 bytes a
// pixel, laid out as (piece of 16 bytes, row). Copies of a row's 64 bytes touch one
// line of memory and, thanks to a gap of 32 bytes after each piece's rows, different
// banks; look-ups read consecutive rows of one piece. A 16-byte piece lies within one
// kernel tap when the channels of a group are a multiple of 16; then one asynchronous
// copy moves it. Multiples of 4 take four copies, other channel counts (the first
// layer's 1 or 3) go byte by byte through registers. Positions that the geometry pads
// are written here as the pad code, so that they go through the table like any other
// code.
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

constexpr int kCodeThreads = 64;
// A stage is full when every thread's copies have landed and its stores are done.
constexpr int kCodeArrivals = 2 * kCodeThreads;

// ConvGeometry in 32 bits, as the kernel uses it.
struct CodeGeometry {
  int in[3], kernel[3], out[3], stride[3], pad_low[3], in_dilation[3],
      kernel_dilation[3];
  int in_c, in_c_per_group, pixels, depth;
  int step;      // bytes that can be copied at once: 16, 4 or 1
  bool dilated;  // any in_dilation but 1
};

// Batch index and the position that tap (0, 0, 0) reads, in the dilated input.
struct alignas(16) PixelOrigin {
  int batch, at[3];
};

__device__ inline PixelOrigin OriginOf(const CodeGeometry& g, int pixel) {
  PixelOrigin origin;
#pragma unroll
  for (int d = 2; d >= 0; --d) {
    const int rest = pixel / g.out[d];
    origin.at[d] = (pixel - rest * g.out[d]) * g.stride[d] - g.pad_low[d];
    pixel = rest;
  }
  origin.batch = pixel;
  return origin;
}

// A position of the depth: channel of the group and kernel tap.
struct DepthPosition {
  int channel = 0, tap[3] = {0, 0, 0};

  // One step forward, without branches.
  __device__ void AdvanceOne(const CodeGeometry& g) {
    const auto count = [](int& i, int end, bool step) {
      i += step;
      const bool wraps = i == end;
      i = wraps ? 0 : i;
      return wraps;
    };
    bool carry = count(channel, g.in_c_per_group, true);
    carry = count(tap[2], g.kernel[2], carry);
    tap[0] += count(tap[1], g.kernel[1], carry);
  }

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

// Index of the input pixel that a tap reads, or -1 where it reads padding.
template <bool kDilated>
__device__ inline int FindPixel(const CodeGeometry& g, const PixelOrigin& origin,
                                const DepthPosition& position) {
  int pixel = origin.batch;
  bool inside = position.tap[0] < g.kernel[0];
#pragma unroll
  for (int d = 0; d < 3; ++d) {
    int i = origin.at[d] + position.tap[d] * g.kernel_dilation[d];
    if (kDilated && i >= 0) {
      inside &= i % g.in_dilation[d] == 0;
      i /= g.in_dilation[d];
    }
    inside &= static_cast<unsigned>(i) < static_cast<unsigned>(g.in[d]);
    pixel = pixel * g.in[d] + i;
  }
  return inside ? pixel : -1;
}

__device__ inline void StoreShared4(uint32_t shared, uint32_t word) {
  asm volatile("st.shared.u32 [%0], %1;" ::"r"(shared), "r"(word) : "memory");
}

// Loads the stages of one tile after another. Neighbouring threads take the pieces of
// one row.
//   kStep     bytes copied at once: 16, 4 or 1
//   kDilated  the input is dilated: a pixel takes divisions to find
template <int kRows, int kStep, bool kDilated>
class CodeLoader {
 public:
  // `pad_line`: kPiece pad codes.
  __device__ CodeLoader(const CodeGeometry& geometry, const uint8_t* lhs,
                        const uint8_t* pad_line, PixelOrigin* origins, int thread)
      : g_(geometry),
        lhs_(lhs),
        pad_line_(pad_line),
        pad_(*pad_line * 0x01010101u),
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
      origins_[row] = OriginOf(g_, min(first_pixel + row, g_.pixels - 1));
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
      if (position_.tap[0] >= g_.kernel[0]) return;  // beyond the depth: nobody looks
#pragma unroll 1
      for (int i = 0; i < kSteps; ++i) {
        if constexpr (kStep == 4) {
          LoadWords(to + i * kStride * kPiece, i);
        } else {
          LoadBytes(to + i * kStride * kPiece, i);
        }
      }
    }
    if (position_.Advance(g_, kStageChunks * kChunk)) FindPixels();
  }

 private:
  static constexpr int kStride = kCodeThreads / kStagePieces;  // rows
  static constexpr int kSteps = kRows / kStride;
  static constexpr uint32_t kOutside = 0xffffffff;
  static_assert(kSteps % kStagePieces == 0, "threads of a row decode equally many");

  __device__ const uint8_t* Address(int pixel, const DepthPosition& position) const {
    return lhs_ + int64_t{pixel} * g_.in_c + first_channel_ + position.channel;
  }

  __device__ uint32_t PieceOf(int pixel) const {
    return pixel < 0 ? kOutside : static_cast<uint32_t>(pixel) * (g_.in_c / kPiece);
  }

  // A tap serves several stages when a group has many channels: find its pixels once.
  __device__ void FindPixels() {
    if constexpr (kStep == 16) {
#pragma unroll
      for (int i = 0; i < kSteps; ++i)
        piece_[i] =
            PieceOf(FindPixel<kDilated>(g_, origins_[row_ + i * kStride], position_));
    }
  }

  // Two warps feed all consumers, so this is short and free of branches: where a tap
  // reads padding, a line of pad codes in device memory is copied.
  __device__ void LoadPieces(uint32_t to) {
    const uint8_t* from = lhs_ + first_channel_ + position_.channel;
#pragma unroll
    for (int i = 0; i < kSteps; ++i)
      CopyAsyncCached<kPiece>(
          to + i * kStride * kPiece,
          piece_[i] == kOutside ? pad_line_ : from + uint64_t{piece_[i]} * kPiece);
  }

  __device__ void LoadWords(uint32_t to, int i) {
    const PixelOrigin origin = origins_[row_ + i * kStride];
    DepthPosition position = position_;
#pragma unroll 1
    for (int b = 0; b < kPiece; b += 4, position.Advance(g_, 4)) {
      const int pixel = FindPixel<kDilated>(g_, origin, position);
      if (pixel >= 0) {
        CopyAsyncCached<4>(to + b, Address(pixel, position));
      } else {
        StoreShared4(to + b, pad_);
      }
    }
  }

  __device__ void LoadBytes(uint32_t to, int i) {
    const PixelOrigin origin = origins_[row_ + i * kStride];
    DepthPosition position = position_;
#pragma unroll 1
    for (int j = 0; j < kPiece; j += 4) {
      uint32_t bytes[4];
#pragma unroll
      for (int b = 0; b < 4; ++b) {  // unconditional: the loads are in flight together
        const int pixel = FindPixel<kDilated>(g_, origin, position);
        const uint32_t byte = *(pixel < 0 ? pad_line_ : Address(pixel, position));
        bytes[b] = byte << (8 * b);
        position.AdvanceOne(g_);
      }
      StoreShared4(to + j, bytes[0] | bytes[1] | bytes[2] | bytes[3]);
    }
  }

  const CodeGeometry& g_;
  const uint8_t *lhs_, *pad_line_;
  uint32_t pad_;
  PixelOrigin* origins_;
  int piece_index_, row_;
  int first_channel_ = 0;
  DepthPosition position_;
  uint32_t piece_[kSteps];  // kStep 16: where the tap's channels begin, in pieces
};

}  // namespace axjax
