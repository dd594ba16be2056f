// SPDX-License-Identifier: Apache-2.0
#include "cpu/shared_taps.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "cpu/ceil_div.h"
#include "cpu/instruction_set.h"
#include "cpu/scratch.h"

namespace axjax {
namespace {

// A segment of lanes is at most 7 lines of 16-bit entries, what AVX-512 registers hold.
constexpr int kSegmentLines = 7;
constexpr int kLine = 64;
// Scratch of a thread: one channel's table, and the accumulators of one segment of some
// outputs. (Tables of several channels at a time would touch the accumulators less
// often, but are slower: what counts is how much of the second-level cache is in use.)
constexpr size_t kTableBytes = size_t{1} << 20;
constexpr size_t kAccumulatorBytes = size_t{1} << 20;
static_assert(kTableBytes + kAccumulatorBytes <= kScratchBytes,
              "a job works in one thread's scratch memory");
constexpr int64_t kMaxOutputs = kAccumulatorBytes / (2 * kSegmentLines * kLine);

struct Job {
  int64_t group;
  int64_t first_position;  // of lane 0
  int64_t lines;
  int64_t first_output;
  int64_t outputs;
};

class JobRunner {
 public:
  JobRunner(const ConvGeometry& g, const PixelCodes& pixels, const uint8_t* rhs,
            const TableColumns& columns, const std::vector<int64_t>& shifts,
            const Job& job)
      : g_(g),
        pixels_(pixels),
        rhs_(rhs),
        columns_(columns),
        shifts_(shifts),
        job_(job),
        kernels_(CurrentKernels()),
        entry_bytes_(columns.wide ? 4 : 2),
        line_lanes_(kLine / entry_bytes_) {
    const int64_t reach = *std::max_element(shifts.begin(), shifts.end());
    row_bytes_ = CeilDiv(job.lines * line_lanes_ + reach, line_lanes_) * kLine;
    table_ = ThreadScratch();
    accumulators_ = reinterpret_cast<uint32_t*>(table_ + kTableBytes);
  }

  void Run(const uint32_t* pixel_bias, const uint32_t* output_bias, int32_t* out) {
    const int64_t channels = g_.in_c_per_group();
    std::vector<const char*> tables(shifts_.size());
    std::vector<const uint8_t*> codes(shifts_.size());
    for (int64_t c = 0; c < channels; ++c) {
      const int mode = Expand(c);
      for (size_t tap = 0; tap < shifts_.size(); ++tap) {
        tables[tap] = table_ + shifts_[tap] * entry_bytes_;
        codes[tap] = rhs_ + (static_cast<int64_t>(tap) * channels + c) * g_.out_c +
                     job_.group * g_.out_c_per_group() + job_.first_output;
      }
      AddRows(&tables, codes, mode, c == 0);
    }
    Finish(pixel_bias, output_bias, out);
  }

 private:
  // Makes the table of one channel; returns the mode in which its rows are to be added.
  int Expand(int64_t channel) {
    const uint8_t* const codes = pixels_.ChannelCodes(job_.group, channel);
    const int64_t step = pixels_.position_bytes(), lanes = row_bytes_ / entry_bytes_,
                  // What would stand behind the last position reaches no pixel.
        count = std::min(lanes, pixels_.positions() - job_.first_position);
    std::vector<uint8_t> lane_codes(lanes);
    uint32_t span = 0;
    for (int64_t l = 0; l < count; ++l) {
      lane_codes[l] = codes[(job_.first_position + l) * step];
      span = std::max(span, columns_.span[lane_codes[l]]);
    }
    const int mode = Mode(span);
    uint32_t less = 0;
    if (kernels_.signed_halves && !columns_.wide) {
      const uint32_t bias = kSignedBias / RowsTogether(mode);
      less = bias << 16 | bias;
      bias_ += bias * static_cast<uint32_t>(shifts_.size());
    }
    for (int64_t first = 0; first < lanes; first += line_lanes_) {
      const void* lane_columns[kMaxLanes];
      for (int64_t l = 0; l < line_lanes_; ++l)
        lane_columns[l] = columns_.Column(lane_codes[first + l]);
      kernels_.expand[columns_.wide][kWidths - 1](
          lane_columns, 0, 256, less, row_bytes_, table_ + first * entry_bytes_);
    }
    return mode;
  }

