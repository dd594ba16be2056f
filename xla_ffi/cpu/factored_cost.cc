// SPDX-License-Identifier: Apache-2.0
#include "cpu/factored_cost.h"

#include <algorithm>
#include <cmath>

#include "cpu/ceil_div.h"
#include "cpu/factored_kernels.h"

namespace axjax {
namespace {

// Costs in nanoseconds, measured on one core at 4 GHz; only their ratios matter.
struct Costs {
  double multiply;     // a tile of pixels by one of outputs, at a line
  double expand_line;  // of a pixel
  double expand_tile;  // of weights
  double sum_weight;   // beta of one
  double add_row;      // of the table: 64 bytes
};

Costs CostsOf(InstructionSet set) {
  switch (set) {
    case InstructionSet::kAmx:
      return {7, 0.9, 100, 0.7, 0.5};
    case InstructionSet::kAvx512Vbmi:
      return {45, 0.9, 100, 0.7, 0.5};
    case InstructionSet::kAvx512Vnni:
      return {45, 50, 1200, 1.2, 0.5};
    case InstructionSet::kAvx2Vnni:
      return {95, 50, 1200, 1.2, 0.9};
    case InstructionSet::kAvx512:
    case InstructionSet::kAvx2:
      return {5000, 50, 1200, 1.2, 0.9};
    default:
      return {5000, 50, 1200, 1.2, 1.4};
  }
}

// What lut_conv.cc knows better, in short: rows of 32 lanes, each expanded for 256
// codes, or single look-ups.
constexpr double kExpandRows = 256 * 1.4;
constexpr double kLookUp = 0.22;
// The table from its factors: once, and for each term; and its columns.
constexpr double kMultiplyOut = 20000, kMultiplyTermOut = 3000, kColumns = 36000;

}  // namespace

double ProductsCost(const FactoredSizes& s, InstructionSet set) {
  const Costs costs = CostsOf(set);
  const double tiles = CeilDiv(s.pixels, kTileRows),
               blocks = CeilDiv(s.outputs, kTileOutputs);
  // Few channels are unfolded: rows of taps count as taps, of a square window.
  constexpr int64_t kFewChannels = 16;
  const int64_t all_taps = s.depth / std::max<int64_t>(1, s.channels),
                taps = s.channels < kFewChannels
                           ? std::llround(std::sqrt(static_cast<double>(all_taps)))
                           : all_taps,
                channels = s.depth / std::max<int64_t>(1, taps);
  const double lines = CeilDiv((channels + 15) / 16 * 16 * s.terms, kLineBytes),
               steps = lines * static_cast<double>(taps),
               expanded = s.channels < kFewChannels ? steps : lines;
  return static_cast<double>(s.groups) *
         (tiles * blocks * steps * costs.multiply +
          tiles * kTileRows * expanded * costs.expand_line +
          blocks * steps * costs.expand_tile +
          static_cast<double>(s.depth * s.outputs) * costs.sum_weight);
}

double TableCost(const FactoredSizes& s, InstructionSet set) {
  const double row = CostsOf(set).add_row;
  const auto rows = [&](int64_t lanes, int64_t walkers) {
    return CeilDiv(lanes, 32) * (kExpandRows + static_cast<double>(walkers) * row);
  };
  const double of_depth =
      std::min({rows(s.outputs, s.pixels), rows(s.pixels, s.outputs),
                static_cast<double>(s.pixels * s.outputs) * kLookUp});
  return static_cast<double>(s.groups * s.depth) * of_depth + kMultiplyOut +
         static_cast<double>(s.terms) * kMultiplyTermOut + kColumns;
}

}  // namespace axjax
