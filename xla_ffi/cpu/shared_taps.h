// SPDX-License-Identifier: Apache-2.0
// The form for a window over few pixels: the last layers of a network, one image.
//
// Expanding a table block costs as much as some 500 walkers; fewer pixels and outputs
// than that cannot pay for it. But the taps of a window see the same input: when lanes
// are positions of the packed input, in the order of memory, then for each channel
//
//   T[w][position] = entry of weight code w and the code at this position
//
// serves all taps, since a tap is a shift: output o adds T[w(tap, o)][position + shift]
// for all its pixels at once, in vectors that start anywhere. Expanding is paid once
// for a channel, not once for each of its taps. Positions between the rows of pixels
// (the pads) are computed too and dropped: with 3 x 3 taps an eighth of the work for
// rows of 14.
#pragma once
#include <cstdint>

#include "conv_geometry.h"
#include "cpu/packed_codes.h"
#include "cpu/table_columns.h"
#include "cpu/workers.h"

namespace axjax {

struct SharedTapsPlan {
  bool possible;      // taps are shifts, and a channel's table fits the scratch memory
  int64_t lines;      // 64-byte lines of lanes, from the first to the last pixel
  int64_t segments;   // in which they are treated
  int64_t row_lines;  // lines of a table row of one segment: those that taps reach, too
};

SharedTapsPlan PlanSharedTaps(const PixelCodes& pixels, bool wide);

// `columns` has pixels as lanes. The plan for columns.wide must be possible.
void SumSharedTaps(const ConvGeometry& geometry, const PixelCodes& pixels,
                   const OutputCodes& outputs, const uint8_t* rhs,
                   const TableColumns& columns, int32_t* out, Workers& workers);

}  // namespace axjax
