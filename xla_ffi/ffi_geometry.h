// SPDX-License-Identifier: Apache-2.0
// From a custom call's operands and attributes to a checked ConvGeometry.
#pragma once
#include <cstdint>
#include <string>
#include <utility>

#include "conv_geometry.h"
#include "xla/ffi/api/ffi.h"

namespace axjax {

using Codes5 = xla::ffi::Buffer<xla::ffi::U8, 5>;
using Code = xla::ffi::BufferR0<xla::ffi::U8>;
using Sums5 = xla::ffi::Buffer<xla::ffi::S32, 5>;
template <xla::ffi::DataType kEntry>
using Table2 = xla::ffi::BufferR2<kEntry>;
using Triple = xla::ffi::Span<const int64_t>;

// Python has checked the shapes with messages for people. What is checked here again is
// what keeps a handler within its buffers when it is called by other means.
// `wider_input`: the input may have more channels than the kernel.
inline xla::ffi::Error FillGeometry(const Codes5& lhs, const Codes5& rhs,
                                    xla::ffi::Span<const int64_t> out, Triple strides,
                                    Triple padding_low, Triple lhs_dilation,
                                    Triple rhs_dilation, int64_t groups,
                                    ConvGeometry* g, bool wider_input = false) {
  const auto error = [](const std::string& text) {
    return xla::ffi::Error::InvalidArgument("axjax: " + text);
  };
  const auto l = lhs.dimensions(), r = rhs.dimensions();
  for (const Triple& t : {strides, padding_low, lhs_dilation, rhs_dilation})
    if (t.size() != 3) return error("geometry attributes have three entries");
  if (groups < 1 || r[4] % groups != 0 || l[4] % groups != 0 ||
      (wider_input ? r[3] * groups > l[4] : r[3] * groups != l[4]))
    return error("the channels of input and kernel do not divide into " +
                 std::to_string(groups) + " groups");
  if (out[0] != l[0] || out[4] != r[4])
    return error("the output has the batch of the input and the outputs of the kernel");
  g->batch = l[0];
  g->in_c = l[4];
  g->out_c = r[4];
  g->groups = groups;
  for (int d = 0; d < 3; ++d) {
    if (strides[d] < 1 || lhs_dilation[d] < 1 || rhs_dilation[d] < 1)
      return error("strides and dilations are positive");
    g->in[d] = l[d + 1];
    g->kernel[d] = r[d];
    g->out[d] = out[d + 1];
    g->stride[d] = strides[d];
    g->pad_low[d] = padding_low[d];
    g->in_dilation[d] = lhs_dilation[d];
    g->kernel_dilation[d] = rhs_dilation[d];
  }
  return xla::ffi::Error::Success();
}

// Binds the attributes that FillGeometry takes, in its order, after the results.
template <typename Binding>
auto GeometryAttributes(Binding binding) {
  return std::move(binding)
      .template Attr<Triple>("window_strides")
      .template Attr<Triple>("padding_low")
      .template Attr<Triple>("lhs_dilation")
      .template Attr<Triple>("rhs_dilation")
      .template Attr<int64_t>("feature_group_count");
}

inline xla::ffi::Error CheckTable(xla::ffi::Span<const int64_t> shape) {
  if (shape[0] == 256 && shape[1] == 256) return xla::ffi::Error::Success();
  return xla::ffi::Error::InvalidArgument("axjax: a table is 256 x 256");
}

}  // namespace axjax