  int Mode(uint32_t span) const {
    if (columns_.wide) return kWide;
    return span <= 65535 / 4 ? kFours : span <= 65535 / 2 ? kPairs : kSingles;
  }

  // Adds one channel's rows; `tables` is used up.
  void AddRows(std::vector<const char*>* tables,
               const std::vector<const uint8_t*>& codes, int mode, bool first) {
    ShiftedRowsArgs args;
    args.tables = tables->data();
    args.codes = codes.data();
    args.row_bytes = row_bytes_;
    args.depth = static_cast<int>(tables->size());
    args.walkers = job_.outputs;
    args.first = first;
    args.accumulators = accumulators_;
    ForEachPass([&](int64_t, int vectors) {
      args.vectors = vectors;
      kernels_.shifted_rows[mode](args);
      args.accumulators += job_.outputs * PassWords(vectors);
      for (const char*& table : *tables) table += vectors * kernels_.vector_bytes;
    });
  }

  // Calls pass(first vector, vectors) for as many vectors at a time as registers hold.
  template <class Pass>
  void ForEachPass(Pass pass) const {
    const int64_t vectors = job_.lines * (kLine / kernels_.vector_bytes),
                  passes = CeilDiv(vectors, kernels_.shift_vectors);
    for (int64_t i = 0; i < passes; ++i) {
      const int64_t first = vectors * i / passes;
      pass(first, static_cast<int>(vectors * (i + 1) / passes - first));
    }
  }

  // Accumulators of one output in a pass.
  int64_t PassWords(int vectors) const {
    return vectors * kernels_.vector_bytes / 4 * (columns_.wide ? 1 : 2);
  }

  // The pixel at each lane, or -1 between the rows of pixels.
  std::vector<int64_t> PixelAtLane() const {
    std::vector<int64_t> pixel_at(job_.lines * line_lanes_, -1);
    const int64_t last = job_.first_position + static_cast<int64_t>(pixel_at.size());
    for (int64_t p = 0; p < g_.pixels(); p += g_.out[2]) {
      const int64_t start = pixels_.Position(p);
      for (int64_t x = 0; x < g_.out[2]; ++x)
        if (start + x >= job_.first_position && start + x < last)
          pixel_at[start + x - job_.first_position] = p + x;
    }
    return pixel_at;
  }

  void Finish(const uint32_t* pixel_bias, const uint32_t* output_bias, int32_t* out) {
    const std::vector<int64_t> pixel_at = PixelAtLane();
    const int64_t vector_bytes = kernels_.vector_bytes;
    const uint32_t* sums = accumulators_;
    ForEachPass([&](int64_t first, int vectors) {
      const int64_t words = vectors * vector_bytes / 4, stride = PassWords(vectors),
                    lanes = vectors * vector_bytes / entry_bytes_,
                    lane0 = first * vector_bytes / entry_bytes_;
      // A line of outputs at a time, since lanes are far apart in the output.
      constexpr int64_t kAtOnce = 16;
      for (int64_t o0 = 0; o0 < job_.outputs; o0 += kAtOnce) {
        const int64_t count = std::min(kAtOnce, job_.outputs - o0);
        for (int64_t l = 0; l < lanes; ++l) {
          const int64_t pixel = pixel_at[lane0 + l];
          if (pixel < 0) continue;
          int32_t* const to = out + pixel * g_.out_c +
                              job_.group * g_.out_c_per_group() + job_.first_output +
                              o0;
          for (int64_t o = 0; o < count; ++o) {
            const uint32_t* const from = sums + (o0 + o) * stride;
            uint32_t sum = pixel_bias[pixel] + bias_;
            if (output_bias) sum += output_bias[job_.first_output + o0 + o];
            if (columns_.wide)
              sum += from[l];
            else if (l % 2 == 1)
              sum += from[words + l / 2];
            else if (kernels_.signed_halves)
              sum += from[l / 2];
            else
              sum += from[l / 2] - (from[words + l / 2] << 16);
            to[o] = static_cast<int32_t>(sum);
          }
        }
      }
      sums += job_.outputs * stride;
    });
  }

