// SPDX-License-Identifier: Apache-2.0
// Every form of the CPU engine, at every instruction set that the machine has, equals
// the reference on random shapes, codes and tables. Meant to be run under the address,
// undefined-behaviour and thread sanitizers as well.
//
//   lut_conv_test [cases [threads [seed]]]
#include "cpu/lut_conv.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "cases.h"
#include "cpu/instruction_set.h"
#include "cpu/reference.h"
#include "thread_workers.h"

namespace axjax {
namespace {

constexpr ConvForm kForms[] = {ConvForm::kPixelsWalk, ConvForm::kOutputsWalk,
                               ConvForm::kTapsShare,  ConvForm::kDirect,
                               ConvForm::kColumns,    ConvForm::kPermuted};
constexpr const char* kFormNames[] = {"pixels walk", "outputs walk", "taps share",
                                      "direct",      "columns",      "permuted"};

// Codes in memory of exactly their size, so that a sanitizer sees reads beyond it.
std::unique_ptr<uint8_t[]> Exact(const std::vector<uint8_t>& codes) {
  std::unique_ptr<uint8_t[]> copy(new uint8_t[codes.size()]);
  if (!codes.empty()) std::memcpy(copy.get(), codes.data(), codes.size());
  return copy;
}

template <typename Entry>
int Check(Random& random, Workers& workers) {
  ConvGeometry g = RandomGeometry(random);
  const int64_t in = g.batch * g.in[0] * g.in[1] * g.in[2] * g.in_c;
  const auto lhs = Exact(RandomCodes(random, in)),
             rhs = Exact(RandomCodes(random, g.depth() * g.out_c));
  const auto table = RandomTable<Entry>(random);
  const uint8_t pad_code = static_cast<uint8_t>(random());
  const int64_t size = g.pixels() * g.out_c;
  std::vector<int32_t> expected(size), sums(size);
  LutConvReference(g, lhs.get(), rhs.get(), table.data(), pad_code, expected.data(),
                   workers);
  for (InstructionSet set : AvailableInstructionSets()) {
    SetInstructionSet(set);
    for (ConvForm form : kForms) {
      std::fill(sums.begin(), sums.end(), 0x55555555);
      LutConvInForm(form, g, lhs.get(), rhs.get(), table.data(), pad_code, sums.data(),
                    workers);
      for (int64_t i = 0; i < size; ++i)
        if (sums[i] != expected[i]) {
          std::printf(
              "%s, %s, %zu-byte entries: element %lld of %lld is %d, not %d, for %s\n",
              kFormNames[static_cast<int>(form)], Name(set), sizeof(Entry),
              static_cast<long long>(i), static_cast<long long>(size), sums[i],
              expected[i], Describe(g).c_str());
          return 1;
        }
    }
  }
  return 0;
}

// Enough pixels for several jobs, and depths of one, two and more blocks.
int CheckLarge(Random& random, Workers& workers) {
  int wrong = 0;
  for (int64_t depth_c : {3, 16, 40}) {
    const ConvGeometry g = PaddedConv(1, {97, 101}, depth_c, {3, 3}, 20, {1, 1});
    const auto lhs = RandomCodes(random, 97 * 101 * depth_c),
               rhs = RandomCodes(random, g.depth() * g.out_c);
    const auto table = RandomTable<int16_t>(random);
    std::vector<int32_t> expected(g.pixels() * g.out_c), sums(expected.size());
    LutConvReference(g, lhs.data(), rhs.data(), table.data(), 7, expected.data(),
                     workers);
    for (ConvForm form : kForms) {
      LutConvInForm(form, g, lhs.data(), rhs.data(), table.data(), 7, sums.data(),
                    workers);
      if (sums != expected) {
        std::printf("%s: wrong sums for %s\n", kFormNames[static_cast<int>(form)],
                    Describe(g).c_str());
        ++wrong;
      }
    }
  }
  return wrong;
}

// Entries whose sums are hardest to keep in 16-bit accumulators: all of them, or all
// but those of zero codes, as large as can be, or such that each mean is rounded up, or
// each run rounded down; in depths about the multiples of what accumulators hold.
int CheckExtremes(int cases, Random& random, Workers& workers) {
  const uint16_t levels[] = {0,    1,    2,    3,     31,    63,    64,    1023,
                             1024, 1025, 2047, 32767, 32768, 65533, 65534, 65535};
  constexpr int kLevels = sizeof(levels) / sizeof(levels[0]);
  std::vector<uint16_t> table(65536);
  for (int x = 0; x < 256; ++x)
    for (int w = 0; w < 256; ++w)
      table[256 * x + w] = (x ^ w) < kLevels ? levels[x ^ w] : Pick(random, 0, 65535);
  int wrong = 0;
  for (int i = 0; i < cases; ++i) {
    const int64_t deep = Pick(random, 1, 3) * 992 + Pick(random, -40, 40);
    // Blocks of whole runs of 16, of one to five runs, and of single codes.
    const int64_t taps = Pick(random, 1, 3);
    const int64_t channels = Pick(random, 0, 2) ? deep / taps : Pick(random, 1, 70);
    ConvGeometry g = PaddedConv(1, {2, taps == 1 ? 1 : 40}, channels, {1, taps},
                                Pick(random, 1, 3), {0, 0});
    if (taps == 1) g.batch = Pick(random, 1, 3);
    std::vector<uint8_t> lhs(g.batch * g.in[1] * g.in[2] * g.in_c),
        rhs(g.depth() * g.out_c);
    const uint8_t level = static_cast<uint8_t>(Pick(random, 1, kLevels - 1));
    const bool mixed = Pick(random, 0, 1);
    for (uint8_t& x : lhs) x = mixed && Pick(random, 0, 1) ? 0 : level;
    const int64_t size = g.pixels() * g.out_c;
    std::vector<int32_t> expected(size), sums(size);
    LutConvReference(g, lhs.data(), rhs.data(), table.data(), 0, expected.data(),
                     workers);
    for (InstructionSet set : AvailableInstructionSets()) {
      SetInstructionSet(set);
      for (ConvForm form : kForms) {
        LutConvInForm(form, g, lhs.data(), rhs.data(), table.data(), 0, sums.data(),
                      workers);
        if (sums != expected) {
          std::printf("%s, %s: wrong sums of entries %d for %s\n",
                      kFormNames[static_cast<int>(form)], Name(set), levels[level],
                      Describe(g).c_str());
          ++wrong;
        }
      }
    }
  }
  return wrong;
}

}  // namespace
}  // namespace axjax

int main(int argc, char** argv) {
  using namespace axjax;
  const int cases = argc > 1 ? std::atoi(argv[1]) : 500;
  ThreadWorkers workers(argc > 2 ? std::atoi(argv[2]) : 2);
  const uint64_t seed = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 1;
  int wrong = 0;
  for (int i = 0; i < cases; ++i) {
    Random random(seed * 1000003 + i);  // each case can be repeated on its own
    switch (i % 3) {
      case 0:
        wrong += Check<uint16_t>(random, workers);
        break;
      case 1:
        wrong += Check<int16_t>(random, workers);
        break;
      default:
        wrong += Check<int32_t>(random, workers);
    }
  }
  Random random(seed);
  wrong += CheckExtremes(cases / 3, random, workers);
  std::vector<InstructionSet> sets = AvailableInstructionSets();
  if (cases < 100) sets = {sets.back()};  // in a short run
  for (InstructionSet set : sets) {
    SetInstructionSet(set);
    wrong += CheckLarge(random, workers);
  }
  std::printf("%d cases, %d wrong\n", cases, wrong);
  return wrong != 0;
}
