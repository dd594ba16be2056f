// SPDX-License-Identifier: Apache-2.0
// The sizes of one grouped convolution over three spatial dimensions, channels last.
//
//   input  (batch, in[0], in[1], in[2], in_c)                  codes, one byte each
//   kernel (kernel[0], kernel[1], kernel[2], in_c / groups, out_c)
//   output (batch, out[0], out[1], out[2], out_c)              int32
//
// Convolutions over fewer dimensions and matrix products have sizes of one in front:
// axjax/_geometry.py makes the canonical form. No XLA, CUDA or Python header here.
#pragma once
#include <cstdint>

namespace axjax {

#if defined(__CUDACC__)
#define AXJAX_HOST_DEVICE __host__ __device__
#else
#define AXJAX_HOST_DEVICE
#endif

struct ConvGeometry {
  int64_t batch;
  int64_t in[3];
  int64_t in_c;
  int64_t kernel[3];
  int64_t out[3];
  int64_t out_c;
  int64_t stride[3];
  int64_t pad_low[3];  // may be negative: the input is cropped
  int64_t in_dilation[3];
  int64_t kernel_dilation[3];
  int64_t groups;

  AXJAX_HOST_DEVICE int64_t in_c_per_group() const { return in_c / groups; }
  AXJAX_HOST_DEVICE int64_t out_c_per_group() const { return out_c / groups; }
  AXJAX_HOST_DEVICE int64_t taps() const { return kernel[0] * kernel[1] * kernel[2]; }
  // Products per output.
  AXJAX_HOST_DEVICE int64_t depth() const { return taps() * in_c_per_group(); }
  AXJAX_HOST_DEVICE int64_t pixels() const { return batch * out[0] * out[1] * out[2]; }

  // Input index that kernel tap `k` reads for output `o` along dimension `d`, or -1
  // where it reads padding or a hole of the dilated input: there the code is the pad
  // code.
  AXJAX_HOST_DEVICE int64_t InputIndex(int d, int64_t o, int64_t k) const {
    const int64_t dilated = o * stride[d] + k * kernel_dilation[d] - pad_low[d];
    if (dilated < 0 || dilated % in_dilation[d] != 0) return -1;
    const int64_t i = dilated / in_dilation[d];
    return i < in[d] ? i : -1;
  }
};

}  // namespace axjax
