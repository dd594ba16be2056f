// SPDX-License-Identifier: Apache-2.0
// How terms, depth and outputs are cut for the tensor-core kernel. Plain numbers,
// shared by the host, the kernel that expands the weights and the kernel that
// multiplies: all three walk the expanded weights in the order that is written down
// here.
//
//   word   four int8 terms of one code: one register of a tensor-core operand.
//   block  up to four words that one shared-memory look-up fetches: 4 (quad), 2 (pair)
//   or
//          1 (single). The words of a plane are cut greedily, so that 5 terms (2 words)
//          cost a pair and not a quad. A block's look-up table takes 32 KB in shared
//          memory whatever its width (tensor_core_lookup.cuh says why).
//   pass   blocks of one plane whose look-up tables are in shared memory together.
//   chunk  32 consecutive positions of the depth (tap, channel).
//   unit   8 words of every row and column: one step of the weights' pipeline and four
//          tensor-core steps. A chunk makes as many units per block as the block is
//          wide.
//
// Expanded weights of a tile of columns: for each pass, for each chunk, for each block
// of the pass, for each unit: columns x 128 bytes.
#pragma once
#include <cstdint>

#include "conv_geometry.h"
#include "cuda/tensor_core.h"

namespace axjax {

constexpr int kChunk = 32;
constexpr int kPiece = 16;               // codes that are copied together
constexpr int kUnitBytes = 128;          // per row or column
constexpr int kLookupBytes = 256 * 128;  // per block
constexpr int kWordTerms = 4;
// At most 31 quads, a pair and a single a plane (127 words), at worst one block a pass.
constexpr int kMaxPasses = kMaxPlanes * 33;

struct alignas(8) TensorCorePass {
  uint8_t plane;
  uint8_t quads, pair, single;  // blocks, in this order
  uint8_t first_word;           // of the plane
  bool shift;                   // times 256 before this pass: it begins a lower plane

  AXJAX_HOST_DEVICE int blocks() const { return quads + pair + single; }
  // Half of the last chunk may lie beyond the depth: quads and pairs skip its units, a
  // single's one unit spans both halves.
  AXJAX_HOST_DEVICE int units(bool half) const {
    return half ? 2 * quads + pair + single : 4 * quads + 2 * pair + single;
  }
};

struct TensorCorePasses {
  int count;
  bool resident;  // all look-up tables fit: loaded once, not at every pass
  TensorCorePass pass[kMaxPasses];

  AXJAX_HOST_DEVICE int64_t units(int64_t depth) const {
    const int64_t full = depth / kChunk, rest = depth % kChunk;
    int64_t total = 0;
    for (int i = 0; i < count; ++i) {
      total += full * pass[i].units(false);
      if (rest != 0) total += pass[i].units(rest <= kChunk / 2);
    }
    return total;
  }
};

// Words of each plane.
struct PlaneWords {
  int planes;
  int words[kMaxPlanes];
};

#if defined(__CUDACC__)
// What the device holds, within the room that there is.
__device__ inline PlaneWords LoadWords(int planes, const int32_t* words, int stride) {
  PlaneWords loaded = {planes, {}};
  for (int p = 0; p < planes; ++p)
    loaded.words[p] = min(max(words[p], 0), stride / kWordTerms);
  return loaded;
}
#endif

// As many as there is room for. Fewer make no more units.
inline PlaneWords MostWords(const TableFactors& factors) {
  PlaneWords most = {factors.planes, {}};
  for (int p = 0; p < factors.planes; ++p) most.words[p] = factors.stride / kWordTerms;
  return most;
}

// `slots`: look-up tables that fit in shared memory, at least one. The number of units
// does not depend on it, only their order.
AXJAX_HOST_DEVICE inline void MakePasses(const PlaneWords& planes, int slots,
                                         TensorCorePasses* made) {
  TensorCorePasses& passes = *made;
  passes.count = 0;
  int blocks = 0;
  for (int plane = planes.planes - 1; plane >= 0; --plane) {
    int left = planes.words[plane], first = 0;
    bool shift = plane != planes.planes - 1;
    do {  // an empty plane still shifts
      TensorCorePass pass = {};
      pass.plane = static_cast<uint8_t>(plane);
      pass.first_word = static_cast<uint8_t>(first);
      pass.shift = shift;
      shift = false;
      int words = 0;
      const auto fits = [&](int width) {
        return pass.blocks() < slots && left - words >= width;
      };
      for (; fits(4); words += 4) ++pass.quads;
      if (fits(2)) words += 2, pass.pair = 1;
      if (fits(1)) words += 1, pass.single = 1;
      passes.pass[passes.count++] = pass;
      blocks += pass.blocks();
      first += words;
      left -= words;
    } while (left > 0);
  }
  passes.resident = blocks <= slots;
}

// Look-up tables of a plane of `words`, if there is room for all.
constexpr int LookupBlocks(int words) { return words / 4 + words / 2 % 2 + words % 2; }

// Outputs of a tile. Narrow tiles pay the same look-ups for fewer columns: on an H200
// tiles of 64 and 32 columns took 0.63 and 0.48 times as long as one of 128 (16 and 64
// terms).
inline int ChooseColumns(const ConvGeometry& geometry) {
  constexpr struct {
    int columns, cost;
  } kTiles[] = {{128, 100}, {64, 63}, {32, 48}};
  int best = 0;
  int64_t best_cost = 0;
  for (const auto& tile : kTiles) {
    const int64_t cost =
        (geometry.out_c_per_group() + tile.columns - 1) / tile.columns * tile.cost;
    if (best == 0 || cost < best_cost) best = tile.columns, best_cost = cost;
  }
  return best;
}

}  // namespace axjax
