// SPDX-License-Identifier: Apache-2.0
#include "cpu/permuted_columns.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "cpu/ceil_div.h"
#include "cpu/instruction_set.h"
#include "cpu/scratch.h"
#include "cpu/table_columns.h"
#include "cpu/transpose16.h"

namespace axjax {
namespace {

// Output channels of a job: a line of them for each pixel.
constexpr int kChannels = 16;
// Scratch of a thread: the codes of a job, and its sums of so many lanes at a time.
constexpr int64_t kLanesAtOnce = 1024;
// The sums of one channel lie a line more apart: at 4096 bytes all channels' would fall
// into one cache set.
constexpr int64_t kSumStride = kLanesAtOnce + 16;
constexpr int64_t kSumBytes = kChannels * kSumStride * sizeof(uint32_t);
constexpr int64_t kCodeBytes = 3 << 19;
static_assert(kSumBytes + kCodeBytes <= static_cast<int64_t>(kScratchBytes),
              "a job works in one thread's scratch memory");

// The order of lanes: [phase][image][axis 0][axis 1][axis 2], positions one stride
// apart being neighbours.
struct LaneOrder {
  int64_t step[3];    // positions from lane to lane of an axis: its phases
  int64_t length[3];  // lanes of an axis
  int64_t phases;
  std::vector<int64_t> tap_phase, tap_shift;  // of each tap
  int64_t reach = 0;                          // greatest shift

  LaneOrder(const ConvGeometry& g, const PixelCodes& pixels) {
    for (int d = 0; d < 3; ++d) {
      step[d] = g.out[d] > 1 ? pixels.axis(d).out_step : 1;
      length[d] = CeilDiv(static_cast<int64_t>(pixels.axis(d).source.size()), step[d]);
    }
    phases = step[0] * step[1] * step[2];
    for (int64_t tap = 0; tap < g.taps(); ++tap) {
      const int64_t k[3] = {tap / (g.kernel[1] * g.kernel[2]),
                            tap / g.kernel[2] % g.kernel[1], tap % g.kernel[2]};
      int64_t phase = 0, shift = 0;
      for (int d = 0; d < 3; ++d) {
        const int64_t position = k[d] * pixels.axis(d).tap_step;
        phase = phase * step[d] + position % step[d];
        shift = shift * length[d] + position / step[d];
      }
      tap_phase.push_back(phase);
      tap_shift.push_back(shift);
      reach = std::max(reach, shift);
    }
  }

  // The lane of a row's first pixel; rows are counted over all images.
  int64_t LaneOfRow(const ConvGeometry& g, int64_t row) const {
    const int64_t y = row % g.out[1], z = row / g.out[1] % g.out[0],
                  n = row / g.out[1] / g.out[0];
    return ((n * length[0] + z) * length[1] + y) * length[2];
  }

  // The most lanes from the first pixel to the last of so many rows.
  int64_t MostLanes(const ConvGeometry& g, int64_t rows) const {
    const int64_t slices = CeilDiv(rows - 1, g.out[1]),
                  images = CeilDiv(rows - 1, g.out[0] * g.out[1]),
                  between = rows - 1 + slices * (length[1] - g.out[1]) +
                            images * (length[0] - g.out[0]) * length[1];
    return between * length[2] + g.out[2];
  }
};

int64_t Rows(const ConvGeometry& g) { return g.batch * g.out[0] * g.out[1]; }

// Input channels of the groups that `outputs` output channels may belong to.
int64_t MostPlanes(const ConvGeometry& g) {
  const int64_t outputs = std::min<int64_t>(kChannels, g.out_c);
  return std::min(g.groups,
                  (outputs - 2 + g.out_c_per_group()) / g.out_c_per_group() + 1) *
         g.in_c_per_group();
}

// Codes of one phase of one channel in a job.
int64_t PhaseBytes(const LaneOrder& order, int64_t lanes) {
  return CeilDiv(lanes, kPermutedLanes) * kPermutedLanes + order.reach;
}

// Those of all phases, and room for what FillPlanes writes too much.
int64_t PlaneBytes(const LaneOrder& order, int64_t lanes) {
  return PhaseBytes(order, lanes) * order.phases + 16;
}

// Entries as the kernel looks them up: bytes [lane code][byte][walker code].
class BytePlanes {
 public:
  explicit BytePlanes(const TableColumns& columns) {
    const uint32_t span = *std::max_element(columns.span, columns.span + 256);
    while (entry_bytes_ < 4 && span >> (8 * entry_bytes_) != 0) ++entry_bytes_;
    constexpr int kAlignment = 64;
    bytes_.reset(new uint8_t[256 * 256 * entry_bytes_ + kAlignment]);
    first_ = bytes_.get() +
             (kAlignment - reinterpret_cast<uintptr_t>(bytes_.get())) % kAlignment;
    for (int lane = 0; lane < 256; ++lane)
      for (int b = 0; b < entry_bytes_; ++b) {
        uint8_t* const to = first_ + (lane * entry_bytes_ + b) * 256;
        const void* const column = columns.Column(static_cast<uint8_t>(lane));
        if (columns.wide)
          Take(static_cast<const uint32_t*>(column), 8 * b, to);
        else
          Take(static_cast<const uint16_t*>(column), 8 * b, to);
      }
  }
  int entry_bytes() const { return entry_bytes_; }
  const uint8_t* Column(uint8_t lane_code) const {
    return first_ + lane_code * entry_bytes_ * 256;
  }

