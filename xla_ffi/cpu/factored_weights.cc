// SPDX-License-Identifier: Apache-2.0
#include "cpu/factored_weights.h"

#include <algorithm>
#include <new>

namespace axjax {

void FactoredWeights::Free::operator()(uint8_t* p) const {
  ::operator delete(p, std::align_val_t{kLineBytes});
}

FactoredWeights::FactoredWeights(const FactoredPlan& plan, const FactoredTerms& terms,
                                 const uint8_t* rhs, const FactoredKernels& kernels,
                                 Workers& workers)
    : blocks_((plan.geometry.out_c_per_group() + kTileOutputs - 1) / kTileOutputs),
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

int FactoredWeights::Outputs(const ConvGeometry& g, int64_t i) const {
  return static_cast<int>(std::min<int64_t>(
      kTileOutputs, g.out_c_per_group() - i % blocks_ * kTileOutputs));
}

void FactoredWeights::Expand(const FactoredPlan& plan, const FactoredTerms& terms,
                             const uint8_t* rhs, const FactoredKernels& kernels,
                             int64_t i, int64_t tap) {
  const ConvGeometry& g = plan.geometry;
  for (const FactoredSegment& segment : plan.segments)
    for (const FactoredPiece& piece : segment.pieces) {
      const FactoredChunk& chunk = plan.chunks[piece.chunk];
      const int64_t step = segment.first_step + piece.first_line * plan.taps + tap,
                    row = tap * plan.channels + chunk.first;
      kernels.expand_weights(
          {rhs + row * g.out_c + First(g, i), g.out_c, chunk.channels, chunk.width,
           Outputs(g, i), terms.plane(segment.plane).v.data() + 256 * piece.first_term,
           piece.terms, tiles_.get() + Tile(i, step) * kTileBytes,
           plan.taps * Pair(i % blocks_) * kTileBytes});
    }
}

}  // namespace axjax
