// SPDX-License-Identifier: Apache-2.0
// The CPU engine: any table, any convolution, equal to LutConvReference bit for bit.
#pragma once
#include <cstdint>

#include "conv_geometry.h"
#include "cpu/workers.h"

namespace axjax {

// The ways to compute it; all return the same sums.
enum class ConvForm {
  kPixelsWalk,   // row_sums.h: many pixels
  kOutputsWalk,  // row_sums.h with the operands' roles exchanged: more outputs than
                 // pixels
  kTapsShare,    // shared_taps.h: few pixels, many outputs, a window
  kDirect,       // lookups.h: a few pixels
  kColumns,      // lookups.h: a few outputs per group
  kPermuted,     // permuted_columns.h: the same, where the machine looks bytes up in
                 // registers
};

// out[p, o] = sum over taps and channels of table[input code, kernel code].
//
// lhs, rhs and out are dense and have the sizes of `geometry`, channels last. Padded
// pixels and holes of a dilated input carry `pad_code` through the table. Sums wrap.
// Entry is uint16_t, int16_t or int32_t.
//
// Memory: the packed input (its padded, dilated size or windows * taps, whichever is
// less, in bytes), the packed kernel when outputs walk, 4 bytes per input position and
// per pixel and group for tables that are centred, half a megabyte for the table, and
// 4 MB per thread that stay for later calls (scratch.h).
template <typename Entry>
void LutConv(const ConvGeometry& geometry, const uint8_t* lhs, const uint8_t* rhs,
             const Entry* table, uint8_t pad_code, int32_t* out, Workers& workers);

// The same in a given form, for tests and measurements. Where taps cannot be shared,
// kTapsShare is kOutputsWalk; where kPermuted is not possible, it is kColumns.
template <typename Entry>
void LutConvInForm(ConvForm form, const ConvGeometry& geometry, const uint8_t* lhs,
                   const uint8_t* rhs, const Entry* table, uint8_t pad_code,
                   int32_t* out, Workers& workers);

}  // namespace axjax
