// SPDX-License-Identifier: Apache-2.0
// Engine `cuda_gather`: every product is one load from the table through the L1 cache.
#pragma once
#include <cuda_runtime_api.h>

#include "conv_geometry.h"
#include "cuda/operands.h"

namespace axjax {

// Enqueues the convolution on `stream` and does not wait for it. Sums wrap. The
// workspace is that of LaunchTexture.
template <typename Entry>
LaunchStatus LaunchGather(const ConvGeometry& geometry,
                          const LutConvOperands<Entry>& operands, cudaStream_t stream);

}  // namespace axjax
