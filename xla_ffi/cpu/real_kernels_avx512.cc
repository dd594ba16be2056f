// SPDX-License-Identifier: Apache-2.0
#include "cpu/real_kernels.h"

namespace axjax {
namespace avx512 {

#include "cpu/real_kernels.inc"

}  // namespace avx512
}  // namespace axjax
