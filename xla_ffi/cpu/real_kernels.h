// SPDX-License-Identifier: Apache-2.0
// The inner loops between real numbers and integers, compiled once per instruction set
// from one source, real_kernels.inc. As in kernels.h, plain data only.
#pragma once
#include <stdint.h>

namespace axjax {

// Types of real operands, in the order in which kernels are listed.
enum RealKind { kFloat32, kBfloat16, kRealKinds };

// Rows of numbers, dense. Either all numbers are of one channel, or the numbers of a
// row are of as many channels.
struct Reals {
  const void* data;
  int64_t rows;
  int64_t row;
};

// How numbers become codes, for one channel or for as many as a row has numbers.
//
// t = x / scale + zero point + 1/2 + kLift, and the code is the integer below t, less
// kLift, clamped. In double that is exact, (2) of docs/arithmetic.md, though the
// quotient is rounded: a float32 that is not half-way between two multiples of a
// float32 is 2^-26 of the latter away from it, and 2^-32 is added, which no quotient
// errs by, so that one that is half-way goes up. kLift makes t positive, where cutting
// is rounding down, and is a multiple of 256, which a byte does not show.
constexpr double kLift = 1024;
constexpr double kHalf = 0.5 + 1.0 / (int64_t{1} << 32);
struct Steps {
  const double* inverse;  // 1 / scale
  const double* offset;   // zero point + kHalf + kLift
  const float* missing;   // what a NaN counts as
  const float* scale;
  const int32_t* zero;
  double least, greatest;  // codes in use, + kLift
};

// out[p, o] = sums[p, o] + factor[o] * window_sums[p, group of o] + base[o], rounded
// once; the product wraps. All dense.
struct Corrections {
  const int32_t* sums;
  const int32_t* window_sums;
  const int32_t* factor;
  const double* base;
  int64_t pixels, groups;
  int64_t outputs;  // of a group
  float* out;
};

struct RealKernels {
  // [kind][a channel for each number of a row]. Lowers low, raises high, sets has_nan.
  void (*range[kRealKinds][2])(const Reals&, float* low, float* high, int32_t* has_nan);
  // Codes as bytes; sets has_nan.
  void (*codes[kRealKinds][2])(const Reals&, const Steps&, uint8_t* codes,
                               int32_t* has_nan);
  // Codes as the reals that they stand for, and whether they had to be clamped no more
  // than rounding does.
  void (*rounded[kRealKinds][2])(const Reals&, const Steps&, float* rounded,
                                 bool* inside, int32_t* has_nan);
  // sums[i] = the sum of `count` consecutive codes, for each of `positions`.
  void (*code_sums[2])(const uint8_t* codes, int64_t positions, int64_t count,
                       int32_t* sums);  // [signed]
  void (*corrected)(const Corrections&);
};

namespace baseline {
extern const RealKernels kRealKernels;
}
namespace avx2 {
extern const RealKernels kRealKernels;
}
namespace avx512 {
extern const RealKernels kRealKernels;
}

// Of the instruction set in use.
const RealKernels& CurrentRealKernels();

}  // namespace axjax
