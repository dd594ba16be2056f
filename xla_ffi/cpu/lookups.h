// SPDX-License-Identifier: Apache-2.0
// Forms without expanded tables, one look-up a product, for shapes that cannot fill
// rows.
#pragma once
#include <cstdint>

#include "conv_geometry.h"
#include "cpu/packed_codes.h"
#include "cpu/workers.h"

namespace axjax {

// For few pixels: the table's row of each pixel's code stays in the first-level cache
// while the kernel's codes pick from it.
template <typename Entry>
void SumDirect(const ConvGeometry& geometry, const PixelCodes& pixels,
               const uint8_t* rhs, const Entry* table, int32_t* out, Workers& workers);

// For few outputs per group, depthwise convolutions above all: the table's columns of
// an output's weights stay in the first-level cache while the pixels' codes pick from
// them.
template <typename Entry>
void SumColumns(const ConvGeometry& geometry, const PixelCodes& pixels,
                const uint8_t* rhs, const Entry* table, int32_t* out, Workers& workers);

}  // namespace axjax