 private:
  template <typename Entry>
  static void Take(const Entry* column, int shift, uint8_t* to) {
    for (int i = 0; i < 256; ++i) to[i] = static_cast<uint8_t>(column[i] >> shift);
  }

  int entry_bytes_ = 1;
  std::unique_ptr<uint8_t[]> bytes_;
  uint8_t* first_;
};

class JobRunner {
 public:
  JobRunner(const ConvGeometry& g, const PixelCodes& pixels, const LaneOrder& order,
            const uint8_t* rhs, const TableColumns& columns, const BytePlanes& planes,
            int64_t first_channel, int64_t first_row, int64_t last_row)
      : g_(g),
        pixels_(pixels),
        order_(order),
        rhs_(rhs),
        columns_(columns),
        planes_(planes),
        first_channel_(first_channel),
        channels_(
            static_cast<int>(std::min<int64_t>(kChannels, g.out_c - first_channel))),
        first_group_(first_channel / g.out_c_per_group()),
        row_(first_row),
        last_row_(last_row),
        first_lane_(order.LaneOfRow(g, first_row)),
        lanes_(order.LaneOfRow(g, last_row - 1) + g.out[2] - first_lane_),
        phase_bytes_(PhaseBytes(order, lanes_)),
        plane_bytes_(PlaneBytes(order, lanes_)),
        sums_(reinterpret_cast<uint32_t*>(ThreadScratch())),
        codes_(reinterpret_cast<uint8_t*>(sums_) + kSumBytes) {}

  void Run(int32_t* out) {
    FillPlanes();
    for (int64_t lane = 0; lane < lanes_; lane += kLanesAtOnce) {
      const int64_t count = std::min(kLanesAtOnce, lanes_ - lane);
      for (int c = 0; c < channels_; ++c) Sum(c, lane, count);
      Write(lane, count, out);
    }
  }

 private:
  // The codes of all channels of the job, each lane's at each phase.
  void FillPlanes() {
    const int64_t last_group = (first_channel_ + channels_ - 1) / g_.out_c_per_group(),
                  planes = (last_group - first_group_ + 1) * g_.in_c_per_group();
    std::vector<const uint8_t*> from(planes);
    for (int64_t i = 0; i < planes; ++i)
      from[i] = pixels_.ChannelCodes(first_group_ + i / g_.in_c_per_group(),
                                     i % g_.in_c_per_group());
    // Channels that lie together in blocks of sixteen are taken together.
    const int64_t bytes = pixels_.position_bytes();
    ForEachRun([&](int64_t at, int64_t position, int64_t step, int64_t count) {
      for (int64_t p = 0; p < planes;) {
        const int64_t in_block = (from[p] - pixels_.codes(0)) % bytes;
        int64_t n = 1;
        while (p + n < planes && in_block + n < bytes && from[p + n] == from[p] + n)
          ++n;
        const uint8_t* const codes = from[p] + position * bytes;
        uint8_t* const to = codes_ + p * plane_bytes_ + at;
        if (bytes == kChannelBlock) {
          // Codes too many are written over by the next run, or lie behind the plane.
          for (int64_t i = 0; i < count; i += 16) {
            const uint8_t* rows[16];
            for (int64_t j = 0; j < 16; ++j)
              rows[j] = codes - in_block + std::min(i + j, count - 1) * step * bytes;
            uint8_t columns[16 * 16];
            Transpose16(rows, columns, 16);
            for (int64_t c = 0; c < n; ++c)
              std::memcpy(to + c * plane_bytes_ + i, columns + (in_block + c) * 16, 16);
          }
        } else {
          for (int64_t i = 0; i < count; ++i)
            for (int64_t c = 0; c < n; ++c)
              to[c * plane_bytes_ + i] = codes[i * step * bytes + c];
        }
        p += n;
      }
    });
  }

