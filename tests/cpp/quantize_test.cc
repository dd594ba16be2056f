// SPDX-License-Identifier: Apache-2.0
// Quantisation and corrections by zero points, at every instruction set that the
// machine has, equal plain loops on random shapes. Meant to be run under sanitizers as
// well; that they equal what XLA computes is tested from Python.
//
//   quantize_test [cases [threads]]
#include "cpu/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "cases.h"
#include "cpu/corrected_sums.h"
#include "cpu/instruction_set.h"
#include "thread_workers.h"

namespace axjax {
namespace {

// Multiples of 1/8 with scales of 1 and 1/2 make many numbers that are half-way.
float Number(Random& random) {
  return static_cast<float>(Pick(random, -2000, 2000)) / 8;
}

int CheckQuantize(Random& random, Workers& workers) {
  Quantization q = {Pick(random, 1, 3),
                    Pick(random, 1, 40),
                    Pick(random, 1, 300),
                    Pick(random, 1, 30),
                    ScaleSource::kScale,
                    false,
                    true,
                    -128,
                    127,
                    0};
  if (Pick(random, 0, 1)) q.inner = 1;
  if (Pick(random, 0, 1)) q.channels = 1, q.reduced *= 1000;
  q.zero_point = static_cast<int>(Pick(random, -128, 127));
  std::vector<float> x(q.size()), scales(q.scales());
  for (float& v : x) v = Number(random);
  for (float& v : scales) v = Pick(random, 0, 1) ? 1 : 0.5f;
  const RealOperand operand = {kFloat32, x.data(), scales.data(), nullptr, false};
  const bool by_numbers = Pick(random, 0, 1);
  if (by_numbers) q.source = ScaleSource::kNumbers;
  int wrong = 0;
  for (InstructionSet set : AvailableInstructionSets()) {
    SetInstructionSet(set);
    std::vector<uint8_t> codes(x.size());
    std::vector<float> scale(q.scales()), rounded(x.size());
    std::vector<int32_t> zero(q.scales());
    std::vector<char> inside(x.size());
    QuantizeToCodes(q, operand, codes.data(), scale.data(), zero.data(), workers);
    QuantizeAndBack(q, operand, rounded.data(), reinterpret_cast<bool*>(inside.data()),
                    workers);
    for (int64_t i = 0; i < q.size(); ++i) {
      const int64_t c = i / (q.reduced * q.channels * q.inner) * q.channels +
                        i / q.inner % q.channels;
      const double code =
          std::floor(static_cast<double>(x[i]) / scale[c] + 0.5) + zero[c];
      const int expected =
          static_cast<int>(std::min<double>(std::max<double>(code, -128), 127));
      if (codes[i] == static_cast<uint8_t>(expected) &&
          rounded[i] == scale[c] * static_cast<float>(expected - zero[c]) &&
          inside[i] == (code == expected))
        continue;
      std::printf("%s: number %lld of %lld, %g, has code %d and not %d\n", Name(set),
                  static_cast<long long>(i), static_cast<long long>(q.size()), x[i],
                  static_cast<int8_t>(codes[i]), expected);
      ++wrong;
      break;
    }
  }
  return wrong;
}

int CheckCorrections(Random& random, Workers& workers) {
  const ConvGeometry g = RandomGeometry(random);
  const std::vector<uint8_t> lhs = RandomCodes(random, g.batch * g.in[0] * g.in[1] *
                                                           g.in[2] * g.in_c),
                             rhs = RandomCodes(random, g.depth() * g.out_c);
  std::vector<int32_t> sums(g.pixels() * g.out_c), rhs_zero(g.out_c);
  for (int32_t& v : sums) v = static_cast<int32_t>(random());
  for (int32_t& v : rhs_zero) v = static_cast<int32_t>(Pick(random, 0, 255));
  const int32_t lhs_zero = static_cast<int32_t>(Pick(random, 0, 255));
  for (InstructionSet set : AvailableInstructionSets()) {
    SetInstructionSet(set);
    std::vector<float> out(sums.size());
    CorrectSums(g, sums.data(), lhs.data(), false, rhs.data(), false,
                {lhs_zero, rhs_zero.data(), false}, out.data(), workers);
    for (int64_t i = 0; i < static_cast<int64_t>(out.size()); ++i) {
      const int64_t o = i % g.out_c, p = i / g.out_c, first = o / g.out_c_per_group();
      const int64_t w = p % g.out[2], h = p / g.out[2] % g.out[1],
                    d = p / (g.out[2] * g.out[1]) % g.out[0],
                    n = p / (g.out[2] * g.out[1] * g.out[0]);
      int64_t expected = sums[i];
      for (int64_t k = 0; k < g.depth(); ++k) {
        const int64_t c = k % g.in_c_per_group(), tap = k / g.in_c_per_group();
        const int64_t at[3] = {g.InputIndex(0, d, tap / (g.kernel[2] * g.kernel[1])),
                               g.InputIndex(1, h, tap / g.kernel[2] % g.kernel[1]),
                               g.InputIndex(2, w, tap % g.kernel[2])};
        const bool padding = at[0] < 0 || at[1] < 0 || at[2] < 0;
        const int64_t position =
            ((n * g.in[0] + at[0]) * g.in[1] + at[1]) * g.in[2] + at[2];
        const int64_t channel = first * g.in_c_per_group() + c;
        const int64_t code = padding ? lhs_zero : lhs[position * g.in_c + channel];
        expected += int64_t{lhs_zero} * rhs_zero[o] - code * rhs_zero[o] -
                    int64_t{rhs[k * g.out_c + o]} * lhs_zero;
      }
      if (out[i] == static_cast<float>(expected)) continue;
      std::printf("%s: element %lld is %.9g, not %lld, for %s\n", Name(set),
                  static_cast<long long>(i), out[i], static_cast<long long>(expected),
                  Describe(g).c_str());
      return 1;
    }
  }
  return 0;
}

}  // namespace
}  // namespace axjax

int main(int argc, char** argv) {
  using namespace axjax;
  const int cases = argc > 1 ? std::atoi(argv[1]) : 100;
  ThreadWorkers workers(argc > 2 ? std::atoi(argv[2]) : 2);
  int wrong = 0;
  for (int i = 0; i < cases; ++i) {
    Random random(i);
    wrong += CheckQuantize(random, workers) + CheckCorrections(random, workers);
  }
  std::printf("%d cases, %d wrong\n", cases, wrong);
  return wrong != 0;
}
