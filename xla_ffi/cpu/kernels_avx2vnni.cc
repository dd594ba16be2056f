// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "cpu/kernels.h"

namespace axjax {
namespace avx2vnni {

constexpr int kVectorBytes = 32;

#include "cpu/kernels.inc"

}  // namespace avx2vnni
}  // namespace axjax
