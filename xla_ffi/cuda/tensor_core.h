// SPDX-License-Identifier: Apache-2.0
// Emulation of a factored table on int8 tensor cores: what a caller needs to know.
//
//   out[p, o] = sum over k of M[x(p, k), w(k, o)],
//   M[x, w]   = sum over planes d of 256^d * sum over terms r of u_d[x, r] * v_d[w, r]
//
// is a matrix product of depth (k, r), which tensor cores sum exactly in int32. Sums
// wrap, so planes and partial sums may exceed 32 bits as long as the result fits.
// Activations are expanded to u[x] in registers and never in device memory; weights are
// expanded to v[w] once per call, into the workspace.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "conv_geometry.h"
#include "table_factors.h"

namespace axjax {

// Operands of one convolution, all in device memory.
struct TensorCoreBuffers {
  const uint8_t* lhs;       // codes (batch, in..., in_c), aligned to 4 bytes
  const uint8_t* rhs;       // codes (kernel..., rhs_in_c, out_c)
  const uint8_t* pad_code;  // one code
  int32_t* out;             // (batch, out..., out_c)
  void* workspace;          // TensorCoreWorkspaceBytes, aligned to 128 bytes
  // Channels of a group that `rhs` has, at most in_c / groups, which is a multiple
  // of 4. The codes of the others count for nothing: they fill pixels up to whole
  // words.
  int64_t rhs_in_c;
};

// Bytes that LaunchTensorCore needs in `workspace`. A function of the sizes alone, so
// that it can be asked for where there is no GPU. `columns`: as in TensorCoreChoice, 0
// for what LaunchTensorCore chooses.
size_t TensorCoreWorkspaceBytes(const ConvGeometry& geometry,
                                const TableFactors& factors, int columns = 0);

// Whether the kernel, which counts in 32 bits, takes problems of these sizes.
bool TensorCoreTakes(const ConvGeometry& geometry, const TableFactors& factors);

// Enqueues the convolution on `stream` and does not wait for it. Returns
// cudaErrorInvalidValue for sizes that it does not take and cudaErrorNotSupported for a
// GPU older than compute capability 8.0.
cudaError_t LaunchTensorCore(const ConvGeometry& geometry, const TableFactors& factors,
                             const TensorCoreBuffers& buffers, cudaStream_t stream);

// How a launch is laid out. LaunchTensorCore chooses; timing programs and tests force.
struct TensorCoreChoice {
  bool warpgroup;  // wgmma (compute capability 9.0 only), else mma.sync
  int columns;     // outputs of a tile: 32, 64 or 128
  int groups;      // consumer groups of four warps: 2 or 4
  int row_blocks;  // 64-pixel blocks of each consumer group: 1 or 2
};
TensorCoreChoice ChooseTensorCore(const ConvGeometry& geometry, int multiprocessors,
                                  int major, int minor);
cudaError_t LaunchTensorCoreAs(const TensorCoreChoice& choice,
                               const ConvGeometry& geometry,
                               const TableFactors& factors,
                               const TensorCoreBuffers& buffers, cudaStream_t stream);

}  // namespace axjax
