// SPDX-License-Identifier: Apache-2.0
#include "cpu/factored_products.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "cpu/factored_kernels.h"
#include "cpu/factored_plan.h"
#include "cpu/scratch.h"

namespace axjax {
namespace {

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Of ThreadScratch: lines of codes take about this much, and the rest is for sums of
// several segments.
constexpr int64_t kLinesBytes = 768 << 10;
constexpr int64_t kWeightsBytes = 704 << 10;  // that all tiles of pixels go through

// Steps that are multiplied in one go. It is two, three tiles of pixels and outputs in
// turn
constexpr int64_t kPassSteps = 1000;

// ---- Weights: [group][pair of tiles of outputs][step][tile of the pair]. As one
// stream a pair is faster to read than as two, which lie in the same cache sets.

class Weights {
 public:
  Weights(const FactoredPlan& plan, const FactoredTerms& terms, const uint8_t* rhs,
          const FactoredKernels& kernels, Workers& workers)
      : blocks_(CeilDiv(plan.geometry.out_c_per_group(), kTileOutputs)),
        steps_(plan.steps) {
    const ConvGeometry& g = plan.geometry;
    const int64_t count = g.groups * blocks_, bytes = count * steps_ * kTileBytes;
    tiles_.reset(static_cast<uint8_t*>(
        ::operator new(std::max<int64_t>(1, bytes), std::align_val_t{kLineBytes})));
    bias_.reset(new Sums[count]());
    const int64_t jobs = std::clamp<int64_t>(bytes >> 16, 1, 4 * workers.threads()),
                  items = count * plan.taps;
    workers.ForEach(jobs, [&](int64_t job) {
      for (int64_t i = items * job / jobs; i < items * (job + 1) / jobs; ++i)
        Expand(plan, terms, rhs, kernels, i / plan.taps, i % plan.taps);
    });
    workers.ForEach(std::min(jobs, count), [&](int64_t job) {
      for (int64_t i = job; i < count; i += std::min(jobs, count))
        kernels.sum_weights({rhs + First(g, i), g.out_c, plan.taps * plan.channels,
                             Outputs(g, i), terms.beta(), bias_[i].of_output});
    });
  }

  int64_t blocks() const { return blocks_; }
  // Of the pair that begins with a block, from a step on.
  const uint8_t* tiles(int64_t group, int64_t block, int64_t step) const {
    return tiles_.get() + Tile(group * blocks_ + block, step) * kTileBytes;
  }
  // Sums of beta over the depth.
  const uint32_t* bias(int64_t group, int64_t block) const {
    return bias_[group * blocks_ + block].of_output;
  }

 private:
  struct alignas(kLineBytes) Sums {
    uint32_t of_output[kTileOutputs];
  };
  struct Free {
    void operator()(uint8_t* p) const {
      ::operator delete(p, std::align_val_t{kLineBytes});
    }
  };

  int64_t Tile(int64_t i, int64_t step) const {
    const int64_t block = i % blocks_, in_pair = block % 2;
    return (i - in_pair) * steps_ + step * Pair(block) + in_pair;
  }
  // Tiles of the pair that a block is in.
  int64_t Pair(int64_t block) const { return block / 2 * 2 + 1 < blocks_ ? 2 : 1; }

  // Of the kernel as a matrix, the first output of a group's tile.
  int64_t First(const ConvGeometry& g, int64_t i) const {
    return i / blocks_ * g.out_c_per_group() + i % blocks_ * kTileOutputs;
  }
  int Outputs(const ConvGeometry& g, int64_t i) const {
    return static_cast<int>(std::min<int64_t>(
        kTileOutputs, g.out_c_per_group() - i % blocks_ * kTileOutputs));
  }

  void Expand(const FactoredPlan& plan, const FactoredTerms& terms, const uint8_t* rhs,
              const FactoredKernels& kernels, int64_t i, int64_t tap) {
    const ConvGeometry& g = plan.geometry;
    for (const FactoredSegment& segment : plan.segments)
      for (const FactoredPiece& piece : segment.pieces) {
        const FactoredChunk& chunk = plan.chunks[piece.chunk];
        const int64_t step = segment.first_step + piece.first_line * plan.taps + tap,
                      row = tap * plan.channels + chunk.first;
        kernels.expand_weights(
            {rhs + row * g.out_c + First(g, i), g.out_c, chunk.channels, chunk.width,
             Outputs(g, i),
             terms.plane(segment.plane).v.data() + 256 * piece.first_term, piece.terms,
             tiles_.get() + Tile(i, step) * kTileBytes,
             plan.taps * Pair(i % blocks_) * kTileBytes});
      }
  }