  // Calls run(byte of a plane, position, positions from code to code, codes) for all
  // codes that a job needs. What no position stands behind is left as it is: no pixel
  // reads it.
  template <class Run>
  void ForEachRun(Run run) const {
    const int64_t* const length = order_.length;
    const int64_t *step = order_.step,
                  end = std::min(first_lane_ + phase_bytes_,
                                 g_.batch * length[0] * length[1] * length[2]);
    int64_t size[3];
    for (int d = 0; d < 3; ++d)
      size[d] = static_cast<int64_t>(pixels_.axis(d).source.size());
    for (int64_t phase = 0; phase < order_.phases; ++phase) {
      const int64_t f2 = phase % step[2], f1 = phase / step[2] % step[1],
                    f0 = phase / step[2] / step[1];
      for (int64_t lane = first_lane_; lane < end;) {
        const int64_t x = lane % length[2], row = lane / length[2],
                      y = row % length[1] * step[1] + f1,
                      z = row / length[1] % length[0] * step[0] + f0,
                      n = row / length[1] / length[0];
        const int64_t row_end = std::min(end, (row + 1) * length[2]);
        // Positions of this phase on the axis.
        const int64_t whole = CeilDiv(size[2] - f2, step[2]);
        if (y < size[1] && z < size[0] && x < whole)
          run(phase * phase_bytes_ + lane - first_lane_,
              ((n * size[0] + z) * size[1] + y) * size[2] + x * step[2] + f2, step[2],
              std::min(row_end - lane, whole - x));
        lane = row_end;
      }
    }
  }

  // The sums of one output channel.
  void Sum(int c, int64_t lane, int64_t count) {
    const int64_t channel = first_channel_ + c, in_c = g_.in_c_per_group(),
                  group = channel / g_.out_c_per_group() - first_group_;
    PermutedArgs args;
    args.entry_bytes = planes_.entry_bytes();
    args.vectors = CeilDiv(count, kPermutedLanes);
    args.sums = sums_ + c * kSumStride;
    const uint8_t* columns[kMaxPermutedDepth];
    const uint8_t* codes[kMaxPermutedDepth];
    args.columns = columns;
    args.codes = codes;
    for (int64_t k0 = 0; k0 < g_.depth(); k0 += kMaxPermutedDepth) {
      args.first = k0 == 0;
      args.depth =
          static_cast<int>(std::min<int64_t>(kMaxPermutedDepth, g_.depth() - k0));
      if (args.first) args.bias = Bias(channel);
      for (int k = 0; k < args.depth; ++k) {
        const int64_t tap = (k0 + k) / in_c, plane = group * in_c + (k0 + k) % in_c;
        columns[k] = planes_.Column(rhs_[(k0 + k) * g_.out_c + channel]);
        codes[k] = codes_ + plane * plane_bytes_ +
                   order_.tap_phase[tap] * phase_bytes_ + order_.tap_shift[tap] + lane;
      }
      CurrentKernels().permuted(args);
    }
  }

  // What MakeColumns has taken out of the entries.
  uint32_t Bias(int64_t channel) const {
    uint32_t bias = 0;
    for (int64_t k = 0; k < g_.depth(); ++k)
      bias += columns_.lane_base[rhs_[k * g_.out_c + channel]];
    return bias;
  }

