// SPDX-License-Identifier: Apache-2.0
// The tiles of lookup_kernel.cuh, with entries loaded through the L1 cache.
//
// The bound: a warp's 32 loads hit random words of one row of the transposed table, 512
// bytes of 16-bit entries. Among 32 banks the fullest of 32 random words gets 3.5 on
// average, so that a multiprocessor returns 9 entries a clock; texture units return 4.
// All 32 threads of a warp share the weight, hence the narrow tiles: 4 warps abreast,
// two outputs each. Where half of a warp was in another row, it took a third longer.
#include "cuda/gather.h"

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/lookup_launch.cuh"

namespace axjax {

template <typename Entry>
LaunchStatus LaunchGather(const ConvGeometry& geometry,
                          const LutConvOperands<Entry>& operands, cudaStream_t stream) {
  TileTuning tuning;
  tuning.columns = 8;
  return lookup::LaunchLookup(geometry, operands, stream, tuning,
                              [](const Entry* table, const auto& launch) {
                                return launch(lookup::GlobalFetch<Entry>{table});
                              });
}

template LaunchStatus LaunchGather(const ConvGeometry&,
                                   const LutConvOperands<uint16_t>&, cudaStream_t);
template LaunchStatus LaunchGather(const ConvGeometry&, const LutConvOperands<int16_t>&,
                                   cudaStream_t);
template LaunchStatus LaunchGather(const ConvGeometry&, const LutConvOperands<int32_t>&,
                                   cudaStream_t);

}  // namespace axjax
