// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "cpu/kernels.h"

namespace axjax {
namespace avx512vbmi {

constexpr int kVectorBytes = 64;

#include "cpu/permuted_columns.inc"
//
#include "cpu/kernels.inc"

}  // namespace avx512vbmi
}  // namespace axjax
