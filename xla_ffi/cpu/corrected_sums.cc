// SPDX-License-Identifier: Apache-2.0
#include "cpu/corrected_sums.h"

#include <algorithm>
#include <vector>

#include "cpu/real_kernels.h"

namespace axjax {
namespace {

// Sums wrap, as XLA's do; in C++ only those of unsigned numbers may.
int32_t Wrapped(int64_t value) { return static_cast<int32_t>(value); }

// The sum of the kernel's codes for each output channel.
std::vector<int32_t> KernelSums(const ConvGeometry& g, const uint8_t* rhs,
                                bool is_signed) {
  std::vector<int32_t> sums(g.out_c);
  for (int64_t k = 0; k < g.depth(); ++k, rhs += g.out_c)
    if (is_signed)
      for (int64_t o = 0; o < g.out_c; ++o) sums[o] += static_cast<int8_t>(rhs[o]);
    else
      for (int64_t o = 0; o < g.out_c; ++o) sums[o] += rhs[o];
  return sums;
}

// Sums over the windows of one row of outputs. Codes count by how far they are from the
// padding's, so that what is not there adds nothing; windows separate into rows and
// columns.
class WindowRow {
 public:
  explicit WindowRow(const ConvGeometry& g) : g_(g), columns_(g.in[2] * g.groups) {
    for (int64_t w = 0; w < g.out[2]; ++w)
      for (int64_t k = 0; k < g.kernel[2]; ++k) taps_.push_back(g.InputIndex(2, w, k));
  }

  // `code_sums` of the image's positions and groups; out: (out[2], groups).
  void Sum(const int32_t* code_sums, int32_t pad, int64_t d, int64_t h, int32_t* out) {
    const int64_t per_row = g_.in[2] * g_.groups;
    const int64_t away = pad * g_.in_c_per_group();
    std::fill(columns_.begin(), columns_.end(), 0);
    for (int64_t kd = 0; kd < g_.kernel[0]; ++kd)
      for (int64_t kh = 0; kh < g_.kernel[1]; ++kh) {
        const int64_t in_d = g_.InputIndex(0, d, kd), in_h = g_.InputIndex(1, h, kh);
        if (in_d < 0 || in_h < 0) continue;
        const int32_t* row = code_sums + (in_d * g_.in[1] + in_h) * per_row;
        for (int64_t i = 0; i < per_row; ++i)
          columns_[i] += static_cast<uint32_t>(row[i] - away);
      }
    const uint32_t all_padding = static_cast<uint32_t>(pad * g_.depth());
    const int64_t* tap = taps_.data();
    for (int64_t w = 0; w < g_.out[2]; ++w, out += g_.groups) {
      std::fill(out, out + g_.groups, static_cast<int32_t>(all_padding));
      for (int64_t kw = 0; kw < g_.kernel[2]; ++kw, ++tap) {
        if (*tap < 0) continue;
        const uint32_t* column = columns_.data() + *tap * g_.groups;
        for (int64_t c = 0; c < g_.groups; ++c)
          out[c] = static_cast<int32_t>(static_cast<uint32_t>(out[c]) + column[c]);
      }
    }
  }

 private:
  const ConvGeometry& g_;
  std::vector<uint32_t> columns_;
  std::vector<int64_t> taps_;  // InputIndex of each output and tap: it divides
};

}  // namespace

void CorrectSums(const ConvGeometry& g, const int32_t* sums, const uint8_t* lhs,
                 bool lhs_signed, const uint8_t* rhs, bool rhs_signed,
                 const ZeroPoints& zero, float* out, Workers& workers) {
  if (g.pixels() == 0 || g.out_c == 0) return;
  const RealKernels& kernels = CurrentRealKernels();
  const std::vector<int32_t> kernel_sums = KernelSums(g, rhs, rhs_signed);
  std::vector<int32_t> factor(g.out_c);
  std::vector<double> base(g.out_c);
  for (int64_t o = 0; o < g.out_c; ++o) {
    const int64_t z = zero.rhs[zero.one_rhs ? 0 : o];
    factor[o] = Wrapped(-z);
    base[o] = static_cast<double>(Wrapped(-int64_t{zero.lhs} * kernel_sums[o])) +
              static_cast<double>(Wrapped(Wrapped(g.depth() * zero.lhs) * z));
  }
  const int64_t positions = g.in[0] * g.in[1] * g.in[2], per_group = g.in_c_per_group();
  const int64_t per_image = positions * g.groups;
  std::vector<int32_t> code_sums(g.batch * per_image);
  constexpr int64_t kPart = 4096;
  const int64_t parts = (g.batch * per_image + kPart - 1) / kPart;
  workers.ForEach(parts, [&](int64_t part) {
    const int64_t first = part * kPart;
    kernels.code_sums[lhs_signed](lhs + first * per_group,
                                  std::min(kPart, g.batch * per_image - first),
                                  per_group, code_sums.data() + first);
  });
  const int64_t rows = g.batch * g.out[0] * g.out[1];
  const int64_t jobs = std::min(rows, 4 * workers.threads());
  workers.ForEach(jobs, [&](int64_t job) {
    WindowRow windows(g);
    std::vector<int32_t> window_sums(g.out[2] * g.groups);
    for (int64_t r = job * rows / jobs; r < (job + 1) * rows / jobs; ++r) {
      const int64_t h = r % g.out[1], d = r / g.out[1] % g.out[0];
      const int64_t image = r / (g.out[0] * g.out[1]);
      windows.Sum(code_sums.data() + image * per_image, zero.lhs, d, h,
                  window_sums.data());
      const int64_t at = r * g.out[2] * g.out_c;
      kernels.corrected({sums + at, window_sums.data(), factor.data(), base.data(),
                         g.out[2], g.groups, g.out_c_per_group(), out + at});
    }
  });
}

}  // namespace axjax
