// SPDX-License-Identifier: Apache-2.0
// The terms of a factored table that count.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "table_factors.h"

namespace axjax {

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
