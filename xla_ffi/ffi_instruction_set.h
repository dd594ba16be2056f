// SPDX-License-Identifier: Apache-2.0
// Whether the instruction set that the user asks for is there, as a handler's error.
#pragma once
#include <string>

#include "cpu/instruction_set.h"
#include "xla/ffi/api/ffi.h"

namespace axjax {

inline xla::ffi::Error CheckInstructionSet() {
  const std::string problem = InstructionSetProblem();
  return problem.empty() ? xla::ffi::Error::Success()
                         : xla::ffi::Error::InvalidArgument("axjax: " + problem);
}

}  // namespace axjax
