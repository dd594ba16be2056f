// SPDX-License-Identifier: Apache-2.0
// What bounds the CPU engine's inner loop, which adds rows of a table (docs/cpu.md):
// Gproducts/s of the loop alone, at each instruction set that the machine has, for
// codes whose rows come from the second-level cache, for such of which half are zero
// (as behind ReLU), and for codes below 16, whose rows stay in the first-level cache.
//
//   cmake -S tests/cpp -B build/limits && cmake --build build/limits
//   lib=build/limits/cpu/libaxjax_cpu_kernels.a
//   c++ -std=c++17 -O2 -Ixla_ffi benchmarks/row_limits.cc $lib -lpthread -o row_limits
//   taskset -c 0 ./row_limits
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <random>
#include <vector>

#include "cpu/instruction_set.h"
#include "cpu/kernels.h"
#include "cpu/scratch.h"

namespace {

using namespace axjax;

constexpr int kDepth = 16, kWalkers = 8192, kWidth = kWidths - 1, kRepeats = 60;

double CpuSeconds() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

double Gproducts(RowsArgs args, LaneMode mode) {
  double least = 1e9;
  for (int i = 0; i < kRepeats; ++i) {
    const double start = CpuSeconds();
    CurrentKernels().rows[mode][kWidth][true](args);
    least = std::min(least, CpuSeconds() - start);
  }
  const int lanes = RowBytes(kWidth) / (mode == kWide ? 4 : 2);
  return 1e-9 * kWalkers * kDepth * lanes / least;
}

}  // namespace

int main() {
  std::mt19937_64 random(1);
  std::vector<uint8_t> codes(kWalkers * kDepth + kReadBeyond);
  std::vector<int64_t> walkers(kWalkers), depths(kDepth);
  for (int i = 0; i < kWalkers; ++i) walkers[i] = i * kDepth;
  for (int i = 0; i < kDepth; ++i) depths[i] = i;
  char* const table = ThreadScratch();
  const size_t table_bytes = size_t{kDepth} * kRowStride * RowBytes(kWidth);
  std::memset(table, 1, table_bytes);
  RowsArgs args;
  args.table = table;
  args.codes = codes.data();
  args.walker_offsets = walkers.data();
  args.depth_offsets = depths.data();
  args.walkers = kWalkers;
  args.depth = kDepth;
  args.first = false;
  args.accumulators = reinterpret_cast<uint32_t*>(table + table_bytes);
  const char* const kinds[] = {"any codes", "half zeros", "first-level cache"};
  const char* const modes[] = {"32-bit lanes", "one row", "two rows", "four rows"};
  std::printf("Gproducts/s by the rows that are added in 16 bits first\n");
  for (InstructionSet set : AvailableInstructionSets()) {
    SetInstructionSet(set);
    for (int kind = 0; kind < 3; ++kind) {
      for (uint8_t& code : codes) {
        const uint64_t r = random();
        code = static_cast<uint8_t>(kind == 0   ? r
                                    : kind == 1 ? r % 2 * (r >> 8)
                                                : r % 16);
      }
      std::printf("%-11s %-18s", Name(set), kinds[kind]);
      for (int mode = 0; mode < kLaneModes; ++mode)
        std::printf(" %s %5.1f%s", modes[mode],
                    Gproducts(args, static_cast<LaneMode>(mode)),
                    mode + 1 < kLaneModes ? "," : "\n");
    }
  }
}
