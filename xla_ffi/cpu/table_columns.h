// SPDX-License-Identifier: Apache-2.0
// A table as the kernels expand it: a column of 256 entries for each lane code, in
// 16-bit lanes where possible, since they are half as many bytes.
//
//   table entry = column entry + lane base of the lane code + walker base of the walker
//   code
//
// modulo 2^32. Lane bases make every column start at zero. Walker bases, if used, are
// averages over the lane codes: they take the common slope out of unsigned tables, so
// that columns span less, and more of them can be added in 16 bits. Both are summed
// apart.
#pragma once
#include <cstdint>

#include "cpu/packed_codes.h"
#include "cpu/workers.h"

namespace axjax {

enum class LaneOperand { kOutputs, kPixels };

struct TableColumns {
  bool wide = false;    // 32-bit entries
  const char* entries;  // in CallTables()
  uint32_t lane_base[256];
  uint32_t span[256];  // greatest entry of a column
  bool centred = false;
  int32_t walker_base[256];  // if centred

  const void* Column(uint8_t lane_code) const {
    return entries + lane_code * (wide ? 1024 : 512);
  }
};

// Entries of codes outside `walker_codes` are arbitrary. `weights` says how often each
// lane code occurs, or about; null forbids centring. No choice of weights makes sums
// wrong.
template <typename Entry>
TableColumns MakeColumns(const Entry* table, LaneOperand lanes, CodeRange walker_codes,
                         const float* weights);

// In CallTables(), the table with a row for each weight code: transposed[w * 256 + a] =
// table[a * 256 + w].
template <typename Entry>
const int32_t* TransposeTable(const Entry* table);

}  // namespace axjax
