// SPDX-License-Identifier: Apache-2.0
// The specification of the operation on the GPU. Checks compare with it; it never gets
// fast.
#pragma once
#include <cuda_runtime_api.h>

#include "conv_geometry.h"
#include "cuda/operands.h"

namespace axjax {

// Enqueues out[p, o] = sum over taps and channels of table[input code, kernel code] on
// `stream`; sums wrap. Takes any sizes and no workspace.
template <typename Entry>
LaunchStatus LaunchReference(const ConvGeometry& geometry,
                             const LutConvOperands<Entry>& operands,
                             cudaStream_t stream);

}  // namespace axjax
