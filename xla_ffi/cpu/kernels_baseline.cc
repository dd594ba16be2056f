// SPDX-License-Identifier: Apache-2.0
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "cpu/kernels.h"

namespace axjax {
namespace baseline {

constexpr int kVectorBytes = 16;

#include "cpu/kernels.inc"

}  // namespace baseline
}  // namespace axjax
