// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

namespace axjax {

// Of numbers that are not negative.
inline int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace axjax