  const int64_t blocks_, steps_;
  std::unique_ptr<uint8_t[], Free> tiles_;
  std::unique_ptr<Sums[]> bias_;
};

// ---- Codes: from the input to lines.

// Consecutive columns of a block whose input indices lie equally far apart.
struct Run {
  int64_t column, count;
  int64_t source, step;  // source -1: padding
};

std::vector<Run> FindRuns(const FactoredAxis& axis, int64_t phase, int64_t first,
                          int64_t columns) {
  std::vector<Run> runs;
  const auto source = [&](int64_t column) {
    const int64_t position = (first + column) * axis.plan.out_step + axis.phases[phase];
    return position < static_cast<int64_t>(axis.plan.source.size())
               ? axis.plan.source[position]
               : -1;
  };
  for (int64_t column = 0; column < columns; ++column) {
    const int64_t at = source(column);
    if (!runs.empty()) {
      Run& run = runs.back();
      if (at < 0 && run.source < 0) {
        ++run.count;
        continue;
      }
      if (at > run.source && run.source >= 0) {
        if (run.count == 1) run.step = at - run.source;
        if (at == run.source + run.count * run.step) {
          ++run.count;
          continue;
        }
      }
    }
    runs.push_back({column, 1, at, 0});
  }
  return runs;
}

class CodeLines {
 public:
  CodeLines(const FactoredPlan& plan, const FactoredTerms& terms, const uint8_t* lhs,
            uint8_t pad_code, const FactoredKernels& kernels, const PixelBlock& block,
            const BlockLayout& layout)
      : plan_(plan),
        terms_(terms),
        lhs_(lhs),
        kernels_(kernels),
        block_(block),
        layout_(layout),
        pads_(kLineBytes, pad_code) {
    const FactoredAxis& last = plan.axes[2];
    if (plan.unfolded)
      padded_row_.resize((block.columns - 1) * last.plan.out_step * Channels() +
                         plan.channels);
    for (size_t phase = 0; phase < last.phases.size(); ++phase)
      runs_.push_back(
          FindRuns(last, phase, block.x, block.columns + plan.axes[2].reach));
  }

  // Writes the lines of a segment, of a group's channels.
  void Expand(const FactoredSegment& segment, int64_t group, uint8_t* lines) {
    const FactoredAxis &planes = plan_.axes[0], &rows = plan_.axes[1];
    for (int64_t z = 0; z < plan_.geometry.kernel[0]; ++z) {
      const int64_t in_z =
          planes.plan
              .source[block_.z * planes.plan.out_step + z * planes.plan.tap_step];
      for (size_t phase = 0; phase < rows.phases.size(); ++phase)
        for (int64_t n = 0; n < block_.images; ++n)
          for (int64_t row = 0; row < layout_.rows; ++row) {
            const int64_t y =
                (block_.y + row) * rows.plan.out_step + rows.phases[phase];
            if (y >= static_cast<int64_t>(rows.plan.source.size())) break;
            ExpandRow(segment, group, block_.image + n, in_z, rows.plan.source[y],
                      [&](size_t x_phase) {
                        return lines +
                               kLineBytes * (layout_.Phase(plan_, z, phase, x_phase) +
                                             (n * layout_.rows + row) * layout_.pitch);
                      });
          }
    }
  }

 private:
  // Of the input and a group.
  int64_t Channels() const { return plan_.geometry.in_c_per_group(); }

  // `to` says where the row's lines begin, for each phase of the last axis.
  template <class To>
  void ExpandRow(const FactoredSegment& segment, int64_t group, int64_t image,
                 int64_t z, int64_t y, To to) {
    const ConvGeometry& g = plan_.geometry;
    const bool inside = z >= 0 && y >= 0;
    const uint8_t* const codes =
        inside ? lhs_ + ((image * g.in[0] + z) * g.in[1] + y) * g.in[2] * g.in_c +
                     group * Channels()
               : nullptr;
    if (plan_.unfolded && inside) {
      PadRow(codes);
      ExpandRun(segment, padded_row_.data(), plan_.axes[2].plan.out_step * Channels(),
                block_.columns, to(0));
      return;
    }
    for (size_t phase = 0; phase < runs_.size(); ++phase) {
      if (!inside) {
        ExpandRun(segment, nullptr, 0, layout_.pitch, to(phase));
        continue;
      }
      for (const Run& run : runs_[phase])
        ExpandRun(segment, run.source < 0 ? nullptr : codes + run.source * g.in_c,
                  run.step * g.in_c, run.count, to(phase) + run.column * kLineBytes);
    }
  }

