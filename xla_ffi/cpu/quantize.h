// SPDX-License-Identifier: Apache-2.0
// Real operands to codes, (1) to (3) of docs/arithmetic.md, bit for bit what
// axjax/_quantization.py computes: scale and zero point of a range, rounding that is
// exact, and whether there is a NaN, in one pass over the numbers, or two if the range
// is theirs.
#pragma once
#include <cstdint>

#include "cpu/real_kernels.h"
#include "cpu/workers.h"

namespace axjax {

// Where scale and zero point come from.
enum class ScaleSource {
  kNumbers,  // the range of each channel's numbers
  kRange,    // a range that is given
  kScale,    // a scale that is given
};

// An operand, seen as (outer, reduced, channels, inner): numbers of one index of outer
// and channels have one scale.
struct Quantization {
  int64_t outer, reduced, channels, inner;
  ScaleSource source;
  bool symmetric;     // of a range: as many codes below zero as above
  bool include_zero;  // of a range: widened to hold zero
  int code_min, code_max;
  int zero_point;  // of a scale that is given

  int64_t scales() const { return outer * channels; }
  int64_t size() const { return scales() * reduced * inner; }
};

struct RealOperand {
  RealKind kind;
  const void* data;
  // Of a range or scale that is given: its ends, or the scale. One for all or as many
  // as there are scales.
  const float* first;
  const float* last;
  bool one_for_all;
};

// Codes as bytes; scales, NaN where a number or the range is not finite; zero points.
void QuantizeToCodes(const Quantization& q, const RealOperand& x, uint8_t* codes,
                     float* scale, int32_t* zero, Workers& workers);

// The reals that the codes stand for, NaN where the scale is; and whether the code of
// each number is in use, so that it was not clipped.
void QuantizeAndBack(const Quantization& q, const RealOperand& x, float* rounded,
                     bool* inside, Workers& workers);

}  // namespace axjax
