// SPDX-License-Identifier: Apache-2.0
#include "cpu/real_kernels.h"

#include "cpu/instruction_set.h"

namespace axjax {

const RealKernels& CurrentRealKernels() {
  switch (CurrentInstructionSet()) {
#if defined(__x86_64__)
    case InstructionSet::kAvx2:
      return avx2::kRealKernels;
    case InstructionSet::kAvx512:
    case InstructionSet::kAvx512Vnni:
      return avx512::kRealKernels;
#endif
    default:
      return baseline::kRealKernels;
  }
}

}  // namespace axjax
