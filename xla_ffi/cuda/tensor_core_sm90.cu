// SPDX-License-Identifier: Apache-2.0
// The kernel with wgmma. To be compiled for sm_90a: for other targets its body lacks
// the instructions, and the launcher does not call it there.
#include "cuda/tensor_core_kernel.cuh"
#include "cuda/tensor_core_wgmma.cuh"

namespace axjax {

cudaError_t LaunchWgmmaKernel(const TensorCoreChoice& choice, const KernelArgs& args,
                              const KernelLaunch& launch) {
  const auto is = [&](int columns, int groups, int row_blocks) {
    return choice.columns == columns && choice.groups == groups &&
           choice.row_blocks == row_blocks;
  };
  if (is(128, 2, 2)) return LaunchKernel<Wgmma<128>, Split<2, 2>>(args, launch);
  if (is(128, 2, 1)) return LaunchKernel<Wgmma<128>, Split<2, 1>>(args, launch);
  if (is(64, 4, 1)) return LaunchKernel<Wgmma<64>, Split<4, 1>>(args, launch);
  if (is(64, 2, 1)) return LaunchKernel<Wgmma<64>, Split<2, 1>>(args, launch);
  if (is(32, 4, 1)) return LaunchKernel<Wgmma<32>, Split<4, 1>>(args, launch);
  if (is(32, 2, 1)) return LaunchKernel<Wgmma<32>, Split<2, 1>>(args, launch);
  return cudaErrorInvalidValue;
}

}  // namespace axjax
