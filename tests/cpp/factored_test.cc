// SPDX-License-Identifier: Apache-2.0
// The factored form of the CPU engine, at every instruction set that the machine has,
// equals the reference on random shapes, codes and factors. Meant to be run under
// sanitizers as well.
//
//   factored_test [cases [threads [seed]]]
#include "cpu/factored.h"

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

// Factors over the whole int8 range; sums wrap, as they may.
struct RandomFactors {
  explicit RandomFactors(Random& random) {
    planes = static_cast<int>(Pick(random, 1, Pick(random, 0, 2) ? 1 : 4));
    stride = 4 * static_cast<int>(Pick(random, 1, 5));
    u.resize(planes * 256 * stride);
    v.resize(u.size());
    beta.resize(256);
    for (int d = 0; d < planes; ++d)
      words.push_back(static_cast<int32_t>(Pick(random, 0, stride / 4)));
    for (size_t i = 0; i < u.size(); ++i) {
      // What lies beyond the words counts nothing, and here it is not zero.
      u[i] = static_cast<int8_t>(random());
      v[i] = static_cast<int8_t>(random());
    }
    // Some terms are zero.
    for (int d = 0; d < planes; ++d)
      for (int r = 0; r < stride; ++r)
        if (Pick(random, 0, 3) == 0)
          for (int i = 0; i < 256; ++i) (r % 2 ? u : v)[(d * 256 + i) * stride + r] = 0;
    for (int32_t& b : beta) b = static_cast<int32_t>(random());
  }

  TableFactors view() const {
    return {planes, stride, u.data(), v.data(), words.data(), beta.data()};
  }

  // By the definition, term after term.
  std::vector<int32_t> Table() const {
    std::vector<int32_t> table(65536);
    for (int x = 0; x < 256; ++x)
      for (int w = 0; w < 256; ++w) {
        uint32_t sum = static_cast<uint32_t>(beta[w]);
        for (int d = 0; d < planes; ++d)
          for (int r = 0; r < 4 * words[d]; ++r)
            sum += static_cast<uint32_t>(u[(d * 256 + x) * stride + r] *
                                         v[(d * 256 + w) * stride + r])
                   << (8 * d);
        table[x * 256 + w] = static_cast<int32_t>(sum);
      }
    return table;
  }

  int planes, stride;
  std::vector<int8_t> u, v;
  std::vector<int32_t> beta, words;
};

// Codes in memory of exactly their size, so that a sanitizer sees reads beyond it.
std::unique_ptr<uint8_t[]> Exact(const std::vector<uint8_t>& codes) {
  std::unique_ptr<uint8_t[]> copy(new uint8_t[codes.size()]);
  if (!codes.empty()) std::memcpy(copy.get(), codes.data(), codes.size());
  return copy;
}

int Check(const ConvGeometry& g, Random& random, Workers& workers) {
  const int64_t in = g.batch * g.in[0] * g.in[1] * g.in[2] * g.in_c;
  const auto lhs = Exact(RandomCodes(random, in)),
             rhs = Exact(RandomCodes(random, g.depth() * g.out_c));
  const RandomFactors factors(random);
  const uint8_t pad_code = static_cast<uint8_t>(random());
  const int64_t size = g.pixels() * g.out_c;
  std::vector<int32_t> expected(size), sums(size);
  LutConvReference(g, lhs.get(), rhs.get(), factors.Table().data(), pad_code,
                   expected.data(), workers);
  const std::vector<InstructionSet> sets = AvailableInstructionSets();
  for (InstructionSet set : sets) {
    // These multiply as the baseline does.
    if (set == InstructionSet::kAvx2 || set == InstructionSet::kAvx512) continue;
    SetInstructionSet(set);
    for (FactoredForm form : {FactoredForm::kProducts, FactoredForm::kTable}) {
      // Its forms have a test of their own.
      if (form == FactoredForm::kTable && set != sets.back()) continue;
      std::fill(sums.begin(), sums.end(), 0x55555555);
      LutConvFactoredInForm(form, g, lhs.get(), rhs.get(), factors.view(), pad_code,
                            sums.data(), workers);
      for (int64_t i = 0; i < size; ++i)
        if (sums[i] != expected[i]) {
          std::printf("%s, %s: element %lld of %lld is %d, not %d, for %s\n",
                      form == FactoredForm::kProducts ? "products" : "table", Name(set),
                      static_cast<long long>(i), static_cast<long long>(size), sums[i],
                      expected[i], Describe(g).c_str());
          return 1;
        }
    }
  }
  return 0;
}

// What random shapes are too small for.
std::vector<ConvGeometry> LargeGeometries() {
  return {
      // several blocks of rows, and several segments of the depth
      PaddedConv(1, {97, 101}, 70, {3, 3}, 20, {1, 1}),
      // a depth of many segments
      PaddedConv(1, {4, 4}, 260, {3, 3}, 70, {0, 0}),
      // blocks of several images
      PaddedConv(40, {7, 7}, 33, {3, 3}, 50, {1, 1}),
      // parts of rows
      PaddedConv(1, {1, 9001}, 40, {1, 5}, 17, {0, 2}, 2),
      // a window that no cache holds
      PaddedConv(1, {90, 90}, 80, {80, 80}, 3, {0, 0}),
      // one pixel, many outputs
      PaddedConv(1, {1, 1}, 700, {1, 1}, 900, {0, 0}),
  };
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
    wrong += Check(RandomGeometry(random), random, workers);
  }
  Random random(seed);
  for (const ConvGeometry& g : LargeGeometries()) {
    if (cases < 100 && g.pixels() * g.depth() > 1000000) continue;  // in a short run
    // Some numbers of terms, each another rest of lines.
    for (int i = 0; i < (g.pixels() < 50 ? 8 : 1); ++i)
      wrong += Check(g, random, workers);
  }
  std::printf("%d cases, %d wrong\n", cases, wrong);
  return wrong != 0;
}
