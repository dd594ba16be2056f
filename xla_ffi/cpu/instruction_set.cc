// SPDX-License-Identifier: Apache-2.0
#include "cpu/instruction_set.h"

#include <atomic>
#include <cstdlib>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace axjax {
namespace {

#if defined(__x86_64__)
// Bits of CPUID's leaf 7 that compilers' own queries do not all know. What the system
// must do for AVX-VNNI, AVX2 needs too. Asked once: in virtual machines it is slow.
bool HasAvxVnni() {
  static const bool has = [] {
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
  }();
  return has;
}

bool HasAmxInt8() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 24 & 1) && (d >> 25 & 1);
}

// AMX registers are 8 KB that the kernel saves for the processes that ask for them.
bool AskForTiles() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}
#endif

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
    case InstructionSet::kAmx:
      return "amx";
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
  const bool vnni = v3 && v4 && __builtin_cpu_supports("avx512vnni");
  if (vnni) sets.push_back(InstructionSet::kAvx512Vnni);
  const bool vbmi = vnni && __builtin_cpu_supports("avx512vbmi");
  if (vbmi) sets.push_back(InstructionSet::kAvx512Vbmi);
  static const bool tiles = vbmi && HasAmxInt8() && AskForTiles();
  if (tiles) sets.push_back(InstructionSet::kAmx);
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
    case InstructionSet::kAmx:
      return avx512vbmi::kKernels;
#endif
    default:
      return baseline::kKernels;
  }
}

}  // namespace axjax
