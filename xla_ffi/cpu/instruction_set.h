// SPDX-License-Identifier: Apache-2.0
// Which build of the inner loops runs: chosen once, by what the machine has.
#pragma once
#include <string>
#include <vector>

#include "cpu/kernels.h"

namespace axjax {

// From the least to the greatest. kBaseline is what the compiler assumes anyway: SSE2
// on x86-64, Neon on 64-bit Arm, where it is the only one.
enum class InstructionSet {
  kBaseline,
  kAvx2,
  kAvx2Vnni,
  kAvx512,
  kAvx512Vnni,
  kAvx512Vbmi,  // and VNNI
  kAmx          // and VBMI
};

// "baseline", "avx2", "avx2vnni", "avx512", "avx512vnni", "avx512vbmi" or "amx".
const char* Name(InstructionSet set);

// Those that this build has and this machine can run, from the least to the greatest.
std::vector<InstructionSet> AvailableInstructionSets();

// The one in use: the greatest available, unless AXJAX_CPU_ISA named another when it
// was first asked for, or SetInstructionSet has chosen since. All give the same bits.
InstructionSet CurrentInstructionSet();

// Chooses for all later calls in this process; false if `set` is not available.
bool SetInstructionSet(InstructionSet set);

// What is wrong with the value of AXJAX_CPU_ISA, or empty. A wrong value is not obeyed.
std::string InstructionSetProblem();

const Kernels& CurrentKernels();

}  // namespace axjax
