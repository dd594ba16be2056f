// SPDX-License-Identifier: Apache-2.0
#include "cpu/instruction_set.h"

#include <atomic>
#include <cstdlib>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace axjax {
namespace {

constexpr const char* kVariable = "AXJAX_CPU_ISA";

// The names that AXJAX_CPU_ISA may take here: "avx2, baseline".
bool Find(const std::string& name, InstructionSet* found, std::string* names) {
  for (InstructionSet set : AvailableInstructionSets()) {
    if (names) *names += (names->empty() ? "" : ", ") + std::string(Name(set));
    if (name == Name(set)) {
      if (found) *found = set;
      return true;
    }
  }
  return false;
}

#if defined(__x86_64__)
// Compilers' __builtin_cpu_supports learned of it late. What the system must do for it,
// AVX2 needs too. Asked once: in virtual machines the instruction is slow.
bool HasAvxVnni() {
  static const bool has = [] {
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1) != 0;
  }();
  return has;
}
#endif

InstructionSet Choose() {
  InstructionSet chosen = AvailableInstructionSets().back();
  if (const char* name = std::getenv(kVariable)) Find(name, &chosen, nullptr);
  return chosen;
}

std::atomic<InstructionSet>& Current() {
  static std::atomic<InstructionSet> current{Choose()};
  return current;
}

}  // namespace

const char* Name(InstructionSet set) {
  switch (set) {
    case InstructionSet::kAvx2:
      return "avx2";
    case InstructionSet::kAvx2Vnni:
      return "avx2vnni";
    case InstructionSet::kAvx512:
      return "avx512";
    case InstructionSet::kAvx512Vnni:
      return "avx512vnni";
    case InstructionSet::kAvx512Vbmi:
      return "avx512vbmi";
    default:
      return "baseline";
  }
}

std::vector<InstructionSet> AvailableInstructionSets() {
  std::vector<InstructionSet> sets{InstructionSet::kBaseline};
#if defined(__x86_64__)
  // All that -march=x86-64-v3 and -v4 allow the compiler to use.
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
                  __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma");
  if (v3) sets.push_back(InstructionSet::kAvx2);
  if (v3 && HasAvxVnni()) sets.push_back(InstructionSet::kAvx2Vnni);
  const bool v4 =
      __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl");
  if (v3 && v4) sets.push_back(InstructionSet::kAvx512);
  const bool vnni = __builtin_cpu_supports("avx512vnni");
  if (v3 && v4 && vnni) sets.push_back(InstructionSet::kAvx512Vnni);
  if (v3 && v4 && vnni && __builtin_cpu_supports("avx512vbmi"))
    sets.push_back(InstructionSet::kAvx512Vbmi);
#endif
  return sets;
}

InstructionSet CurrentInstructionSet() { return Current().load(); }

bool SetInstructionSet(InstructionSet set) {
  if (!Find(Name(set), nullptr, nullptr)) return false;
  Current().store(set);
  return true;
}

std::string InstructionSetProblem() {
  const char* name = std::getenv(kVariable);
  std::string names;
  if (!name || Find(name, nullptr, &names)) return "";
  return std::string(kVariable) + ": an instruction set of this machine is one of " +
         names + ", got " + name + ". Unset the variable, or name one of these.";
}

const Kernels& CurrentKernels() {
  switch (CurrentInstructionSet()) {
#if defined(__x86_64__)
    case InstructionSet::kAvx2:
      return avx2::kKernels;
    case InstructionSet::kAvx2Vnni:
      return avx2vnni::kKernels;
    case InstructionSet::kAvx512:
      return avx512::kKernels;
    case InstructionSet::kAvx512Vnni:
      return avx512vnni::kKernels;
    case InstructionSet::kAvx512Vbmi:
      return avx512vbmi::kKernels;
#endif
    default:
      return baseline::kKernels;
  }
}

}  // namespace axjax
