// SPDX-License-Identifier: Apache-2.0
#include "cpu/packed_codes.h"

#include <algorithm>
#include <cstring>

#include "cpu/ceil_div.h"
#include "cpu/instruction_set.h"
#include "cpu/scratch.h"
#include "cpu/transpose16.h"

namespace axjax {
namespace {

// Jobs for work of `bytes` bytes on `items` items: no more than pay for waking threads.
int64_t Jobs(int64_t items, int64_t bytes, const Workers& workers) {
  constexpr int64_t kBytesPerJob = 64 << 10;
  return std::max<int64_t>(
      1, std::min({items, bytes / kBytesPerJob, 4 * workers.threads()}));
}

// Pieces of 16 bytes, `step` bytes apart, that lie in `bytes` bytes.
int64_t Copies(int64_t bytes, int64_t step) {
  return bytes < kChannelBlock ? 0 : (bytes - kChannelBlock) / step + 1;
}

}  // namespace

std::vector<SourceRun> CutRuns(const int64_t* source, int64_t count) {
  std::vector<SourceRun> runs;
  int64_t before = 0;
  for (int64_t i = 0; i < count; before = source[i++]) {
    const bool goes_on =
        source[i] < 0 ? before < 0 : before >= 0 && source[i] == before + 1;
    if (i > 0 && goes_on)
      ++runs.back().positions;
    else
      runs.push_back({1, source[i]});
  }
  return runs;
}

AxisPlan PlanAxis(const ConvGeometry& g, int d) {
  AxisPlan plan;
  const int64_t span =
      (g.out[d] - 1) * g.stride[d] + (g.kernel[d] - 1) * g.kernel_dilation[d] + 1;
  if (span <= g.out[d] * g.kernel[d]) {
    plan.out_step = g.stride[d];
    plan.tap_step = g.kernel_dilation[d];
    plan.source.resize(span);
    for (int64_t i = 0; i < span; ++i) {
      const int64_t dilated = i - g.pad_low[d], step = g.in_dilation[d];
      const bool inside =
          dilated >= 0 && dilated % step == 0 && dilated / step < g.in[d];
      plan.source[i] = inside ? dilated / step : -1;
    }
  } else {
    plan.out_step = g.kernel[d];
    plan.tap_step = 1;
    plan.source.resize(g.out[d] * g.kernel[d]);
    for (int64_t o = 0; o < g.out[d]; ++o)
      for (int64_t k = 0; k < g.kernel[d]; ++k)
        plan.source[o * g.kernel[d] + k] = g.InputIndex(d, o, k);
  }
  return plan;
}

PixelCodes::PixelCodes(const ConvGeometry& g, const uint8_t* lhs, uint8_t pad_code,
                       Workers& workers)
    : geometry_(g),
      channels_(g.in_c_per_group()),
      axes_{PlanAxis(g, 0), PlanAxis(g, 1), PlanAxis(g, 2)} {
  positions_ = g.batch;
  for (const AxisPlan& axis : axes_)
    positions_ *= static_cast<int64_t>(axis.source.size());
  if (channels_ >= kChannelBlock) {
    block_ = kChannelBlock;
    blocks_per_group_ = CeilDiv(channels_, block_);
    groups_per_block_ = 0;
  } else {
    groups_per_block_ = std::min(g.groups, kChannelBlock / channels_);
    block_ = groups_per_block_ * channels_;
    blocks_per_group_ = 0;
  }
  block_step_ = std::min<int64_t>(channels_, kChannelBlock);
  const int64_t height = axes_[1].source.size(), width = axes_[2].source.size();
  depth_offsets_.reserve(g.depth());
  kernel_rows_.reserve(g.depth());
  for (int64_t c0 = 0; c0 < channels_; c0 += kChannelBlock)
    for (int64_t tap = 0; tap < g.taps(); ++tap) {
      const int64_t k0 = tap / (g.kernel[1] * g.kernel[2]),
                    k1 = tap / g.kernel[2] % g.kernel[1], k2 = tap % g.kernel[2];
      const int64_t position =
          (k0 * axes_[0].tap_step * height + k1 * axes_[1].tap_step) * width +
          k2 * axes_[2].tap_step;
      for (int64_t c = c0; c < std::min(channels_, c0 + kChannelBlock); ++c) {
        depth_offsets_.push_back((c0 / kChannelBlock * positions_ + position) * block_ +
                                 c - c0);
        kernel_rows_.push_back(tap * channels_ + c);
      }
    }
  Pack(lhs, pad_code, workers);
  FindRanges(lhs, pad_code, workers);
}

void PixelCodes::Pack(const uint8_t* lhs, uint8_t pad_code, Workers& workers) {
  const ConvGeometry& g = geometry_;
  const int64_t depth = axes_[0].source.size(), height = axes_[1].source.size(),
                width = axes_[2].source.size();
  const int64_t blocks = blocks_per_group_ ? g.groups * blocks_per_group_
                                           : CeilDiv(g.groups, groups_per_block_);
  const int64_t bytes = blocks * positions_ * block_;
  if (bytes + kReadBeyond <= static_cast<int64_t>(kCallCodeBytes)) {
    packed_ = reinterpret_cast<uint8_t*>(CallCodes());
  } else {
    own_.reset(new uint8_t[bytes + kReadBeyond]);
    packed_ = own_.get();
  }
  const uint8_t* const lhs_end = lhs + g.batch * g.in[0] * g.in[1] * g.in[2] * g.in_c;
  const int64_t rows = g.batch * depth * height, jobs = Jobs(rows, bytes, workers);
  const std::vector<SourceRun> runs = CutRuns(axes_[2].source.data(), width);
  workers.ForEach(jobs, [&](int64_t job) {
    for (int64_t row = rows * job / jobs; row < rows * (job + 1) / jobs; ++row) {
      const int64_t n = row / (depth * height),
                    z = axes_[0].source[row / height % depth],
                    y = axes_[1].source[row % height];
      const uint8_t* const from =
          lhs + ((n * g.in[0] + z) * g.in[1] + y) * g.in[2] * g.in_c;
      for (int64_t b = 0; b < blocks; ++b) {
        uint8_t* to = packed_ + (b * positions_ + row * width) * block_;
        if (z < 0 || y < 0) {
          std::memset(to, pad_code, width * block_);
          continue;
        }
        int64_t first, count;
        if (blocks_per_group_) {
          const int64_t c = b % blocks_per_group_ * block_;
          first = b / blocks_per_group_ * channels_ + c;
          count = std::min(block_, channels_ - c);
        } else {
          first = b * block_;
          count = std::min(block_, g.in_c - first);
        }
        const uint8_t* const row_end = to + width * block_;
        for (const SourceRun& run : runs) {
          const int64_t bytes = run.positions * block_;
          if (run.source < 0 || block_ == g.in_c) {
            if (run.source < 0)
              std::memset(to, pad_code, bytes);
            else
              std::memcpy(to, from + run.source * block_, bytes);
            to += bytes;
            continue;
          }
          const uint8_t* codes = from + run.source * g.in_c + first;
          // Copies of 16 bytes are fastest. Those too many are overwritten by the next
          // position, or lie in the block's own unused channels.
          int64_t fast = std::min(run.positions, Copies(lhs_end - codes, g.in_c));
          if (block_ < kChannelBlock)
            fast = std::min(fast, Copies(row_end - to, block_));
          int64_t i = 0;
          for (; i < fast; ++i, codes += g.in_c, to += block_)
            std::memcpy(to, codes, kChannelBlock);
          for (; i < run.positions; ++i, codes += g.in_c, to += block_)
            std::memcpy(to, codes, count);
        }
      }
    }
  });
}

void PixelCodes::FindRanges(const uint8_t* lhs, uint8_t pad_code, Workers& workers) {
  const ConvGeometry& g = geometry_;
  bool pads = false;
  for (const AxisPlan& axis : axes_)
    for (int64_t source : axis.source) pads |= source < 0;
  const int64_t pixels = g.batch * g.in[0] * g.in[1] * g.in[2];
  // Of fewer than 16 channels, the codes at 16 consecutive positions in memory are
  // taken together: a range for all channels comes out.
  const bool per_channel = g.in_c >= kChannelBlock;
  const int64_t bytes = pixels * g.in_c, row = per_channel ? g.in_c : kChannelBlock,
                rows = bytes / row, jobs = Jobs(rows, bytes, workers);
  std::vector<uint8_t> lows(jobs * row, 255), highs(jobs * row, 0);
  const auto ranges = CurrentKernels().ranges;
  workers.ForEach(jobs, [&](int64_t job) {
    const int64_t first = rows * job / jobs, last = rows * (job + 1) / jobs;
    ranges(lhs + first * row, last - first, row, lows.data() + job * row,
           highs.data() + job * row);
  });
  for (int64_t i = rows * row; i < bytes; ++i) {
    lows[0] = std::min(lows[0], lhs[i]);
    highs[0] = std::max(highs[0], lhs[i]);
  }
  range_ = pads ? CodeRange{pad_code, pad_code} : CodeRange{255, 0};
  channel_ranges_.assign(per_channel ? row : 0, range_);
  for (int64_t job = 0; job < jobs; ++job)
    for (int64_t c = 0; c < row; ++c) {
      const int low = lows[job * row + c], high = highs[job * row + c];
      range_ = {std::min(range_.low, low), std::max(range_.high, high)};
      if (!per_channel) continue;
      CodeRange& range = channel_ranges_[c];
      range = {std::min(range.low, low), std::max(range.high, high)};
    }
}

const uint8_t* PixelCodes::codes(int64_t group) const {
  const int64_t plane = positions_ * block_;
  return packed_ + (blocks_per_group_ ? group * blocks_per_group_ * plane
                                      : group / groups_per_block_ * plane +
                                            group % groups_per_block_ * channels_);
}

void PixelCodes::Offsets(int64_t first, int64_t count, int64_t* offsets) const {
  const ConvGeometry& g = geometry_;
  const int64_t height = axes_[1].source.size(), width = axes_[2].source.size();
  int64_t x = first % g.out[2], rest = first / g.out[2];
  int64_t y = rest % g.out[1];
  rest /= g.out[1];
  int64_t z = rest % g.out[0], n = rest / g.out[0];
  const int64_t step = axes_[2].out_step * block_;
  for (int64_t done = 0; done < count;) {
    const int64_t slice =
        n * static_cast<int64_t>(axes_[0].source.size()) + z * axes_[0].out_step;
    int64_t offset =
        (slice * height + y * axes_[1].out_step) * width * block_ + x * step;
    const int64_t end = std::min(count, done + g.out[2] - x);
    for (; done < end; ++done, offset += step) offsets[done] = offset;
    x = 0;
    if (++y == g.out[1]) {
      y = 0;
      if (++z == g.out[0]) z = 0, ++n;
    }
  }
}

CodeRange PixelCodes::range(int64_t group, int64_t k) const {
  if (channel_ranges_.empty()) return range_;
  return channel_ranges_[group * channels_ + kernel_rows_[k] % channels_];
}

void PixelCodes::Sum(int64_t group, const int32_t* values, uint32_t* sums,
                     Workers& workers) const {
  // Over the channels of a position; over the taps along the last axis, for each packed
  // row; then over the rows that an output row sees.
  const ConvGeometry& g = geometry_;
  const int64_t depth = axes_[0].source.size(), height = axes_[1].source.size(),
                width = axes_[2].source.size(), out_w = g.out[2];
  const int64_t rows = g.batch * depth * height;
  std::unique_ptr<uint32_t[]> row_sums(new uint32_t[rows * out_w]);
  const uint8_t* const base = codes(group);
  const int64_t jobs = Jobs(rows, positions_ * channels_, workers);
  workers.ForEach(jobs, [&](int64_t job) {
    std::vector<uint32_t> of_position(width);
    for (int64_t row = rows * job / jobs; row < rows * (job + 1) / jobs; ++row) {
      for (int64_t i = 0; i < width; ++i) {
        uint32_t sum = 0;
        for (int64_t c0 = 0; c0 < channels_; c0 += kChannelBlock) {
          const uint8_t* const at =
              base + (c0 / kChannelBlock * positions_ + row * width + i) * block_;
          const int64_t n = std::min<int64_t>(kChannelBlock, channels_ - c0);
          for (int64_t c = 0; c < n; ++c) sum += static_cast<uint32_t>(values[at[c]]);
        }
        of_position[i] = sum;
      }
      uint32_t* const to = row_sums.get() + row * out_w;
      for (int64_t x = 0; x < out_w; ++x) {
        const uint32_t* const from = of_position.data() + x * axes_[2].out_step;
        uint32_t sum = 0;
        for (int64_t k = 0; k < g.kernel[2]; ++k) sum += from[k * axes_[2].tap_step];
        to[x] = sum;
      }
    }
  });
  const int64_t out_rows = g.batch * g.out[0] * g.out[1],
                out_jobs = Jobs(out_rows, count() * g.kernel[0] * g.kernel[1], workers);
  workers.ForEach(out_jobs, [&](int64_t job) {
    for (int64_t row = out_rows * job / out_jobs; row < out_rows * (job + 1) / out_jobs;
         ++row) {
      const int64_t n = row / (g.out[0] * g.out[1]), z = row / g.out[1] % g.out[0],
                    y = row % g.out[1];
      uint32_t* const to = sums + row * out_w;
      std::fill(to, to + out_w, 0u);
      for (int64_t k0 = 0; k0 < g.kernel[0]; ++k0)
        for (int64_t k1 = 0; k1 < g.kernel[1]; ++k1) {
          const int64_t slice =
              n * depth + z * axes_[0].out_step + k0 * axes_[0].tap_step;
          const uint32_t* const from =
              row_sums.get() +
              (slice * height + y * axes_[1].out_step + k1 * axes_[1].tap_step) * out_w;
          for (int64_t x = 0; x < out_w; ++x) to[x] += from[x];
        }
    }
  });
}

bool PixelCodes::TapsAreShifts() const {
  for (int d = 0; d < 3; ++d)
    if (geometry_.out[d] > 1 && axes_[d].out_step != 1) return false;
  return true;
}

int64_t PixelCodes::Position(int64_t pixel) const {
  int64_t offset;
  Offsets(pixel, 1, &offset);
  return offset / block_;
}

std::vector<int64_t> PixelCodes::TapShifts() const {
  // The first depth positions, one for each tap, lie in the first block.
  std::vector<int64_t> shifts(geometry_.taps());
  for (size_t tap = 0; tap < shifts.size(); ++tap)
    shifts[tap] = depth_offsets_[tap * block_step_] / block_;
  return shifts;
}

void PixelCodes::LaneCodes(int64_t group, int64_t k, const int64_t* offsets, int count,
                           uint8_t* lane_codes) const {
  const uint8_t* const base = codes(group) + depth_offsets_[k];
  for (int l = 0; l < count; ++l) lane_codes[l] = base[offsets[l]];
}

OutputCodes::OutputCodes(const ConvGeometry& g, const uint8_t* rhs,
                         const std::vector<int64_t>& kernel_rows, bool walk,
                         Workers& workers)
    : rhs_(rhs),
      outputs_(g.out_c_per_group()),
      row_(g.out_c),
      kernel_rows_(kernel_rows) {
  if (!walk) return;
  const int64_t depth = kernel_rows.size(), blocks = CeilDiv(depth, kChannelBlock);
  group_bytes_ = blocks * outputs_ * kChannelBlock;
  for (int64_t k = 0; k < depth; ++k)
    depth_offsets_.push_back(k / kChannelBlock * outputs_ * kChannelBlock +
                             k % kChannelBlock);
  packed_.reset(new uint8_t[g.groups * group_bytes_ + kReadBeyond]);
  const int64_t items = g.groups * blocks,
                jobs = Jobs(items, g.groups * group_bytes_, workers);
  workers.ForEach(jobs, [&](int64_t job) {
    for (int64_t i = items * job / jobs; i < items * (job + 1) / jobs; ++i) {
      const int64_t group = i / blocks, k0 = i % blocks * kChannelBlock;
      const uint8_t* rows[kChannelBlock];
      for (int j = 0; j < kChannelBlock;
           ++j)  // what stands behind the last is not read
        rows[j] =
            rhs + kernel_rows[std::min(k0 + j, depth - 1)] * row_ + group * outputs_;
      uint8_t* to = packed_.get() + i * outputs_ * kChannelBlock;
      int64_t o = 0;
      for (; o + 16 <= outputs_; o += 16, to += 16 * kChannelBlock) {
        Transpose16(rows, to, kChannelBlock);
        for (const uint8_t*& row : rows) row += 16;
      }
      for (; o < outputs_; ++o, to += kChannelBlock)
        for (int j = 0; j < kChannelBlock; ++j) to[j] = *rows[j]++;
    }
  });
}

const uint8_t* OutputCodes::codes(int64_t group) const {
  return packed_.get() + group * group_bytes_;
}

void OutputCodes::Offsets(int64_t first, int64_t count, int64_t* offsets) const {
  for (int64_t i = 0; i < count; ++i) offsets[i] = (first + i) * kChannelBlock;
}

void OutputCodes::Sum(int64_t group, const int32_t* values, uint32_t* sums,
                      Workers& workers) const {
  const int64_t depth = kernel_rows_.size(),
                jobs = Jobs(outputs_, outputs_ * depth, workers);
  workers.ForEach(jobs, [&](int64_t job) {
    const int64_t first = outputs_ * job / jobs, last = outputs_ * (job + 1) / jobs;
    std::fill(sums + first, sums + last, 0u);
    for (int64_t k = 0; k < depth; ++k) {
      const uint8_t* const w = rhs_ + kernel_rows_[k] * row_ + group * outputs_;
      for (int64_t o = first; o < last; ++o)
        sums[o] += static_cast<uint32_t>(values[w[o]]);
    }
  });
}

void OutputCodes::LaneOffsets(int64_t first, int64_t count, int64_t* offsets) const {
  for (int64_t i = 0; i < count; ++i) offsets[i] = first + i;
}

void OutputCodes::LaneCodes(int64_t group, int64_t k, const int64_t* offsets, int count,
                            uint8_t* lane_codes) const {
  std::memcpy(lane_codes, rhs_ + kernel_rows_[k] * row_ + group * outputs_ + offsets[0],
              count);
}

}  // namespace axjax
