// SPDX-License-Identifier: Apache-2.0
// The one place where the operand order of a table is written.
#pragma once
#include <cstdint>

namespace axjax {

constexpr int kCodes = 256;
constexpr int kTableSize = kCodes * kCodes;

// Position of the product of an activation code's byte and a weight code's byte.
#if defined(__CUDACC__)
__host__ __device__
#endif
    constexpr uint32_t TableIndex(uint8_t activation, uint8_t weight) {
  return static_cast<uint32_t>(activation) << 8 | weight;
}

}  // namespace axjax
