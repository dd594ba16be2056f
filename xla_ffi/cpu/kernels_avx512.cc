// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "cpu/kernels.h"

namespace axjax {
namespace avx512 {

constexpr int kVectorBytes = 64;

#include "cpu/kernels.inc"

}  // namespace avx512
}  // namespace axjax
