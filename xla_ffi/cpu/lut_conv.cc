// SPDX-License-Identifier: Apache-2.0
#include "cpu/lut_conv.h"

#include <algorithm>
#include <cstring>

#include "cpu/instruction_set.h"
#include "cpu/lookups.h"
#include "cpu/packed_codes.h"
#include "cpu/row_sums.h"
#include "cpu/table_columns.h"

namespace axjax {
namespace {

// Costs in nanoseconds, measured on one core with AVX-512 at 4 GHz; only their ratios
// matter. Expanding one row and adding one row, of 16, 32 and 64 bytes:
constexpr double kExpandRow[kWidths] = {0.4, 0.6, 1.0};
constexpr double kAddRow[kWidths] = {0.27, 0.34, 0.5};
// One product in the forms without rows, and one pixel's row of the table:
constexpr double kDirectProduct = 0.22;
constexpr double kDirectRow = 15;
constexpr double kColumnProduct = 0.25;

// Of one depth position of one group, with rows for `lanes` and `walkers` to add them.
double RowsCost(int64_t lanes, int64_t walkers, int lane_bytes) {
  const int64_t row_lanes = kMaxRowBytes / lane_bytes;
  double cost = static_cast<double>(lanes / row_lanes) *
                (256 * kExpandRow[2] + walkers * kAddRow[2]);
  if (const int64_t rest = lanes % row_lanes; rest > 0) {
    int width = 0;
    while (RowBytes(width) < rest * lane_bytes) ++width;
    cost += 256 * kExpandRow[width] + walkers * kAddRow[width];
  }
  return cost;
}

// How often each lane code occurs, from a sample: enough to choose walker bases by.
void SampleWeights(const uint8_t* codes, int64_t count, float* weights) {
  constexpr int64_t kSample = 1 << 14;
  const int64_t step = std::max<int64_t>(1, count / kSample) | 1;
  std::fill(weights, weights + 256, 0.0f);
  for (int64_t i = 0; i < count; i += step) weights[codes[i]] += 1;
}

}  // namespace

ConvForm ChooseForm(const ConvGeometry& g, bool wide_entries) {
  const int lane_bytes = wide_entries ? 4 : 2;
  const int64_t pixels = g.pixels(), outputs = g.out_c_per_group();
  ConvForm best = ConvForm::kPixelsWalk;
  double least = RowsCost(outputs, pixels, lane_bytes);
  const auto consider = [&](ConvForm form, double cost) {
    if (cost < least) best = form, least = cost;
  };
  consider(ConvForm::kOutputsWalk, RowsCost(pixels, outputs, lane_bytes));
  const double products = static_cast<double>(pixels) * outputs;
  consider(ConvForm::kDirect, products * kDirectProduct + pixels * kDirectRow);
  // A column of 256 entries is copied for each output and depth position.
  consider(ConvForm::kColumns,
           (products + 100.0 * outputs * (1 + pixels / 4096)) * kColumnProduct);
  return best;
}

template <typename Entry>
void LutConvInForm(ConvForm form, const ConvGeometry& g, const uint8_t* lhs,
                   const uint8_t* rhs, const Entry* table, uint8_t pad_code,
                   int32_t* out, Workers& workers) {
  const int64_t pixels = g.pixels(), depth = g.depth();
  if (pixels == 0 || g.out_c == 0) return;
  if (depth == 0) {
    std::memset(out, 0, pixels * g.out_c * sizeof(int32_t));
    return;
  }
  const PixelCodes pixel_codes(g, lhs, pad_code, workers);
  if (form == ConvForm::kDirect) {
    SumDirect(g, pixel_codes, rhs, table, out, workers);
    return;
  }
  if (form == ConvForm::kColumns) {
    SumColumns(g, pixel_codes, rhs, table, out, workers);
    return;
  }
  const bool pixels_walk = form == ConvForm::kPixelsWalk;
  const OutputCodes output_codes(g, rhs, pixel_codes.kernel_rows(), !pixels_walk,
                                 workers);
  const int64_t outputs = g.out_c_per_group();
  if (pixels_walk) {
    // Centring costs one look-up per channel of an input position and saves a fifth of
    // the time of each row, of which there is one for each tap and 32 outputs.
    float weights[256];
    const bool may_centre = g.taps() * ((outputs + kMaxLanes - 1) / kMaxLanes) >= 6;
    if (may_centre) SampleWeights(rhs, depth * g.out_c, weights);
    const TableColumns columns =
        MakeColumns(table, LaneOperand::kOutputs, pixel_codes.range(),
                    may_centre ? weights : nullptr);
    SumRows(g.groups, depth, pixel_codes, output_codes, columns, {g.out_c, 1, outputs},
            out, workers);
  } else {
    float weights[256];
    const bool may_centre = pixels >= 6 * kMaxLanes;
    if (may_centre)
      SampleWeights(lhs, g.batch * g.in[0] * g.in[1] * g.in[2] * g.in_c, weights);
    const TableColumns columns = MakeColumns(table, LaneOperand::kPixels, CodeRange{},
                                             may_centre ? weights : nullptr);
    SumRows(g.groups, depth, output_codes, pixel_codes, columns, {1, g.out_c, outputs},
            out, workers);
  }
}

template <typename Entry>
void LutConv(const ConvGeometry& g, const uint8_t* lhs, const uint8_t* rhs,
             const Entry* table, uint8_t pad_code, int32_t* out, Workers& workers) {
  LutConvInForm(ChooseForm(g, sizeof(Entry) == 4), g, lhs, rhs, table, pad_code, out,
                workers);
}

template void LutConvInForm(ConvForm, const ConvGeometry&, const uint8_t*,
                            const uint8_t*, const uint16_t*, uint8_t, int32_t*,
                            Workers&);
template void LutConvInForm(ConvForm, const ConvGeometry&, const uint8_t*,
                            const uint8_t*, const int16_t*, uint8_t, int32_t*,
                            Workers&);
template void LutConvInForm(ConvForm, const ConvGeometry&, const uint8_t*,
                            const uint8_t*, const int32_t*, uint8_t, int32_t*,
                            Workers&);
template void LutConv(const ConvGeometry&, const uint8_t*, const uint8_t*,
                      const uint16_t*, uint8_t, int32_t*, Workers&);
template void LutConv(const ConvGeometry&, const uint8_t*, const uint8_t*,
                      const int16_t*, uint8_t, int32_t*, Workers&);
template void LutConv(const ConvGeometry&, const uint8_t*, const uint8_t*,
                      const int32_t*, uint8_t, int32_t*, Workers&);

}  // namespace axjax
