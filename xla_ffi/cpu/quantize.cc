// SPDX-License-Identifier: Apache-2.0
#include "cpu/quantize.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>
#include <vector>

namespace axjax {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int kLimit = 1024;  // multiples of the scale saturate here
constexpr int kOfNan = -1;    // what a NaN, or a scale of NaN, rounds to

// An operand cut into pieces that are dense in memory, each rows of one channel or rows
// of all channels.
struct Piece {
  int64_t begin, rows, row;
  int64_t channel;  // the first
  bool each;        // a channel for each number of a row
};

class Pieces {
 public:
  explicit Pieces(const Quantization& q) : q_(q) {
    if (q.channels == 1) {
      row_ = q.reduced * q.inner;
      each_ = false;
      rows_ = 1;
      per_piece_ = std::min(row_, kNumbers);
      per_outer_ = (row_ + per_piece_ - 1) / per_piece_;
    } else if (q.inner == 1) {
      row_ = q.channels;
      each_ = true;
      rows_ = std::max<int64_t>(1, kNumbers / row_);
      per_outer_ = (q.reduced + rows_ - 1) / rows_;
    } else {
      row_ = q.inner;
      each_ = false;
      rows_ = 1;
      per_outer_ = q.reduced * q.channels;
    }
  }

  int64_t count() const { return q_.outer * per_outer_; }

  Piece operator[](int64_t i) const {
    const int64_t outer = i / per_outer_, inside = i % per_outer_;
    const int64_t first = outer * q_.reduced * q_.channels * q_.inner;
    if (q_.channels == 1) {
      const int64_t begin = inside * per_piece_;
      return {first + begin, 1, std::min(per_piece_, row_ - begin), outer, false};
    }
    if (each_) {
      const int64_t begin = inside * rows_;
      return {first + begin * row_, std::min(rows_, q_.reduced - begin), row_,
              outer * q_.channels, true};
    }
    return {first + inside * row_, 1, row_, outer * q_.channels + inside % q_.channels,
            false};
  }

 private:
  static constexpr int64_t kNumbers = 1 << 14;
  const Quantization& q_;
  int64_t row_, rows_, per_outer_, per_piece_ = 0;
  bool each_;
};

Reals At(const RealOperand& x, const Piece& piece) {
  const int64_t bytes = x.kind == kFloat32 ? 4 : 2;
  return {static_cast<const char*>(x.data) + piece.begin * bytes, piece.rows,
          piece.row};
}

// Calls job(number, first piece, end) for parts of the pieces.
template <typename Job>
void InParallel(int64_t jobs, int64_t pieces, Workers& workers, const Job& job) {
  workers.ForEach(
      jobs, [&](int64_t j) { job(j, j * pieces / jobs, (j + 1) * pieces / jobs); });
}

int64_t Jobs(int64_t pieces, const Workers& workers) {
  return std::max<int64_t>(1, std::min(pieces, 4 * workers.threads()));
}

// floor(x / scale + 1/2), saturated, for a positive scale: exact, see kHalf.
int NearestMultiple(float x, float scale) {
  if (std::isnan(x) || std::isnan(scale)) return kOfNan;
  const double multiple = static_cast<double>(x) / static_cast<double>(scale);
  return static_cast<int>(
      std::floor(std::min<double>(std::max<double>(multiple, -kLimit), kLimit) + 0.5));
}

float ScaleOfWidth(float width, int steps) {
  if (!std::isfinite(width)) return kNan;
  // XLA takes subnormal numbers for zeros, and multiplies by the rounded reciprocal.
  if (std::fabs(width) < FLT_MIN) return 1;
  return std::max(width * (1.0f / static_cast<float>(steps)), 0x1p-100f);
}

struct ScaleOf {
  float scale;
  int zero;
};

ScaleOf OfRange(const Quantization& q, float low, float high) {
  if (std::isnan(low) || std::isnan(high))
    low = high = kNan;
  else if (q.include_zero || low == high)
    low = std::min(low, 0.0f), high = std::max(high, 0.0f);
  if (q.symmetric) {
    const int steps = (q.code_max - q.code_min - 1) / 2;
    const float width = std::isnan(low) ? kNan : std::max(-low, high);
    return {ScaleOfWidth(width, steps), q.code_min + 1 + steps};
  }
  const float scale = ScaleOfWidth(high - low, q.code_max - q.code_min);
  const int zero = q.code_min + NearestMultiple(-low, scale);
  return {scale, std::min(std::max(zero, q.code_min), q.code_max)};
}

// Scales and zero points of all channels, and all that kernels need to apply them.
class Scales {
 public:
  Scales(const Quantization& q, const RealOperand& x, Workers& workers)
      : q_(q),
        x_(x),
        pieces_(q),
        workers_(workers),
        kernels_(CurrentRealKernels()),
        scale_(q.scales()),
        zero_(q.scales()),
        has_nan_(q.scales()),
        inverse_(q.scales()),
        offset_(q.scales()),
        missing_(q.scales()) {
    if (q.source == ScaleSource::kNumbers) {
      FindRange();
    } else {
      for (int64_t c = 0; c < q.scales(); ++c) {
        const int64_t i = x.one_for_all ? 0 : c;
        Set(c, q.source == ScaleSource::kScale ? ScaleOf{x.first[i], q.zero_point}
                                               : OfRange(q, x.first[i], x.last[i]));
      }
    }
    const bool symmetric = q.symmetric && q.source != ScaleSource::kScale;
    least_ = q.code_min + symmetric;  // as many codes below zero as above
    greatest_ = q.code_max;
  }

