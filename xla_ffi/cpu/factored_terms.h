// SPDX-License-Identifier: Apache-2.0
// A table as a sum of products of int8 vectors, and the part of it that counts.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

namespace axjax {

constexpr int kMaxFactorPlanes = 4;  // a fifth would be shifted out of 32 bits
constexpr int kMaxPlaneTerms = 512;

// table[x, w] = beta[w] + sum_d 256^d * sum_r u[d, x, r] * v[d, w, r], modulo 2^32, as
// axjax.PackedFactors has it: (1) of docs/factorization.md.
struct TableFactors {
  int planes;            // 1 to kMaxFactorPlanes
  int stride;            // terms of a plane that there is room for
  const int8_t* u;       // (planes, 256, stride), rows are activation codes
  const int8_t* v;       // (planes, 256, stride), rows are weight codes
  const int32_t* beta;   // (256,)
  const int32_t* words;  // (planes,), groups of four terms that a plane has
};

// The terms of a plane, a table of 256 bytes each.
struct PlaneTerms {
  int terms = 0;
  std::vector<uint8_t> u, v;
};

// The terms that are not zero: rooms without a term, and those that fill the last word
// of a plane up, cost nothing.
class FactoredTerms {
 public:
  explicit FactoredTerms(const TableFactors& factors);

  int planes() const { return static_cast<int>(planes_.size()); }
  const PlaneTerms& plane(int d) const { return planes_[d]; }
  int count() const;
  const int32_t* beta() const { return beta_; }

  // Makes bytes of u 128 more than they mean, and beta what is too much with them less:
  // sum (u + 128) v = sum u v + 128 sum v.
  void MakeUnsigned();

  // The table itself, 256 x 256. Not after MakeUnsigned.
  std::unique_ptr<int32_t[]> Table() const;

 private:
  std::vector<PlaneTerms> planes_;
  int32_t beta_[256];
};

}  // namespace axjax
