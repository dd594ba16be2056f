// SPDX-License-Identifier: Apache-2.0
// What every engine that looks products up in the table takes and gives back.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "table.h"

namespace axjax {

// Entry is uint16_t, int16_t or int32_t. Everything is in device memory.
template <typename Entry>
struct LutConvOperands {
  const uint8_t* lhs;       // codes (batch, in..., in_c)
  const uint8_t* rhs;       // codes (kernel..., in_c / groups, out_c)
  const Entry* table;       // (256, 256)
  const uint8_t* pad_code;  // one code
  int32_t* out;             // (batch, out..., out_c)
  void* workspace;          // what the engine asks for, or nullptr
  size_t workspace_bytes;
};

// How a launch went. Nothing is thrown and nothing is printed below the module files.
struct LaunchStatus {
  enum Kind { kOk, kInvalidArgument, kInternal };
  Kind kind = kOk;
  std::string text;

  bool ok() const { return kind == kOk; }
  static LaunchStatus Ok() { return {}; }
  static LaunchStatus Invalid(std::string text) {
    return {kInvalidArgument, std::move(text)};
  }
  // `doing`: what was being done when `error` came back.
  static LaunchStatus Of(cudaError_t error, const char* doing) {
    if (error == cudaSuccess) return Ok();
    return {kInternal, std::string("CUDA reports '") + cudaGetErrorString(error) +
                           "' while " + doing};
  }
};

}  // namespace axjax
