// SPDX-License-Identifier: Apache-2.0
#include "cpu/real_kernels.h"

namespace axjax {
namespace avx2 {

#include "cpu/real_kernels.inc"

}  // namespace avx2
}  // namespace axjax
