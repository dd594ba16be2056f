// SPDX-License-Identifier: Apache-2.0
#include "cpu/factored_products.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "cpu/ceil_div.h"
#include "cpu/factored_codes.h"
#include "cpu/factored_kernels.h"
#include "cpu/factored_plan.h"
#include "cpu/factored_weights.h"
#include "cpu/scratch.h"

namespace axjax {
namespace {

// Of ThreadScratch: lines of codes, and sums where a depth has several segments.
constexpr int64_t kLinesBytes = 768 << 10;
constexpr int64_t kSumsBytes = 1 << 20;
// Weights that all tiles of pixels of a job go through before the next.
constexpr int64_t kWeightsBytes = 704 << 10;

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
  Products(const FactoredPlan& plan, const FactoredTerms& terms,
           const FactoredWeights& weights, const FactoredKernels& kernels,
           const uint8_t* lhs, uint8_t pad_code, int32_t* out)
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
                  sums_count = at_once_ ? 4 : blocks * tiles.size();
    const JobMemory memory(lines_bytes + sums_count * kTileSums * sizeof(int32_t));
    auto* const lines = reinterpret_cast<uint8_t*>(memory.data());
    auto* const sums = reinterpret_cast<int32_t*>(memory.data() + lines_bytes);
    FactoredCodes codes(plan_, terms_, lhs_, pad_code_, kernels_, *job.block, layout);
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
  void Multiply(const Job& job, const FactoredSegment& segment,
                const BlockLayout& layout, const std::vector<PixelTile>& tiles,
                const uint8_t* lines, int32_t* sums) const {
    std::vector<int64_t> offsets;
    offsets.reserve(segment.lines * plan_.taps);
    for (int64_t line = 0; line < segment.lines; ++line)
      for (int64_t tap = 0; tap < plan_.taps; ++tap)
        offsets.push_back((line * layout.total + layout.Tap(plan_, tap)) * kLineBytes);
    const int64_t steps = static_cast<int64_t>(offsets.size()), count = tiles.size(),
                  blocks = job.last - job.first;
    // All pixels go through the weights of some outputs before those of the next.
    const int64_t together = std::max<int64_t>(
        2, kWeightsBytes / std::max<int64_t>(1, steps * kTileBytes) / 2 * 2);
    for (int64_t first = job.first; first < job.last; first += together)
      for (int64_t t = 0; t < count; t += 2)
        for (int64_t b = first; b < std::min(job.last, first + together); b += 2) {
          MultiplyArgs args;
          args.tiles = static_cast<int>(std::min<int64_t>(2, count - t));
          args.blocks = static_cast<int>(std::min<int64_t>(2, job.last - b));
          args.offsets = offsets.data();
          args.steps = steps;
          for (int i = 0; i < args.tiles; ++i)
            args.codes[i] = lines + tiles[t + i].position * kLineBytes;
          args.weights = weights_.tiles(job.group, b, segment.first_step);
          if (at_once_)
            ToOutput(job.group, &tiles[t], b, sums, &args);
          else
            Accumulate(segment, sums + (t * blocks + b - job.first) * kTileSums, blocks,
                       &args);
        }
  }

  // Straight to the output if tiles are whole, else by way of `parts`.
  void ToOutput(int64_t group, const PixelTile* tiles, int64_t block, int32_t* parts,
                MultiplyArgs* args) const {
    bool whole = true;
    for (int i = 0; i < args->tiles; ++i)
      whole &= tiles[i].runs.size() == 1 && tiles[i].runs[0].count == kTileRows;
    for (int j = 0; j < args->blocks; ++j) whole &= Outputs(block + j) == kTileOutputs;
    args->first_stride = 0;
    args->sums_stride = (whole ? plan_.geometry.out_c : kTileOutputs) * sizeof(int32_t);
    for (int i = 0; i < args->tiles; ++i)
      for (int j = 0; j < args->blocks; ++j) {
        args->first[i][j] =
            reinterpret_cast<const int32_t*>(weights_.bias(group, block + j));
        args->sums[i][j] = whole ? Out(tiles[i].runs[0].pixel, group, block + j)
                                 : parts + (2 * i + j) * kTileSums;
      }
    kernels_.multiply(*args);
    if (whole) return;
    for (int i = 0; i < args->tiles; ++i)
      for (int j = 0; j < args->blocks; ++j)
        Finish(tiles[i], group, block + j, 0, nullptr, args->sums[i][j]);
  }

  // Adds to sums, of which a tile of pixels has `blocks` tiles.
  void Accumulate(const FactoredSegment& segment, int32_t* sums, int64_t blocks,
                  MultiplyArgs* args) const {
    alignas(kLineBytes) static constexpr int32_t kZeros[kTileOutputs] = {};
    const bool first = &segment == &plan_.segments.front();
    args->first_stride = first ? 0 : kTileOutputs * sizeof(int32_t);
    args->sums_stride = kTileOutputs * sizeof(int32_t);
    for (int i = 0; i < args->tiles; ++i)
      for (int j = 0; j < args->blocks; ++j) {
        int32_t* const tile = sums + (i * blocks + j) * kTileSums;
        if (!first && segment.shift > 0)
          for (int s = 0; s < kTileSums; ++s)
            tile[s] =
                static_cast<int32_t>(static_cast<uint32_t>(tile[s]) << segment.shift);
        args->first[i][j] = first ? kZeros : tile;
        args->sums[i][j] = tile;
      }
    kernels_.multiply(*args);
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
  const FactoredWeights& weights_;
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
  const FactoredWeights weights(plan, terms, rhs, kernels, workers);
  const Products products(plan, terms, weights, kernels, lhs, pad_code, out);

  const int64_t threads = workers.threads(),
                wanted = threads > 1 ? CeilDiv(4 * threads, g.groups) : 1;
  const std::vector<PixelBlock> blocks = CutPixels(plan, kLinesBytes, wanted);
  const int64_t of_pixels = g.groups * static_cast<int64_t>(blocks.size()),
                pairs = CeilDiv(weights.blocks(), 2);
  // Where pixels alone make too few jobs, outputs are divided too; and where there are
  // more sums than caches hold.
  const int64_t sums_bytes =
      plan.segments.size() == 1
          ? 0
          : weights.blocks() * kTileBytes * kLinesBytes /
                (std::max<int64_t>(1, plan.most_lines) * kLineBytes * kTileRows);
  const int64_t ranges = std::min(
      pairs, std::max(CeilDiv(sums_bytes, kSumsBytes),
                      threads > 1 ? CeilDiv(2 * threads, of_pixels) : int64_t{1}));
  std::vector<Job> jobs;
  for (const PixelBlock& block : blocks)
    for (int64_t group = 0; group < g.groups; ++group)
      for (int64_t r = 0; r < ranges; ++r) {
        jobs.push_back({&block, group, 2 * (pairs * r / ranges),
                        std::min(weights.blocks(), 2 * (pairs * (r + 1) / ranges))});
      }
  workers.ForEach(static_cast<int64_t>(jobs.size()),
                  [&](int64_t i) { products.Run(jobs[i]); });
}

}  // namespace axjax