  // Writes the sums of the pixels among lanes `lane`, ..., lane + count - 1, of which
  // row_ has the first.
  void Write(int64_t lane, int64_t count, int32_t* out) {
    for (; row_ < last_row_; ++row_) {
      const int64_t start = order_.LaneOfRow(g_, row_) - first_lane_ - lane,
                    x0 = std::max<int64_t>(0, -start),
                    x1 = std::min(g_.out[2], count - start);
      if (x0 < x1) {
        PermutedSumsArgs args;
        args.sums = sums_ + start + x0;
        args.sum_stride = kSumStride;
        args.lanes = x1 - x0;
        args.channels = channels_;
        args.out = out + (row_ * g_.out[2] + x0) * g_.out_c + first_channel_;
        args.out_stride = g_.out_c;
        CurrentKernels().write_permuted(args);
      }
      if (x1 < g_.out[2]) return;
    }
  }

  const ConvGeometry& g_;
  const PixelCodes& pixels_;
  const LaneOrder& order_;
  const uint8_t* const rhs_;
  const TableColumns& columns_;
  const BytePlanes& planes_;
  const int64_t first_channel_;
  const int channels_;
  const int64_t first_group_;
  int64_t row_;  // the next one to be written
  const int64_t last_row_;
  const int64_t first_lane_;
  const int64_t lanes_;
  const int64_t phase_bytes_;
  const int64_t plane_bytes_;
  uint32_t* const sums_;
  uint8_t* const codes_;
};

}  // namespace

PermutedPlan PlanPermuted(const ConvGeometry& g, const PixelCodes& pixels) {
  PermutedPlan plan{};
  if (!CurrentKernels().permuted) return plan;
  const LaneOrder order(g, pixels);
  const int64_t rows = Rows(g);
  plan.lanes =
      CeilDiv(order.LaneOfRow(g, rows - 1) + g.out[2], kPermutedLanes) * kPermutedLanes;
  const int64_t bytes = kCodeBytes / MostPlanes(g);
  plan.job_rows = rows;
  while (plan.job_rows > 0 &&
         PlaneBytes(order, order.MostLanes(g, plan.job_rows)) > bytes)
    plan.job_rows /= 2;
  plan.possible = plan.job_rows > 0;
  return plan;
}

template <typename Entry>
void SumPermutedColumns(const PermutedPlan& plan, const ConvGeometry& g,
                        const PixelCodes& pixels, const uint8_t* rhs,
                        const Entry* table, int32_t* out, Workers& workers) {
  const TableColumns columns =
      MakeColumns(table, LaneOperand::kOutputs, pixels.range(), nullptr);
  const BytePlanes planes(columns);
  const LaneOrder order(g, pixels);
  const int64_t rows = Rows(g), channel_jobs = CeilDiv(g.out_c, kChannels);
  int64_t row_jobs = CeilDiv(rows, plan.job_rows);
  // More, if threads had nothing to do otherwise; but no job of less than this.
  constexpr int64_t kLeastLanes = 1024;
  while (channel_jobs * row_jobs % workers.threads() != 0 &&
         channel_jobs * row_jobs < 8 * workers.threads() && row_jobs < rows &&
         rows * order.length[2] >= (row_jobs + 1) * kLeastLanes)
    ++row_jobs;
  workers.ForEach(channel_jobs * row_jobs, [&](int64_t job) {
    const int64_t part = job / channel_jobs, first = rows * part / row_jobs,
                  last = rows * (part + 1) / row_jobs;
    JobRunner(g, pixels, order, rhs, columns, planes, job % channel_jobs * kChannels,
              first, last)
        .Run(out);
  });
}

template void SumPermutedColumns(const PermutedPlan&, const ConvGeometry&,
                                 const PixelCodes&, const uint8_t*, const uint16_t*,
                                 int32_t*, Workers&);
template void SumPermutedColumns(const PermutedPlan&, const ConvGeometry&,
                                 const PixelCodes&, const uint8_t*, const int16_t*,
                                 int32_t*, Workers&);
template void SumPermutedColumns(const PermutedPlan&, const ConvGeometry&,
                                 const PixelCodes&, const uint8_t*, const int32_t*,
                                 int32_t*, Workers&);

}  // namespace axjax
