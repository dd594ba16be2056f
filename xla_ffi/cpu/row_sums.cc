// SPDX-License-Identifier: Apache-2.0
#include "cpu/row_sums.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "cpu/ceil_div.h"
#include "cpu/instruction_set.h"
#include "cpu/scratch.h"

namespace axjax {
namespace {

// Walkers of a job: four images of 56 x 56 pixels. More would pay better for expanding,
// but their accumulators share the second-level cache with the table block.
constexpr int64_t kMaxWalkers = 12800;
// Depth positions whose tables fit together: then a few walkers at a time go through
// all of them, and their accumulators stay in the first-level cache.
constexpr int kResidentDepth = 32;
constexpr int64_t kResidentWalkers = 128;
static_assert(kMaxBlockDepth <= kResidentDepth, "a block fits");

// Scratch of a thread, in this order: small jobs then use the first huge page only.
constexpr size_t kTableBytes = size_t{kResidentDepth} * kRowStride * kMaxRowBytes;
constexpr size_t kOffsetBytes = kMaxWalkers * sizeof(int64_t);
constexpr size_t kAccumulatorBytes =
    kMaxWalkers * Accumulators(kSingles, kMaxRowBytes) * sizeof(uint32_t);
static_assert(kTableBytes + kOffsetBytes + kAccumulatorBytes <= kScratchBytes,
              "a job works in one thread's scratch memory");
static_assert((kTableBytes + kOffsetBytes) % 64 == 0, "accumulators are aligned");

// Depth positions that are added in one pass over the accumulators.
struct DepthBlock {
  int64_t first;
  int depth;
  bool consecutive;  // their codes are consecutive bytes
  // The first and the last block of those whose sums accumulators hold exactly.
  bool starts = false;
  bool ends = false;
};

// Says where sums are written and accumulators start again: 32-bit lanes hold any sum.
void MarkSegments(bool wide, std::vector<DepthBlock>* blocks) {
  static_assert(kResidentDepth <= kMaxRuns, "a depth of one segment");
  blocks->front().starts = true;
  int runs = 0;
  for (size_t b = 0; b < blocks->size(); ++b) {
    DepthBlock& block = (*blocks)[b];
    runs += Runs(block.depth);
    if (runs > kMaxRuns && !wide) {
      (*blocks)[b - 1].ends = true;
      block.starts = true;
      runs = Runs(block.depth);
    }
  }
  blocks->back().ends = true;
}

// Cuts the depth into blocks. Codes that are consecutive bytes need no table of
// offsets, which is worth up to 8 % of the time; short runs are put together all the
// same, since every block goes over all accumulators, unless these stay in the
// first-level cache.
std::vector<DepthBlock> CutDepth(const int64_t* offsets, int64_t depth, bool wide) {
  constexpr int kShortRun = 9;
  std::vector<DepthBlock> blocks;
  for (int64_t k = 0; k < depth;) {
    int64_t run = 1;
    while (k + run < depth && offsets[k + run] == offsets[k] + run) ++run;
    if (run >= kShortRun || (depth <= kResidentDepth && run >= 4)) {
      const int64_t pieces = CeilDiv(run, kMaxBlockDepth);
      for (int64_t i = 0; i < pieces; ++i) {
        const int64_t first = k + run * i / pieces, last = k + run * (i + 1) / pieces;
        blocks.push_back({first, static_cast<int>(last - first), true});
      }
      k += run;
      continue;
    }
    if (!blocks.empty() && !blocks.back().consecutive &&
        blocks.back().depth + run <= kChannelBlock)
      blocks.back().depth += static_cast<int>(run);
    else
      blocks.push_back({k, static_cast<int>(run), false});
    k += run;
  }
  MarkSegments(wide, &blocks);
  return blocks;
}

// What all jobs share.
template <class Walkers, class Lanes>
struct Problem {
  int64_t depth;
  std::vector<DepthBlock> blocks;
  const Walkers& walkers;
  const Lanes& lanes;
  const TableColumns& columns;
  OutputSteps steps;
  int32_t* out;
  const uint32_t* walker_bias;  // [group][walker], or null
};

// A rectangle of one group's walkers and lanes.
struct Job {
  int64_t group;
  int64_t first_walker;
  int64_t walkers;
  int64_t first_lane;
  int lanes;
};

template <class Walkers, class Lanes>
class JobRunner {
 public:
  JobRunner(const Problem<Walkers, Lanes>& problem, const Job& job)
      : problem_(problem), job_(job), kernels_(CurrentKernels()) {
    const int lane_bytes = problem.columns.wide ? 4 : 2;
    while (width_ + 1 < kWidths && RowBytes(width_) < job.lanes * lane_bytes) ++width_;
    table_ = ThreadScratch();
    walker_offsets_ = reinterpret_cast<int64_t*>(table_ + kTableBytes);
    accumulators_ = reinterpret_cast<uint32_t*>(table_ + kTableBytes + kOffsetBytes);
    problem.walkers.Offsets(job.first_walker, job.walkers, walker_offsets_);
    problem.lanes.LaneOffsets(job.first_lane, job.lanes, lane_offsets_);
  }