  // Calls apply(piece, numbers, steps, has_nan), on all threads, and notes what has_nan
  // was set for.
  template <typename Apply>
  void ForPieces(const Apply& apply) {
    const int64_t jobs = Jobs(pieces_.count(), workers_);
    std::vector<int32_t> has_nan(jobs * q_.scales());
    InParallel(jobs, pieces_.count(), workers_,
               [&](int64_t job, int64_t first, int64_t end) {
                 for (int64_t i = first; i < end; ++i) {
                   const Piece piece = pieces_[i];
                   const int64_t c = piece.channel;
                   const Steps steps = {&inverse_[c],     &offset_[c], &missing_[c],
                                        &scale_[c],       &zero_[c],   kLift + least_,
                                        kLift + greatest_};
                   apply(piece, At(x_, piece), steps, &has_nan[job * q_.scales() + c]);
                 }
               });
    for (int64_t i = 0; i < jobs * q_.scales(); ++i)
      has_nan_[i % q_.scales()] |= has_nan[i];
  }

  // Calls apply(piece, row in it, number in the row) for all numbers of channels of
  // which `which(channel)` holds. For the few cases that no kernel has to know.
  template <typename Which, typename Apply>
  void ForNumbersOf(const Which& which, const Apply& apply) const {
    bool any = false;
    for (int64_t c = 0; c < q_.scales(); ++c) any |= which(c);
    if (!any) return;
    for (int64_t p = 0; p < pieces_.count(); ++p) {
      const Piece piece = pieces_[p];
      for (int64_t i = 0; i < piece.rows * piece.row; ++i) {
        const int64_t c = piece.channel + (piece.each ? i % piece.row : 0);
        if (which(c)) apply(piece.begin + i, c);
      }
    }
  }

  const RealKernels& kernels() const { return kernels_; }
  RealKind kind() const { return x_.kind; }
  int32_t zero(int64_t c) const { return zero_[c]; }
  // NaN where a number of the channel is.
  float scale(int64_t c) const { return has_nan_[c] ? kNan : scale_[c]; }
  // Where all codes are one, that of a NaN, whatever the numbers are.
  bool has_no_scale(int64_t c) const { return std::isnan(scale_[c]); }
  int code_of_nan(int64_t c) const {
    return std::min(std::max(zero_[c] + kOfNan, least_), greatest_);
  }
  bool nan_is_inside(int64_t c) const { return zero_[c] + kOfNan == code_of_nan(c); }

