// SPDX-License-Identifier: Apache-2.0
// Engine `cuda_texture`: every product is one texture fetch from the table.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>

#include "conv_geometry.h"
#include "cuda/operands.h"
#include "cuda/table_textures.h"
#include "cuda/tile_plan.h"

namespace axjax {

// A texture begins at a multiple of this many bytes on every GPU there is;
// LaunchTexture asks the GPU and fails if it wants more. XLA aligns buffers to less.
constexpr size_t kTextureAlignment = 512;

// Bytes of workspace: the table, transposed and aligned.
constexpr size_t TextureWorkspaceBytes(size_t entry_bytes) {
  return kTableSize * entry_bytes + kTextureAlignment;
}

// Enqueues the convolution on `stream` and does not wait for it. Sums wrap.
template <typename Entry>
LaunchStatus LaunchTexture(const ConvGeometry& geometry,
                           const LutConvOperands<Entry>& operands, cudaStream_t stream);

// The tiling that LaunchTexture uses. A row of 32-bit entries takes twice the cache
// lines: a whole warp shares it.
template <typename Entry>
TileTuning TextureTuning() {
  TileTuning tuning;
  if (sizeof(Entry) == 4) tuning.columns = 8;
  return tuning;
}

// The same with another cache and another tiling, for checks and timings.
template <typename Entry>
LaunchStatus LaunchTextureAs(const ConvGeometry& geometry,
                             const LutConvOperands<Entry>& operands,
                             cudaStream_t stream, TableTextures& textures,
                             const TileTuning& tuning);

}  // namespace axjax
