// SPDX-License-Identifier: Apache-2.0
// The kernel with mma.sync, for compute capability 8.0 and later.
#include "cuda/tensor_core_kernel.cuh"
#include "cuda/tensor_core_mma_sync.cuh"

namespace axjax {

cudaError_t LaunchMmaSyncKernel(const TensorCoreChoice& choice, const KernelArgs& args,
                                const KernelLaunch& launch) {
  const auto is = [&](int columns, int groups, int row_blocks) {
    return choice.columns == columns && choice.groups == groups &&
           choice.row_blocks == row_blocks;
  };
  if (is(128, 2, 1)) return LaunchKernel<MmaSync<128>, Split<2, 1>>(args, launch);
  if (is(64, 2, 2)) return LaunchKernel<MmaSync<64>, Split<2, 2>>(args, launch);
  if (is(64, 2, 1)) return LaunchKernel<MmaSync<64>, Split<2, 1>>(args, launch);
  if (is(32, 2, 2)) return LaunchKernel<MmaSync<32>, Split<2, 2>>(args, launch);
  if (is(32, 2, 1)) return LaunchKernel<MmaSync<32>, Split<2, 1>>(args, launch);
  return cudaErrorInvalidValue;
}

}  // namespace axjax