 private:
  void FindRange() {
    const int64_t jobs = Jobs(pieces_.count(), workers_), scales = q_.scales();
    std::vector<float> low(jobs * scales, kInfinity), high(jobs * scales, -kInfinity);
    std::vector<int32_t> has_nan(jobs * scales);
    InParallel(jobs, pieces_.count(), workers_,
               [&](int64_t job, int64_t first, int64_t end) {
                 for (int64_t i = first; i < end; ++i) {
                   const Piece piece = pieces_[i];
                   const int64_t c = job * scales + piece.channel;
                   kernels_.range[x_.kind][piece.each](At(x_, piece), &low[c], &high[c],
                                                       &has_nan[c]);
                 }
               });
    for (int64_t c = 0; c < scales; ++c) {
      for (int64_t i = c + scales; i < jobs * scales; i += scales) {
        low[c] = std::min(low[c], low[i]);
        high[c] = std::max(high[c], high[i]);
        has_nan[c] |= has_nan[i];
      }
      Set(c, has_nan[c] ? OfRange(q_, kNan, kNan) : OfRange(q_, low[c], high[c]));
    }
  }

  void Set(int64_t c, const ScaleOf& of) {
    scale_[c] = of.scale;
    zero_[c] = of.zero;
    const bool none = std::isnan(of.scale);
    inverse_[c] = none ? 0 : 1 / static_cast<double>(of.scale);
    offset_[c] = of.zero + kHalf + kLift;
    missing_[c] = none ? 0 : kOfNan * of.scale;
  }

  const Quantization& q_;
  const RealOperand& x_;
  const Pieces pieces_;
  Workers& workers_;
  const RealKernels& kernels_;
  std::vector<float> scale_;
  std::vector<int32_t> zero_, has_nan_;
  std::vector<double> inverse_, offset_;
  std::vector<float> missing_;
  int least_, greatest_;
};

}  // namespace

void QuantizeToCodes(const Quantization& q, const RealOperand& x, uint8_t* codes,
                     float* scale, int32_t* zero, Workers& workers) {
  Scales scales(q, x, workers);
  const auto kernels = scales.kernels().codes[x.kind];
  scales.ForPieces([&](const Piece& piece, const Reals& numbers, const Steps& steps,
                       int32_t* has_nan) {
    kernels[piece.each](numbers, steps, codes + piece.begin, has_nan);
  });
  scales.ForNumbersOf([&](int64_t c) { return scales.has_no_scale(c); },
                      [&](int64_t i, int64_t c) {
                        codes[i] = static_cast<uint8_t>(scales.code_of_nan(c));
                      });
  for (int64_t c = 0; c < q.scales(); ++c) {
    scale[c] = scales.scale(c);
    zero[c] = scales.zero(c);
  }
}

void QuantizeAndBack(const Quantization& q, const RealOperand& x, float* rounded,
                     bool* inside, Workers& workers) {
  Scales scales(q, x, workers);
  const auto kernels = scales.kernels().rounded[x.kind];
  scales.ForPieces([&](const Piece& piece, const Reals& numbers, const Steps& steps,
                       int32_t* has_nan) {
    kernels[piece.each](numbers, steps, rounded + piece.begin, inside + piece.begin,
                        has_nan);
  });
  scales.ForNumbersOf([&](int64_t c) { return std::isnan(scales.scale(c)); },
                      [&](int64_t i, int64_t c) {
                        rounded[i] = kNan;
                        if (scales.has_no_scale(c)) inside[i] = scales.nan_is_inside(c);
                      });
}

}  // namespace axjax
