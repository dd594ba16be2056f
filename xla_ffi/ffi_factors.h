// SPDX-License-Identifier: Apache-2.0
// From a custom call's operands to checked TableFactors.
#pragma once
#include <string>

#include "table_factors.h"
#include "xla/ffi/api/ffi.h"

namespace axjax {

using FactorArray = xla::ffi::Buffer<xla::ffi::S8, 3>;
using FactorSums = xla::ffi::BufferR1<xla::ffi::S32>;

// What keeps a handler within its buffers, as in FillGeometry. `engine`: for messages.
inline xla::ffi::Error FillFactors(const char* engine, const FactorArray& u,
                                   const FactorArray& v, const FactorSums& beta,
                                   const FactorSums& words, TableFactors* factors) {
  const auto shape = u.dimensions(), of_v = v.dimensions();
  if (shape[0] < 1 || shape[0] > kMaxPlanes || shape[1] != 256 ||
      shape[2] > kMaxTerms || of_v[0] != shape[0] || of_v[1] != 256 ||
      of_v[2] != shape[2] || beta.dimensions()[0] != 256 ||
      words.dimensions()[0] != shape[0])
    return xla::ffi::Error::InvalidArgument(
        std::string("axjax: ") + engine +
        ": factors are u and v (planes, 256, capacity), beta (256,) and words "
        "(planes,), with at most 4 planes and a capacity of at most 512");
  *factors = {static_cast<int>(shape[0]),
              static_cast<int>(shape[2]),
              u.typed_data(),
              v.typed_data(),
              words.typed_data(),
              beta.typed_data()};
  return xla::ffi::Error::Success();
}

}  // namespace axjax