  // Codes that are null are padding.
  void ExpandRun(const FactoredSegment& segment, const uint8_t* codes, int64_t stride,
                 int64_t positions, uint8_t* lines) {
    for (const FactoredPiece& piece : segment.pieces) {
      const FactoredChunk& chunk = plan_.chunks[piece.chunk];
      kernels_.expand_codes(
          {codes ? codes + chunk.first : pads_.data(), stride, positions,
           chunk.channels, chunk.width,
           terms_.plane(segment.plane).u.data() + 256 * piece.first_term, piece.terms,
           lines + piece.first_line * layout_.total * kLineBytes,
           layout_.total * kLineBytes});
    }
  }

  // The channels of all positions that the block's columns see, behind each other.
  void PadRow(const uint8_t* codes) {
    const AxisPlan& axis = plan_.axes[2].plan;
    const int64_t channels = Channels(),
                  count = static_cast<int64_t>(padded_row_.size()) / channels;
    const int64_t* const source = axis.source.data() + block_.x * axis.out_step;
    for (int64_t i = 0; i < count;) {
      uint8_t* const to = padded_row_.data() + i * channels;
      if (source[i] < 0) {
        std::memset(to, pads_[0], channels);
        ++i;
        continue;
      }
      int64_t end = i + 1;
      if (plan_.geometry.groups == 1)  // neighbours lie behind each other
        while (end < count && source[end] == source[end - 1] + 1) ++end;
      std::memcpy(to, codes + source[i] * plan_.geometry.in_c, (end - i) * channels);
      i = end;
    }
  }

  const FactoredPlan& plan_;
  const FactoredTerms& terms_;
  const uint8_t* const lhs_;
  const FactoredKernels& kernels_;
  const PixelBlock& block_;
  const BlockLayout& layout_;
  const std::vector<uint8_t> pads_;
  std::vector<uint8_t> padded_row_;
  std::vector<std::vector<Run>> runs_;
};

// ---- Jobs.

// Memory that begins with a cache line: the thread's own, if it is large enough.
class JobMemory {
 public:
  explicit JobMemory(int64_t bytes) {
    if (bytes <= static_cast<int64_t>(kScratchBytes)) {
      data_ = ThreadScratch();
    } else {
      own_.reset(new char[bytes + kLineBytes]);
      data_ = own_.get() +
              (kLineBytes - reinterpret_cast<uintptr_t>(own_.get()) % kLineBytes);
    }
  }
  char* data() const { return data_; }

 private:
  std::unique_ptr<char[]> own_;
  char* data_;
};

struct Job {
  const PixelBlock* block;
  int64_t group;
  int64_t first, last;  // tiles of outputs
};

class Products {
 public:
  Products(const FactoredPlan& plan, const FactoredTerms& terms, const Weights& weights,
           const FactoredKernels& kernels, const uint8_t* lhs, uint8_t pad_code,
           int32_t* out)
      : plan_(plan),
        terms_(terms),
        weights_(weights),
        kernels_(kernels),
        lhs_(lhs),
        pad_code_(pad_code),
        out_(out),
        // The sums of one segment go to the output at once.
        at_once_(plan.segments.size() == 1 && plan.last_shift == 0) {}

