// SPDX-License-Identifier: Apache-2.0
// TFApprox's method (Vaverka et al., DATE 2020), with integer sums, on the tiles of
// lookup_kernel.cuh.
//
// The bound: a multiprocessor's texture units return 4 entries a clock, those of four
// neighbouring threads. Measured on an H200 with random codes and 16-bit entries:
//   3.5 a clock, 87 %, where a warp's 32 fetches fall into 2 or 4 rows of the table,
//   however
//       the tiles are cut. Bank conflicts in the cache would explain the rest: 6 pairs
//       among four threads, each with a chance of 3 in 128 to need one bank for
//       different lines.
//   2.6 a clock where they fall into 8 rows, 0.9 where they fall into 32.
// So the table is transposed first, and threads of a warp share weights;
// lookup_kernel.cuh says why weights.
#include "cuda/texture.h"

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/lookup_launch.cuh"

namespace axjax {
namespace {

template <typename Entry>
struct TextureFetch {
  cudaTextureObject_t texture;
  __device__ uint32_t operator()(uint32_t index) const {
    return static_cast<uint32_t>(tex1Dfetch<Entry>(texture, static_cast<int>(index)));
  }
};

}  // namespace

template <typename Entry>
LaunchStatus LaunchTextureAs(const ConvGeometry& geometry,
                             const LutConvOperands<Entry>& operands,
                             cudaStream_t stream, TableTextures& textures,
                             const TileTuning& tuning) {
  return lookup::LaunchLookup(
      geometry, operands, stream, tuning, [&](const Entry* table, const auto& launch) {
        cudaTextureObject_t texture = 0;
        if (cudaError_t error = textures.Find(table, &texture); error != cudaSuccess)
          return LaunchStatus::Of(error, "making a texture of the table");
        if (texture != 0) return launch(TextureFetch<Entry>{texture});
        return launch(lookup::GlobalFetch<Entry>{table});  // the cache is full
      });
}

template <typename Entry>
LaunchStatus LaunchTexture(const ConvGeometry& geometry,
                           const LutConvOperands<Entry>& operands,
                           cudaStream_t stream) {
  // Never destroyed: handlers may run while the process exits.
  static auto* textures = new TableTextures;
  return LaunchTextureAs(geometry, operands, stream, *textures, TextureTuning<Entry>());
}

template LaunchStatus LaunchTexture(const ConvGeometry&,
                                    const LutConvOperands<uint16_t>&, cudaStream_t);
template LaunchStatus LaunchTexture(const ConvGeometry&,
                                    const LutConvOperands<int16_t>&, cudaStream_t);
template LaunchStatus LaunchTexture(const ConvGeometry&,
                                    const LutConvOperands<int32_t>&, cudaStream_t);
template LaunchStatus LaunchTextureAs(const ConvGeometry&,
                                      const LutConvOperands<uint16_t>&, cudaStream_t,
                                      TableTextures&, const TileTuning&);
template LaunchStatus LaunchTextureAs(const ConvGeometry&,
                                      const LutConvOperands<int16_t>&, cudaStream_t,
                                      TableTextures&, const TileTuning&);
template LaunchStatus LaunchTextureAs(const ConvGeometry&,
                                      const LutConvOperands<int32_t>&, cudaStream_t,
                                      TableTextures&, const TileTuning&);

}  // namespace axjax
