// SPDX-License-Identifier: Apache-2.0
#include "cuda/reference.h"

#include <algorithm>

namespace axjax {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMaxBlocks = 1 << 20;

// A thread computes one output after another, in 64-bit arithmetic throughout.
template <typename Entry>
__global__ void ReferenceKernel(const ConvGeometry g, const LutConvOperands<Entry> a) {
  const int64_t outputs = g.pixels() * g.out_c;
  const int64_t channels = g.in_c_per_group();
  const uint8_t pad_code = *a.pad_code;
  for (int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x; i < outputs;
       i += int64_t{kThreads} * gridDim.x) {
    const int64_t o = i % g.out_c, pixel = i / g.out_c;
    const int64_t ow = pixel % g.out[2], oh = pixel / g.out[2] % g.out[1];
    const int64_t od = pixel / (g.out[2] * g.out[1]) % g.out[0];
    const int64_t n = pixel / (g.out[2] * g.out[1] * g.out[0]);
    const int64_t first_channel = o / g.out_c_per_group() * channels;
    const uint8_t* w = a.rhs + o;
    uint32_t sum = 0;  // unsigned: wraps without undefined behaviour
    for (int64_t kd = 0; kd < g.kernel[0]; ++kd)
      for (int64_t kh = 0; kh < g.kernel[1]; ++kh)
        for (int64_t kw = 0; kw < g.kernel[2]; ++kw) {
          const int64_t d = g.InputIndex(0, od, kd), h = g.InputIndex(1, oh, kh),
                        x = g.InputIndex(2, ow, kw);
          const bool inside = d >= 0 && h >= 0 && x >= 0;
          const int64_t in = ((n * g.in[0] + d) * g.in[1] + h) * g.in[2] + x;
          for (int64_t c = 0; c < channels; ++c, w += g.out_c) {
            const uint8_t code =
                inside ? a.lhs[in * g.in_c + first_channel + c] : pad_code;
            sum += static_cast<uint32_t>(a.table[TableIndex(code, *w)]);
          }
        }
    a.out[i] = static_cast<int32_t>(sum);
  }
}

}  // namespace

template <typename Entry>
LaunchStatus LaunchReference(const ConvGeometry& geometry,
                             const LutConvOperands<Entry>& operands,
                             cudaStream_t stream) {
  const int64_t outputs = geometry.pixels() * geometry.out_c;
  if (outputs == 0) return LaunchStatus::Ok();
  const int64_t blocks = std::min((outputs + kThreads - 1) / kThreads, kMaxBlocks);
  ReferenceKernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(geometry,
                                                                          operands);
  return LaunchStatus::Of(cudaGetLastError(), "launching the reference kernel");
}

template LaunchStatus LaunchReference(const ConvGeometry&,
                                      const LutConvOperands<uint16_t>&, cudaStream_t);
template LaunchStatus LaunchReference(const ConvGeometry&,
                                      const LutConvOperands<int16_t>&, cudaStream_t);
template LaunchStatus LaunchReference(const ConvGeometry&,
                                      const LutConvOperands<int32_t>&, cudaStream_t);

}  // namespace axjax