  void Run(const Job& job) const {
    const BlockLayout layout(plan_, *job.block);
    const std::vector<PixelTile> tiles = CutTiles(plan_, *job.block, layout);
    const int64_t lines_bytes = plan_.most_lines * layout.total * kLineBytes,
                  blocks = job.last - job.first,
                  sums_count = blocks * (at_once_ ? 2 : tiles.size());
    const JobMemory memory(lines_bytes + sums_count * kTileSums * sizeof(int32_t));
    auto* const lines = reinterpret_cast<uint8_t*>(memory.data());
    auto* const sums = reinterpret_cast<int32_t*>(memory.data() + lines_bytes);
    CodeLines codes(plan_, terms_, lhs_, pad_code_, kernels_, *job.block, layout);
    kernels_.begin();
    for (const FactoredSegment& segment : plan_.segments) {
      codes.Expand(segment, job.group, lines);
      Multiply(job, segment, layout, tiles, lines, sums);
    }
    kernels_.end();
    if (!at_once_)
      for (size_t t = 0; t < tiles.size(); ++t)
        for (int64_t b = job.first; b < job.last; ++b)
          Finish(tiles[t], job.group, b, plan_.last_shift, weights_.bias(job.group, b),
                 sums + (t * blocks + b - job.first) * kTileSums);
  }

 private:
  // Of two tiles of pixels and two of outputs: some of a segment's steps.
  struct Part {
    int64_t tile, block;
    bool begins, ends;  // the segment's first and last steps
  };

  void Multiply(const Job& job, const FactoredSegment& segment,
                const BlockLayout& layout, const std::vector<PixelTile>& tiles,
                const uint8_t* lines, int32_t* sums) const {
    std::vector<int64_t> offsets;
    offsets.reserve(segment.lines * plan_.taps);
    for (int64_t line = 0; line < segment.lines; ++line)
      for (int64_t tap = 0; tap < plan_.taps; ++tap)
        offsets.push_back((line * layout.total + layout.Tap(plan_, tap)) * kLineBytes);
    const int64_t steps = static_cast<int64_t>(offsets.size()), count = tiles.size(),
                  blocks = job.last - job.first,
                  of_pass =
                      std::max<int64_t>(1, CeilDiv(steps, CeilDiv(steps, kPassSteps)));
    // All pixels go through the weights of some outputs before those of the next.
    const int64_t together = std::max<int64_t>(
        2, kWeightsBytes / std::max<int64_t>(1, steps * kTileBytes) / 2 * 2);
    for (int64_t first = job.first; first < job.last; first += together)
      for (int64_t t = 0; t < count; t += 2) {
        int64_t step = 0;
        do {  // once, too, if there is no step
          for (int64_t b = first; b < std::min(job.last, first + together); b += 2) {
            MultiplyArgs args;
            args.tiles = static_cast<int>(std::min<int64_t>(2, count - t));
            args.blocks = static_cast<int>(std::min<int64_t>(2, job.last - b));
            args.offsets = offsets.data() + step;
            args.steps = std::min(of_pass, steps - step);
            for (int i = 0; i < args.tiles; ++i)
              args.codes[i] = lines + tiles[t + i].position * kLineBytes;
            args.weights = weights_.tiles(job.group, b, segment.first_step + step);
            int32_t* const of_part =
                sums + ((at_once_ ? 0 : t) * blocks + b - job.first) * kTileSums;
            for (int i = 0; i < args.tiles; ++i)
              for (int j = 0; j < args.blocks; ++j)
                args.sums[i][j] = of_part + (i * blocks + j) * kTileSums;
            Add(job, segment, tiles, {t, b, step == 0, step + of_pass >= steps}, &args);
          }
          step += of_pass;
        } while (step < steps);
      }
  }

  // Multiplies, from what stands at args->sums or from the beginning, to there or to
  // the output.
  void Add(const Job& job, const FactoredSegment& segment,
           const std::vector<PixelTile>& tiles, const Part& part,
           MultiplyArgs* args) const {
    alignas(kLineBytes) static constexpr int32_t kZeros[kTileOutputs] = {};
    const bool begins = part.begins && &segment == &plan_.segments.front(),
               ends = part.ends && at_once_;
    args->first_stride = begins ? 0 : kTileOutputs * sizeof(int32_t);
    args->sums_stride = kTileOutputs * sizeof(int32_t);
    bool whole = ends;
    for (int i = 0; i < args->tiles; ++i) {
      const std::vector<PixelTile::Run>& runs = tiles[part.tile + i].runs;
      whole &= runs.size() == 1 && runs[0].count == kTileRows;
    }
    for (int j = 0; j < args->blocks; ++j)
      whole &= Outputs(part.block + j) == kTileOutputs;
    for (int i = 0; i < args->tiles; ++i)
      for (int j = 0; j < args->blocks; ++j) {
        int32_t* const sums = args->sums[i][j];
        const uint32_t* const bias = weights_.bias(job.group, part.block + j);
        if (part.begins && !begins && segment.shift > 0)
          for (int s = 0; s < kTileSums; ++s)
            sums[s] =
                static_cast<int32_t>(static_cast<uint32_t>(sums[s]) << segment.shift);
        args->first[i][j] = !begins    ? sums
                            : at_once_ ? reinterpret_cast<const int32_t*>(bias)
                                       : kZeros;
        if (whole)
          args->sums[i][j] =
              Out(tiles[part.tile + i].runs[0].pixel, job.group, part.block + j);
      }
    if (whole) args->sums_stride = plan_.geometry.out_c * sizeof(int32_t);
    kernels_.multiply(*args);
    if (!ends || whole) return;
    for (int i = 0; i < args->tiles; ++i)
      for (int j = 0; j < args->blocks; ++j)
        Finish(tiles[part.tile + i], job.group, part.block + j, 0, nullptr,
               args->sums[i][j]);
  }

