// SPDX-License-Identifier: Apache-2.0
#include "cpu/real_kernels.h"

namespace axjax {
namespace baseline {

#include "cpu/real_kernels.inc"

}  // namespace baseline
}  // namespace axjax
