// SPDX-License-Identifier: Apache-2.0
// Handlers of module `_cpu` between real numbers and codes.
#pragma once
#include "xla/ffi/api/ffi.h"

namespace axjax {

XLA_FFI_Error* QuantizeTarget(XLA_FFI_CallFrame* frame);
XLA_FFI_Error* QuantizeAndBackTarget(XLA_FFI_CallFrame* frame);
XLA_FFI_Error* CorrectSumsTarget(XLA_FFI_CallFrame* frame);

}  // namespace axjax