  void Run() {
    const std::vector<DepthBlock>& blocks = problem_.blocks;
    if (problem_.depth <= kResidentDepth) {
      int modes[kResidentDepth];
      for (size_t b = 0; b < blocks.size(); ++b)
        modes[b] = Expand(blocks[b], TableOf(blocks[b].first));
      for (int64_t p = 0; p < job_.walkers; p += kResidentWalkers) {
        const int64_t count = std::min(kResidentWalkers, job_.walkers - p);
        for (size_t b = 0; b < blocks.size(); ++b)
          AddRows(blocks[b], modes[b], TableOf(blocks[b].first), p, count, 0);
        Finish(p, count, 0, false);
      }
    } else {
      bool written = false;
      for (const DepthBlock& block : blocks) {
        const int mode = Expand(block, table_);
        if (!block.ends) {
          AddRows(block, mode, table_, 0, job_.walkers, 0);
          continue;
        }
        // Sums are written while they are in the first-level cache.
        for (int64_t p = 0; p < job_.walkers; p += kResidentWalkers) {
          const int64_t count = std::min(kResidentWalkers, job_.walkers - p);
          AddRows(block, mode, table_, p, count, p);
          Finish(p, count, p, written);
        }
        written = true;
        std::fill(lane_bias_, lane_bias_ + kMaxLanes, 0);
      }
    }
  }

 private:
  char* TableOf(int64_t position) const {
    return table_ + position * kRowStride * RowBytes(width_);
  }

  // Expands a block's tables; returns the mode in which its rows are to be added.
  int Expand(const DepthBlock& block, char* table) {
    static const uint32_t zeros[256] = {};
    const TableColumns& columns = problem_.columns;
    const int row_bytes = RowBytes(width_), words = row_bytes / 4,
              row_lanes = columns.wide ? words : 2 * words;
    uint8_t codes[kMaxBlockDepth][kMaxLanes];
    uint32_t spans[kMaxBlockDepth] = {};
    for (int j = 0; j < block.depth; ++j) {
      problem_.lanes.LaneCodes(job_.group, block.first + j, lane_offsets_, job_.lanes,
                               codes[j]);
      for (int l = 0; l < job_.lanes; ++l) {
        lane_bias_[l] += columns.lane_base[codes[j][l]];
        spans[j] = std::max(spans[j], columns.span[codes[j][l]]);
      }
    }
    const int mode = Mode(spans);
    for (int j = 0; j < block.depth; ++j) {
      const void* lane_columns[kMaxLanes];
      for (int l = 0; l < row_lanes; ++l) {
        // The halves of word i belong to lanes i and i + words.
        const int lane = columns.wide ? l : (l >> 1) + (l & 1) * words;
        lane_columns[l] = lane < job_.lanes ? columns.Column(codes[j][lane])
                                            : static_cast<const void*>(zeros);
      }
      const CodeRange range = problem_.walkers.range(job_.group, block.first + j);
      kernels_.expand[columns.wide][width_](
          lane_columns, range.low / 8 * 8, range.high / 8 * 8 + 8, 0, row_bytes,
          table + static_cast<int64_t>(j) * kRowStride * row_bytes);
    }
    return mode;
  }

  // The mode that adds most rows together of a block whose columns have these spans.
  int Mode(const uint32_t* spans) const {
    if (problem_.columns.wide) return kWide;
    for (int mode = kFours; mode > kSingles; --mode) {
      const int together = RowsTogether(mode);
      bool fits = true;
      for (int j = 0; j < kMaxBlockDepth; j += together) {
        uint64_t sum = 0;
        for (int s = 0; s < together; ++s) sum += spans[j + s];
        fits &= sum <= 65535;
      }
      if (fits) return mode;
    }
    return kSingles;
  }

  uint32_t* AccumulatorsOf(int64_t walker) const {
    return accumulators_ +
           walker *
               Accumulators(problem_.columns.wide ? kWide : kSingles, RowBytes(width_));
  }

  // Adds a block's rows for `count` walkers from the p-th of the job on, whose
  // accumulators are the `at`-th and following ones.
  void AddRows(const DepthBlock& block, int mode, const char* table, int64_t p,
               int64_t count, int64_t at) {
    const int64_t* const offsets = problem_.walkers.depth_offsets() + block.first;
    int64_t relative[kMaxBlockDepth] = {};
    for (int j = 0; j < block.depth; ++j) relative[j] = offsets[j] - offsets[0];
    RowsArgs args;
    args.table = table;
    args.codes = problem_.walkers.codes(job_.group) + offsets[0];
    args.walker_offsets = walker_offsets_ + p;
    args.depth_offsets = relative;
    args.walkers = count;
    args.depth = block.depth;
    args.first = block.starts;
    args.accumulators = AccumulatorsOf(at);
    kernels_.rows[mode][width_][block.consecutive](args);
  }

