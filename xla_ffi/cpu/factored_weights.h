// SPDX-License-Identifier: Apache-2.0
// The weights of a factored convolution as tiles: [group][pair of tiles of
// outputs][step] [tile of the pair]. A step of two tiles is one stream of memory.
#pragma once
#include <cstdint>
#include <memory>

#include "cpu/factored_kernels.h"
#include "cpu/factored_plan.h"
#include "cpu/factored_terms.h"
#include "cpu/workers.h"

namespace axjax {

class FactoredWeights {
 public:
  FactoredWeights(const FactoredPlan& plan, const FactoredTerms& terms,
                  const uint8_t* rhs, const FactoredKernels& kernels, Workers& workers);

  // Tiles of outputs of a group.
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
    void operator()(uint8_t* p) const;
  };

  // `i` counts the blocks of all groups.
  int64_t Tile(int64_t i, int64_t step) const {
    const int64_t block = i % blocks_, in_pair = block % 2;
    return (i - in_pair) * steps_ + step * Pair(block) + in_pair;
  }
  // Tiles of the pair that a block is in.
  int64_t Pair(int64_t block) const { return block / 2 * 2 + 1 < blocks_ ? 2 : 1; }
  // Of the kernel as a matrix, the first output of a block.
  int64_t First(const ConvGeometry& g, int64_t i) const {
    return i / blocks_ * g.out_c_per_group() + i % blocks_ * kTileOutputs;
  }
  int Outputs(const ConvGeometry& g, int64_t i) const;
  void Expand(const FactoredPlan& plan, const FactoredTerms& terms, const uint8_t* rhs,
              const FactoredKernels& kernels, int64_t i, int64_t tap);

  const int64_t blocks_, steps_;
  std::unique_ptr<uint8_t[], Free> tiles_;
  std::unique_ptr<Sums[]> bias_;
};

}  // namespace axjax
