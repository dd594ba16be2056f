// SPDX-License-Identifier: Apache-2.0
// How a factored convolution is laid out: depth in lines, pixels in tiles.
//
// Depth. The channels of a group are cut into chunks of up to 64, and a chunk and its
// terms make lines (factored_kernels.h). Kernels of few channels are unfolded along the
// last axis first: the channels of a row of taps, which lie behind each other, are
// those of one tap then, so that lines are fuller. Lines times taps are *steps*, a tile
// of weights each. Steps are cut into segments that caches hold; a segment belongs to
// one plane of the factors.
//
// Pixels. A job expands what a block of output pixels sees, once for all taps: its
// positions, phase by phase of the strides, so that neighbouring outputs read
// neighbouring positions at every tap. A tap is a distance between positions.
#pragma once
#include <cstdint>
#include <vector>

#include "conv_geometry.h"
#include "cpu/factored_terms.h"
#include "cpu/packed_codes.h"

namespace axjax {

// Consecutive channels of a tap.
struct FactoredChunk {
  int64_t first;
  int channels;
  int width;  // channels that lines have room for: 16, 32 or 64
};

// Some terms of a chunk, in lines of their own.
struct FactoredPiece {
  int chunk;
  int first_term, terms;
  int64_t first_line, lines;  // of the segment
};

struct FactoredSegment {
  int plane;
  int shift;  // bits by which sums are shifted before
  int64_t lines = 0;
  int64_t first_step = 0;  // of all steps
  std::vector<FactoredPiece> pieces;
};

// One spatial axis. Tap k reads for output o the position
// (o + shift[k]) * step + phases[phase[k]] of `plan`.
struct FactoredAxis {
  AxisPlan plan;
  std::vector<int64_t> phases;
  std::vector<int64_t> phase, shift;
  int64_t reach = 0;  // greatest shift
};

struct FactoredPlan {
  FactoredPlan(const ConvGeometry& geometry, const FactoredTerms& terms);

  // Of the taps and channels as they are laid out.
  ConvGeometry geometry;
  bool unfolded;
  int64_t channels;  // of a tap and group
  int64_t taps;
  FactoredAxis axes[3];
  std::vector<FactoredChunk> chunks;
  std::vector<FactoredSegment> segments;  // highest plane first; at least one
  int last_shift;                         // after the last segment
  int64_t steps;                          // of all segments
  int64_t most_lines;                     // of a segment
};

// Output pixels of one job: some rows of one or more images, or a part of one row.
struct PixelBlock {
  int64_t image, images, z, y, rows, x, columns;
};

// Where the positions of a block lie: [tap of axis 0][phase of axis 2][phase of axis
// 1][image][row][column].
struct BlockLayout {
  BlockLayout(const FactoredPlan& plan, const PixelBlock& block);

  int64_t pitch;      // positions of a row
  int64_t rows;       // of an image
  int64_t positions;  // of a phase
  int64_t total;      // of a line

  int64_t Phase(const FactoredPlan& plan, int64_t z, int64_t y, int64_t x) const {
    return ((z * plan.axes[2].phases.size() + x) * plan.axes[1].phases.size() + y) *
           positions;
  }
  int64_t Tap(const FactoredPlan& plan, int64_t tap) const;
};

// Blocks whose lines take about so many bytes, at least so many blocks if possible.
std::vector<PixelBlock> CutPixels(const FactoredPlan& plan, int64_t bytes,
                                  int64_t blocks);

// 16 positions below each other, of which `runs` are outputs.
struct PixelTile {
  struct Run {
    int row, count;
    int64_t pixel;  // of the output
  };
  int64_t position;
  std::vector<Run> runs;
};
std::vector<PixelTile> CutTiles(const FactoredPlan& plan, const PixelBlock& block,
                                const BlockLayout& layout);

}  // namespace axjax
