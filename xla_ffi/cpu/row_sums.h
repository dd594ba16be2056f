// SPDX-License-Identifier: Apache-2.0
// The fast form. For a block of 16 depth positions k and 32 lanes, expand
//
//   T[k][code][lane] = entry of `code` and the lane's own code at k;
//
// then every walker adds the 16 rows T[k][its own code at k], 64 bytes each: 32
// products of one depth position per row, without gathers. A block takes 260 KB, so
// that what bounds it is the way from the second-level cache, about 40 bytes a cycle.
//
// Walkers are pixels and lanes are outputs, or the other way round: expanding a block
// costs as much as some 500 walkers, so that the more numerous operand walks.
#pragma once
#include <cstdint>

#include "conv_geometry.h"
#include "cpu/packed_codes.h"
#include "cpu/table_columns.h"
#include "cpu/workers.h"

namespace axjax {

// Elements of the output from one walker to the next, and from lane to lane.
struct OutputSteps {
  int64_t walker;
  int64_t lane;
  int64_t group;
};

// Walkers and Lanes are PixelCodes and OutputCodes, or OutputCodes and PixelCodes.
template <class Walkers, class Lanes>
void SumRows(int64_t groups, int64_t depth, const Walkers& walkers, const Lanes& lanes,
             const TableColumns& columns, OutputSteps steps, int32_t* out,
             Workers& workers);

}  // namespace axjax
