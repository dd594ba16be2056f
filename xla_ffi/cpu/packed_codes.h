// SPDX-License-Identifier: Apache-2.0
// Both operands of a convolution as the kernels read them.
//
// The sum over depth k of table[x(pixel, k), w(k, output)] is symmetric: either operand
// can be the one that *walks*, its codes picking rows of expanded tables, while the
// other one is spread over lanes. PixelCodes and OutputCodes offer both roles under the
// same names.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "conv_geometry.h"
#include "cpu/workers.h"

namespace axjax {

// Codes that can occur: low, ..., high.
struct CodeRange {
  int low = 0;
  int high = 255;
};

// How one dimension of the input is laid out when packed: position o * out_step +
// k * tap_step is what output o reads through kernel tap k.
struct AxisPlan {
  int64_t out_step;
  int64_t tap_step;
  std::vector<int64_t> source;  // input index of each position, or -1: pad code
};

// Chooses the shorter of two layouts: all positions of the dilated input between first
// and last, or a window for each output, so that memory is bounded for any stride.
AxisPlan PlanAxis(const ConvGeometry& geometry, int dimension);

// Positions along an axis that are all pads, or come from consecutive inputs.
struct SourceRun {
  int64_t positions;
  int64_t source;  // of the first position, or -1
};
std::vector<SourceRun> CutRuns(const int64_t* source, int64_t count);

// The input, padded and dilated, in blocks of up to 16 channels:
// [block][batch][axis 0][axis 1][axis 2][channel of the block].
class PixelCodes {
 public:
  PixelCodes(const ConvGeometry& geometry, const uint8_t* lhs, uint8_t pad_code,
             Workers& workers);

  // As walkers: pixels, in the order of the output.
  int64_t count() const { return geometry_.pixels(); }
  const uint8_t* codes(int64_t group) const;
  // Bytes from codes(group) to the codes of walkers first, ..., first + count - 1.
  void Offsets(int64_t first, int64_t count, int64_t* offsets) const;
  // Bytes from there to the code of each depth position.
  const int64_t* depth_offsets() const { return depth_offsets_.data(); }
  CodeRange range() const { return range_; }
  CodeRange range(int64_t group, int64_t k) const;
  // Sums of values[code] over all codes of each walker; `sums` has count() elements.
  void Sum(int64_t group, const int32_t* values, uint32_t* sums,
           Workers& workers) const;
  // Look-ups of Sum per walker.
  int64_t SumCost() const { return channels_; }

  // As lanes: the codes of consecutive pixels at depth position k.
  void LaneOffsets(int64_t first, int64_t count, int64_t* offsets) const {
    Offsets(first, count, offsets);
  }
  void LaneCodes(int64_t group, int64_t k, const int64_t* offsets, int count,
                 uint8_t* lane_codes) const;

  // As lanes in the order of memory. Whether a tap is a shift: then the pixels from the
  // first to the last lie on consecutive positions, with others in between, and every
  // tap adds a constant to the position.
  bool TapsAreShifts() const;
  int64_t Position(int64_t pixel) const;
  std::vector<int64_t> TapShifts() const;
  int64_t positions() const { return positions_; }
  // Codes of a channel of the group: one each position_bytes().
  const uint8_t* ChannelCodes(int64_t group, int64_t channel) const {
    return codes(group) + channel / block_step_ * positions_ * block_ +
           channel % block_step_;
  }
  int64_t position_bytes() const { return block_; }
  // How the positions of a dimension follow each other.
  const AxisPlan& axis(int dimension) const { return axes_[dimension]; }

  // Row of the kernel as a matrix, (taps * channels) x outputs, of a depth position:
  // the order of summation goes through the taps of one block of channels after
  // another.
  const std::vector<int64_t>& kernel_rows() const { return kernel_rows_; }

 private:
  void Pack(const uint8_t* lhs, uint8_t pad_code, Workers& workers);
  void FindRanges(const uint8_t* lhs, uint8_t pad_code, Workers& workers);

  const ConvGeometry geometry_;
  const int64_t channels_;  // per group
  AxisPlan axes_[3];
  int64_t positions_;  // of a plane
  // Channels of a block: 16 of one group, or those of as many groups as 16 hold.
  int64_t block_;
  int64_t block_step_;        // channels of a group in a block
  int64_t blocks_per_group_;  // 0 if a block holds groups
  int64_t groups_per_block_;  // 0 if a group holds blocks
  uint8_t* packed_;           // in CallCodes(), or if it does not fit, here:
  std::unique_ptr<uint8_t[]> own_;
  std::vector<int64_t> depth_offsets_;
  std::vector<int64_t> kernel_rows_;
  CodeRange range_;
  std::vector<CodeRange> channel_ranges_;  // of each channel, or none
};

// The kernel; packed for walking, if asked for, as
// [group][block of 16 depth positions][output][depth position of the block].
class OutputCodes {
 public:
  OutputCodes(const ConvGeometry& geometry, const uint8_t* rhs,
              const std::vector<int64_t>& kernel_rows, bool walk, Workers& workers);

  int64_t count() const { return outputs_; }
  const uint8_t* codes(int64_t group) const;
  void Offsets(int64_t first, int64_t count, int64_t* offsets) const;
  const int64_t* depth_offsets() const { return depth_offsets_.data(); }
  CodeRange range() const { return {}; }
  CodeRange range(int64_t, int64_t) const { return {}; }
  void Sum(int64_t group, const int32_t* values, uint32_t* sums,
           Workers& workers) const;
  int64_t SumCost() const { return static_cast<int64_t>(kernel_rows_.size()); }

  void LaneOffsets(int64_t first, int64_t count, int64_t* offsets) const;
  void LaneCodes(int64_t group, int64_t k, const int64_t* offsets, int count,
                 uint8_t* lane_codes) const;

 private:
  const uint8_t* const rhs_;
  const int64_t outputs_;  // per group
  const int64_t row_;      // of the kernel as a matrix: outputs of all groups
  const std::vector<int64_t>& kernel_rows_;
  int64_t group_bytes_ = 0;
  std::unique_ptr<uint8_t[]> packed_;
  std::vector<int64_t> depth_offsets_;
};

}  // namespace axjax
