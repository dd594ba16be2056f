// SPDX-License-Identifier: Apache-2.0
#include "cpu/factored_terms.h"

#include <algorithm>
#include <numeric>

namespace axjax {

FactoredTerms::FactoredTerms(const TableFactors& f) : planes_(f.planes) {
  std::copy(f.beta, f.beta + 256, beta_);
  for (int d = 0; d < f.planes; ++d) {
    const int terms = 4 * std::clamp(f.words[d], 0, f.stride / 4);
    const auto column = [&](const int8_t* side, int r, uint8_t* to) {
      const int8_t* const from = side + int64_t{d} * 256 * f.stride + r;
      int any = 0;
      for (int i = 0; i < 256; ++i) {
        to[i] = static_cast<uint8_t>(from[i * f.stride]);
        any |= to[i];
      }
      return any != 0;
    };
    PlaneTerms& plane = planes_[d];
    uint8_t u[256], v[256];
    for (int r = 0; r < terms; ++r) {
      if (!column(f.u, r, u) || !column(f.v, r, v)) continue;
      plane.u.insert(plane.u.end(), u, u + 256);
      plane.v.insert(plane.v.end(), v, v + 256);
      ++plane.terms;
    }
  }
}

int FactoredTerms::count() const {
  return std::accumulate(planes_.begin(), planes_.end(), 0,
                         [](int sum, const PlaneTerms& p) { return sum + p.terms; });
}

void FactoredTerms::MakeUnsigned() {
  uint32_t excess[256] = {};
  for (size_t d = planes_.size(); d-- > 0;) {
    PlaneTerms& plane = planes_[d];
    for (uint32_t& sum : excess) sum <<= 8;
    for (size_t i = 0; i < plane.v.size(); ++i)
      excess[i % 256] += 128u * static_cast<uint32_t>(static_cast<int8_t>(plane.v[i]));
    for (uint8_t& byte : plane.u) byte ^= 128;
  }
  for (int w = 0; w < 256; ++w)
    beta_[w] = static_cast<int32_t>(static_cast<uint32_t>(beta_[w]) - excess[w]);
}

std::unique_ptr<int32_t[]> FactoredTerms::Table() const {
  std::unique_ptr<int32_t[]> table(new int32_t[256 * 256]);
  for (int x = 0; x < 256; ++x) {
    uint32_t row[256] = {};
    for (size_t d = planes_.size(); d-- > 0;) {
      const PlaneTerms& plane = planes_[d];
      for (uint32_t& sum : row) sum <<= 8;
      for (int r = 0; r < plane.terms; ++r) {
        const int32_t u = static_cast<int8_t>(plane.u[256 * r + x]);
        const uint8_t* const v = plane.v.data() + 256 * r;
        for (int w = 0; w < 256; ++w)
          row[w] += static_cast<uint32_t>(u * static_cast<int8_t>(v[w]));
      }
    }
    for (int w = 0; w < 256; ++w)
      table[256 * x + w] =
          static_cast<int32_t>(row[w] + static_cast<uint32_t>(beta_[w]));
  }
  return table;
}

}  // namespace axjax
