// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "cpu/kernels.h"

namespace axjax {
namespace avx2 {

constexpr int kVectorBytes = 32;

#include "cpu/kernels.inc"

}  // namespace avx2
}  // namespace axjax
