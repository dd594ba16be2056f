// SPDX-License-Identifier: Apache-2.0
// For few outputs per group, depthwise convolutions above all, on machines that look
// bytes up in registers (AVX-512 VBMI): lanes are pixels, and an output's weight is the
// same for all of them, so that its column of the table stands in registers, a byte of
// the entries at a time.
//
// Lanes are consecutive positions of one channel, in an order in which a tap adds a
// constant to the position: those of one phase of the strides after another. Between
// the rows of pixels lie lanes that are not used.
#pragma once
#include <cstdint>

#include "conv_geometry.h"
#include "cpu/packed_codes.h"
#include "cpu/workers.h"

namespace axjax {

// Lanes that the form would compute, and how.
struct PermutedPlan {
  bool possible;     // the machine can, and a job fits
  int64_t lanes;     // of all pixels
  int64_t job_rows;  // rows of pixels in a job
};
PermutedPlan PlanPermuted(const ConvGeometry& geometry, const PixelCodes& pixels);

// By a plan that is possible.
template <typename Entry>
void SumPermutedColumns(const PermutedPlan& plan, const ConvGeometry& geometry,
                        const PixelCodes& pixels, const uint8_t* rhs,
                        const Entry* table, int32_t* out, Workers& workers);

}  // namespace axjax
