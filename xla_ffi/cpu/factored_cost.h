// SPDX-License-Identifier: Apache-2.0
// Whether int8 products or rows of the table take less time: the model by which the
// factored engine chooses, and no more than that.
#pragma once
#include <cstdint>

#include "cpu/instruction_set.h"

namespace axjax {

struct FactoredSizes {
  int64_t pixels;    // output positions of all images
  int64_t depth;     // products of an output: taps times channels of a group
  int64_t channels;  // of a group
  int64_t outputs;   // of a group
  int64_t groups;
  int64_t terms;  // that are not zero
};

// Estimated nanoseconds on one core.
double ProductsCost(const FactoredSizes& sizes, InstructionSet set);
double TableCost(const FactoredSizes& sizes, InstructionSet set);

}  // namespace axjax
