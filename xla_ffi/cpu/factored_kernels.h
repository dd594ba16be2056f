// SPDX-License-Identifier: Apache-2.0
// The inner loops of the factored form, compiled for several instruction sets.
//
// All of them walk the same layout. A *line* is 64 bytes of factors: of the codes of a
// pixel (or of the weights of an output) at 64, 32 or 16 consecutive channels, by one,
// two or four terms, term after term. 16 positions below each other are a *tile* of
// 16 x 64 bytes, which is what an AMX register holds. A tile of weights has the 16
// groups of four consecutive bytes of a line as rows, and in a row these four bytes of
// 16 outputs: what AMX multiplies by a tile of codes, and one vector of VNNI's.
//
// Plain data only, for the reason that kernels.h gives.
#pragma once
#include <stdint.h>

namespace axjax {

constexpr int kLineBytes = 64;
constexpr int kTileRows = 16;     // pixels of a tile
constexpr int kTileOutputs = 16;  // outputs of a tile
constexpr int kTileBytes = kTileRows * kLineBytes;
static_assert(kTileBytes == kLineBytes * kTileOutputs, "both operands' tiles");
constexpr int kTileSums = kTileRows * kTileOutputs;

// Writes the lines of consecutive positions at up to 64 channels.
struct ExpandCodesArgs {
  const uint8_t* codes;  // of the first position
  int64_t code_stride;   // bytes from position to position
  int64_t positions;
  int channels;           // codes of each position, up to `width`
  int width;              // channels that a line has room for: 16, 32 or 64
  const uint8_t* tables;  // 256 bytes for each term
  int terms;
  uint8_t* lines;       // of the first position
  int64_t line_stride;  // bytes from a position's line to its next
};

// Writes the tiles of 16 outputs at up to 64 depth positions; what lies beyond
// `channels`, `outputs` and `terms` becomes zero.
struct ExpandWeightsArgs {
  const uint8_t* codes;  // of the first depth position and output
  int64_t code_stride;   // bytes from depth position to depth position
  int channels, width;   // as above
  int outputs;           // up to 16
  const uint8_t* tables;
  int terms;
  uint8_t* tiles;
  int64_t tile_stride;  // bytes from a tile to that of the next line
};

// sums[o] += sum over depth positions of values[code], for up to 16 outputs.
struct SumWeightsArgs {
  const uint8_t* codes;
  int64_t code_stride;
  int64_t depth;
  int outputs;
  const int32_t* values;  // 256
  uint32_t* sums;
};

// Up to two tiles of pixels times up to two of outputs, over all steps:
//
//   sums[i][j] = first[i][j] + sum over steps s of
//                (lines at codes[i] + offsets[s]) * (tile s * blocks + j of weights)
struct MultiplyArgs {
  int tiles, blocks;        // 1 or 2
  const uint8_t* codes[2];  // 16 lines below each other
  const int64_t* offsets;   // bytes
  const uint8_t* weights;   // tiles behind each other
  int64_t steps;
  const int32_t* first[2][2];  // 16 rows of 16, 64 bytes aligned
  int64_t first_stride;        // bytes from row to row; 0: all are the same
  int32_t* sums[2][2];         // 16 rows of 16
  int64_t sums_stride;         // bytes
};

struct FactoredKernels {
  // Whether bytes of codes are multiplied as unsigned, so that they are to be 128 more
  // than they mean. Bytes of weights are signed.
  bool unsigned_codes;
  void (*expand_codes)(const ExpandCodesArgs&);
  void (*expand_weights)(const ExpandWeightsArgs&);
  void (*sum_weights)(const SumWeightsArgs&);
  // Before and after the calls of `multiply` that one thread makes.
  void (*begin)();
  void (*end)();
  void (*multiply)(const MultiplyArgs&);
};

// Those of the instruction set in use.
FactoredKernels CurrentFactoredKernels();

namespace plain {
void ExpandCodes(const ExpandCodesArgs&);
void ExpandWeights(const ExpandWeightsArgs&);
void SumWeights(const SumWeightsArgs&);
void Multiply(const MultiplyArgs&);
}  // namespace plain
namespace avx2vnni {
void Multiply(const MultiplyArgs&);
}
namespace avx512vnni {
void Multiply(const MultiplyArgs&);
}
namespace vbmi {
void ExpandCodes(const ExpandCodesArgs&);
void ExpandWeights(const ExpandWeightsArgs&);
void SumWeights(const SumWeightsArgs&);
}  // namespace vbmi
namespace amx {
void Begin();
void End();
void Multiply(const MultiplyArgs&);
}  // namespace amx

}  // namespace axjax
