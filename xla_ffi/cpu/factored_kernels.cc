// SPDX-License-Identifier: Apache-2.0
#include "cpu/factored_kernels.h"

#include "cpu/instruction_set.h"

namespace axjax {
namespace {

void Nothing() {}

}  // namespace

FactoredKernels CurrentFactoredKernels() {
  FactoredKernels kernels = {
      false,   plain::ExpandCodes, plain::ExpandWeights, plain::SumWeights, Nothing,
      Nothing, plain::Multiply};
#if defined(__x86_64__)
  const InstructionSet set = CurrentInstructionSet();
  if (set >= InstructionSet::kAvx512Vbmi) {
    kernels.expand_codes = vbmi::ExpandCodes;
    kernels.expand_weights = vbmi::ExpandWeights;
    kernels.sum_weights = vbmi::SumWeights;
  }
  switch (set) {
    case InstructionSet::kAvx2Vnni:
      kernels.unsigned_codes = true;
      kernels.multiply = avx2vnni::Multiply;
      break;
    case InstructionSet::kAvx512Vnni:
    case InstructionSet::kAvx512Vbmi:
      kernels.unsigned_codes = true;
      kernels.multiply = avx512vnni::Multiply;
      break;
    case InstructionSet::kAmx:
      kernels.begin = amx::Begin;
      kernels.end = amx::End;
      kernels.multiply = amx::Multiply;
      break;
    default:
      break;
  }
#endif
  return kernels;
}

}  // namespace axjax
