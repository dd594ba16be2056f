// SPDX-License-Identifier: Apache-2.0
#include "cpu/real_kernels.h"

#include "cpu/instruction_set.h"

namespace axjax {

const RealKernels& CurrentRealKernels() {
#if defined(__x86_64__)
  // Sets are in order, and what those between add does not matter here.
  const InstructionSet set = CurrentInstructionSet();
  if (set >= InstructionSet::kAvx512) return avx512::kRealKernels;
  if (set >= InstructionSet::kAvx2) return avx2::kRealKernels;
#endif
  return baseline::kRealKernels;
}

}  // namespace axjax
