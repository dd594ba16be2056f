// SPDX-License-Identifier: Apache-2.0
// The codes that a block of pixels sees as lines, in the order of BlockLayout.
#pragma once
#include <cstdint>
#include <vector>

#include "cpu/factored_kernels.h"
#include "cpu/factored_plan.h"
#include "cpu/factored_terms.h"

namespace axjax {

class FactoredCodes {
 public:
  FactoredCodes(const FactoredPlan& plan, const FactoredTerms& terms,
                const uint8_t* lhs, uint8_t pad_code, const FactoredKernels& kernels,
                const PixelBlock& block, const BlockLayout& layout);

  // Writes the lines of a segment, of a group's channels.
  void Expand(const FactoredSegment& segment, int64_t group, uint8_t* lines);

 private:
  // Consecutive columns of a block whose input indices lie equally far apart.
  struct Run {
    int64_t column, count;
    int64_t source, step;  // source -1: padding
  };

  static std::vector<Run> FindRuns(const FactoredAxis& axis, int64_t phase,
                                   int64_t first, int64_t columns);
  // Of the input and a group.
  int64_t Channels() const { return plan_.geometry.in_c_per_group(); }
  // Of row (z, y) of an image; `first` is its first position at phase 0 of the last
  // axis.
  void ExpandRow(const FactoredSegment& segment, int64_t group, int64_t image,
                 int64_t z, int64_t y, uint8_t* first);
  // Codes that are null are padding.
  void ExpandRun(const FactoredSegment& segment, const uint8_t* codes, int64_t stride,
                 int64_t positions, uint8_t* lines);
  // The channels of all positions that the block's columns see, behind each other.
  void PadRow(const uint8_t* codes);

  const FactoredPlan& plan_;
  const FactoredTerms& terms_;
  const uint8_t* const lhs_;
  const FactoredKernels& kernels_;
  const PixelBlock& block_;
  const BlockLayout& layout_;
  const std::vector<uint8_t> pads_;
  std::vector<uint8_t> padded_row_;
  std::vector<SourceRun> padded_runs_;
  std::vector<std::vector<Run>> runs_;
};

}  // namespace axjax
