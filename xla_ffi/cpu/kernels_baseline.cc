// SPDX-License-Identifier: Apache-2.0
#include "cpu/kernels.h"

namespace axjax {
namespace baseline {

constexpr int kVectorBytes = 16;

#include "cpu/kernels.inc"

}  // namespace baseline
}  // namespace axjax