  // Writes the sums of `count` walkers from the p-th on, accumulated from the `at`-th
  // on; adds them to the output if `add`.
  void Finish(int64_t p, int64_t count, int64_t at, bool add) {
    const bool wide = problem_.columns.wide;
    const int64_t group = job_.group, walker = job_.first_walker + p;
    int32_t* const out = problem_.out + group * problem_.steps.group +
                         walker * problem_.steps.walker +
                         job_.first_lane * problem_.steps.lane;
    FinishArgs args;
    args.accumulators = AccumulatorsOf(at);
    args.walkers = count;
    args.lane_bias = lane_bias_;
    args.walker_bias =
        problem_.walker_bias && !add
            ? problem_.walker_bias + group * problem_.walkers.count() + walker
            : nullptr;
    args.lanes = job_.lanes;
    args.add = add;
    if (problem_.steps.lane == 1) {
      args.out = out;
      args.out_stride = problem_.steps.walker;
      kernels_.finish[wide][width_](args);
      return;
    }
    // Lanes are far apart in the output: by way of a buffer.
    int32_t part[kResidentWalkers * kMaxLanes];
    args.add = false;
    args.out = part;
    args.out_stride = kMaxLanes;
    kernels_.finish[wide][width_](args);
    for (int l = 0; l < job_.lanes; ++l)
      for (int64_t i = 0; i < count; ++i) {
        int32_t& to = out[i * problem_.steps.walker + l * problem_.steps.lane];
        const uint32_t sum = static_cast<uint32_t>(part[i * kMaxLanes + l]);
        to = static_cast<int32_t>(add ? static_cast<uint32_t>(to) + sum : sum);
      }
  }

  const Problem<Walkers, Lanes>& problem_;
  const Job job_;
  const Kernels& kernels_;
  int width_ = 0;
  uint32_t lane_bias_[kMaxLanes] = {};
  int64_t lane_offsets_[kMaxLanes];
  char* table_;
  uint32_t* accumulators_;
  int64_t* walker_offsets_;
};

}  // namespace

template <class Walkers, class Lanes>
void SumRows(int64_t groups, int64_t depth, const Walkers& walkers, const Lanes& lanes,
             const TableColumns& columns, OutputSteps steps, int32_t* out,
             Workers& workers) {
  std::vector<uint32_t> walker_bias(columns.centred ? groups * walkers.count() : 0);
  if (columns.centred)
    for (int64_t g = 0; g < groups; ++g)
      walkers.Sum(g, columns.walker_base, walker_bias.data() + g * walkers.count(),
                  workers);
  const Problem<Walkers, Lanes> problem{
      depth,   CutDepth(walkers.depth_offsets(), depth, columns.wide),
      walkers, lanes,
      columns, steps,
      out,     columns.centred ? walker_bias.data() : nullptr};

  const int64_t job_lanes = columns.wide ? kMaxLanes / 2 : kMaxLanes,
                lane_jobs = CeilDiv(lanes.count(), job_lanes);
  // As few jobs as the scratch memory allows, since each expands its tables anew; but
  // as many as keep all threads busy, unless they had too little to do.
  constexpr int64_t kLeastWalkers = 512;
  int64_t walker_jobs = CeilDiv(walkers.count(), kMaxWalkers);
  while (groups * lane_jobs * walker_jobs % workers.threads() != 0 &&
         groups * lane_jobs * walker_jobs < 8 * workers.threads() &&
         walkers.count() >= (walker_jobs + 1) * kLeastWalkers)
    ++walker_jobs;
  workers.ForEach(groups * lane_jobs * walker_jobs, [&](int64_t i) {
    const int64_t part = i / lane_jobs % walker_jobs, lane = i % lane_jobs * job_lanes;
    Job job;
    job.group = i / lane_jobs / walker_jobs;
    job.first_walker = walkers.count() * part / walker_jobs;
    job.walkers = walkers.count() * (part + 1) / walker_jobs - job.first_walker;
    job.first_lane = lane;
    job.lanes = static_cast<int>(std::min(job_lanes, lanes.count() - lane));
    JobRunner<Walkers, Lanes>(problem, job).Run();
  });
}

template void SumRows(int64_t, int64_t, const PixelCodes&, const OutputCodes&,
                      const TableColumns&, OutputSteps, int32_t*, Workers&);
template void SumRows(int64_t, int64_t, const OutputCodes&, const PixelCodes&,
                      const TableColumns&, OutputSteps, int32_t*, Workers&);

}  // namespace axjax