  // Copies the outputs of a tile, shifted, with the bias if there is one.
  void Finish(const PixelTile& tile, int64_t group, int64_t block, int shift,
              const uint32_t* bias, const int32_t* sums) const {
    const int outputs = Outputs(block);
    for (const PixelTile::Run& run : tile.runs)
      for (int i = 0; i < run.count; ++i) {
        int32_t* const to = Out(run.pixel + i, group, block);
        const int32_t* const from = sums + (run.row + i) * kTileOutputs;
        if (bias)
          for (int o = 0; o < outputs; ++o)
            to[o] = static_cast<int32_t>((static_cast<uint32_t>(from[o]) << shift) +
                                         bias[o]);
        else if (outputs == kTileOutputs)
          std::memcpy(to, from, kTileOutputs * sizeof(int32_t));
        else
          std::memcpy(to, from, outputs * sizeof(int32_t));
      }
  }

  int Outputs(int64_t block) const {
    return static_cast<int>(std::min<int64_t>(
        kTileOutputs, plan_.geometry.out_c_per_group() - block * kTileOutputs));
  }

  int32_t* Out(int64_t pixel, int64_t group, int64_t block) const {
    const ConvGeometry& g = plan_.geometry;
    return out_ + pixel * g.out_c + group * g.out_c_per_group() + block * kTileOutputs;
  }

  const FactoredPlan& plan_;
  const FactoredTerms& terms_;
  const Weights& weights_;
  const FactoredKernels& kernels_;
  const uint8_t* const lhs_;
  const uint8_t pad_code_;
  int32_t* const out_;
  const bool at_once_;
};

}  // namespace

void SumProducts(const ConvGeometry& g, const uint8_t* lhs, const uint8_t* rhs,
                 FactoredTerms& terms, uint8_t pad_code, int32_t* out,
                 Workers& workers) {
  const FactoredKernels kernels = CurrentFactoredKernels();
  if (kernels.unsigned_codes) terms.MakeUnsigned();
  const FactoredPlan plan(g, terms);
  const Weights weights(plan, terms, rhs, kernels, workers);
  const Products products(plan, terms, weights, kernels, lhs, pad_code, out);

  const int64_t threads = workers.threads(),
                wanted = threads > 1 ? CeilDiv(4 * threads, g.groups) : 1;
  const std::vector<PixelBlock> blocks = CutPixels(plan, kLinesBytes, wanted);
  const int64_t of_pixels = g.groups * static_cast<int64_t>(blocks.size());
  // Where pixels alone make too few jobs, outputs are divided too.
  const int64_t ranges =
      threads > 1 && of_pixels < 2 * threads
          ? std::min(CeilDiv(weights.blocks(), 2), CeilDiv(2 * threads, of_pixels))
          : 1;
  std::vector<Job> jobs;
  for (const PixelBlock& block : blocks)
    for (int64_t group = 0; group < g.groups; ++group)
      for (int64_t r = 0; r < ranges; ++r) {
        const int64_t pairs = CeilDiv(weights.blocks(), 2);
        jobs.push_back({&block, group, 2 * (pairs * r / ranges),
                        std::min(weights.blocks(), 2 * (pairs * (r + 1) / ranges))});
      }
  workers.ForEach(static_cast<int64_t>(jobs.size()),
                  [&](int64_t i) { products.Run(jobs[i]); });
}

}  // namespace axjax