  const ConvGeometry& g_;
  const PixelCodes& pixels_;
  const uint8_t* const rhs_;
  const TableColumns& columns_;
  const std::vector<int64_t>& shifts_;
  const Job job_;
  const Kernels& kernels_;
  const int64_t entry_bytes_;
  const int64_t line_lanes_;
  int64_t row_bytes_;
  char* table_;
  uint32_t* accumulators_;
  uint32_t bias_ = 0;  // of all sums
};

}  // namespace

SharedTapsPlan PlanSharedTaps(const PixelCodes& pixels, bool wide) {
  SharedTapsPlan plan{};
  if (!pixels.TapsAreShifts()) return plan;
  const int64_t line_lanes = kLine / (wide ? 4 : 2),
                lanes = pixels.Position(pixels.count() - 1) - pixels.Position(0) + 1;
  plan.lines = CeilDiv(lanes, line_lanes);
  plan.segments = CeilDiv(plan.lines, kSegmentLines);
  const std::vector<int64_t> shifts = pixels.TapShifts();
  const int64_t reach = *std::max_element(shifts.begin(), shifts.end());
  plan.row_lines =
      CeilDiv(CeilDiv(plan.lines, plan.segments) * line_lanes + reach, line_lanes);
  plan.possible = 256 * plan.row_lines * kLine <= static_cast<int64_t>(kTableBytes);
  return plan;
}

void SumSharedTaps(const ConvGeometry& g, const PixelCodes& pixels,
                   const OutputCodes& outputs, const uint8_t* rhs,
                   const TableColumns& columns, int32_t* out, Workers& workers) {
  const SharedTapsPlan plan = PlanSharedTaps(pixels, columns.wide);
  const std::vector<int64_t> shifts = pixels.TapShifts();
  const int64_t line_lanes = kLine / (columns.wide ? 4 : 2), count = outputs.count();
  // A job expands the tables of its segment: so no more jobs than threads ask for.
  constexpr int64_t kLeastOutputs = 64;
  int64_t parts = CeilDiv(count, kMaxOutputs);
  while (g.groups * plan.segments * parts < workers.threads() &&
         count >= (parts + 1) * kLeastOutputs)
    ++parts;
  // What MakeColumns has taken out of the entries.
  std::vector<uint32_t> pixel_bias(g.groups * g.pixels());
  std::vector<uint32_t> output_bias(columns.centred ? g.groups * count : 0);
  int32_t lane_base[256];
  std::memcpy(lane_base, columns.lane_base, sizeof(lane_base));
  for (int64_t group = 0; group < g.groups; ++group) {
    pixels.Sum(group, lane_base, pixel_bias.data() + group * g.pixels(), workers);
    if (columns.centred)
      outputs.Sum(group, columns.walker_base, output_bias.data() + group * count,
                  workers);
  }
  workers.ForEach(g.groups * plan.segments * parts, [&](int64_t i) {
    const int64_t part = i % parts, segment = i / parts % plan.segments,
                  first_line = plan.lines * segment / plan.segments;
    Job job;
    job.group = i / parts / plan.segments;
    job.first_position = pixels.Position(0) + first_line * line_lanes;
    job.lines = plan.lines * (segment + 1) / plan.segments - first_line;
    job.first_output = count * part / parts;
    job.outputs = count * (part + 1) / parts - job.first_output;
    JobRunner(g, pixels, rhs, columns, shifts, job)
        .Run(pixel_bias.data() + job.group * g.pixels(),
             columns.centred ? output_bias.data() + job.group * count : nullptr, out);
  });
}

}  // namespace axjax
