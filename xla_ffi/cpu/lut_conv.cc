// SPDX-License-Identifier: Apache-2.0
#include "cpu/lut_conv.h"

#include <algorithm>
#include <cstring>

#include "cpu/instruction_set.h"
#include "cpu/lookups.h"
#include "cpu/packed_codes.h"
#include "cpu/permuted_columns.h"
#include "cpu/row_sums.h"
#include "cpu/shared_taps.h"
#include "cpu/table_columns.h"

namespace axjax {
namespace {

// Costs in nanoseconds, measured on one core with AVX-512 at 4 GHz; only their ratios
// matter. Expanding one row and adding one row, of 16, 32 and 64 bytes:
constexpr double kExpandRow[kWidths] = {0.42, 0.8, 1.4};
constexpr double kAddRow[kWidths] = {0.27, 0.34, 0.5};
// Adding 64 bytes of lanes at any position:
constexpr double kAddShiftedLine = 0.65;
// One product in the forms without rows, and one pixel's row of the table:
constexpr double kDirectProduct = 0.22;
constexpr double kDirectRow = 15;
constexpr double kColumnProduct = 0.25;
// One product of a lane, a lane's code, and what a lane costs otherwise:
constexpr double kPermutedProduct[2] = {0.045, 0.085};  // 16- and 32-bit entries
constexpr double kPermutedCode = 0.1;
constexpr double kPermutedLane = 0.3;
// Columns of the table, once; and when they have to be transposed first:
constexpr double kTableColumns = 16000;
constexpr double kTransposedTable = 20000;

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

// The form that is expected to take the least time.
ConvForm ChooseForm(const ConvGeometry& g, const PixelCodes& pixel_codes, bool wide) {
  const int lane_bytes = wide ? 4 : 2;
  const int64_t pixels = g.pixels(), outputs = g.out_c_per_group();
  // Of one depth position of one group, with its share of what is done once.
  const double share = 1 / static_cast<double>(g.groups * g.depth());
  ConvForm best = ConvForm::kPixelsWalk;
  double least = RowsCost(outputs, pixels, lane_bytes) +
                 (kTransposedTable + kTableColumns) * share;
  const auto consider = [&](ConvForm form, double cost) {
    if (cost < least) best = form, least = cost;
  };
  consider(ConvForm::kOutputsWalk,
           RowsCost(pixels, outputs, lane_bytes) + kTableColumns * share);
  const double products = static_cast<double>(pixels) * outputs;
  consider(ConvForm::kDirect, products * kDirectProduct + pixels * kDirectRow);
  // A column of 256 entries is copied for each output and depth position.
  consider(ConvForm::kColumns,
           (products + 100.0 * outputs * (1 + pixels / 4096)) * kColumnProduct +
               kTransposedTable * share);
  if (const PermutedPlan plan = PlanPermuted(g, pixel_codes); plan.possible)
    consider(ConvForm::kPermuted,
             static_cast<double>(plan.lanes * outputs) *
                     (kPermutedProduct[wide] +
                      kPermutedLane / static_cast<double>(g.depth())) +
                 static_cast<double>(plan.lanes) * kPermutedCode /
                     static_cast<double>(g.taps()) +
                 (kTransposedTable + kTableColumns) * share);
  const SharedTapsPlan plan = PlanSharedTaps(pixel_codes, wide);
  if (plan.possible)
    consider(ConvForm::kTapsShare,
             static_cast<double>(plan.segments * plan.row_lines) * 256 *
                     kExpandRow[kWidths - 1] / static_cast<double>(g.taps()) +
                 static_cast<double>(plan.lines * outputs) * kAddShiftedLine +
                 kTableColumns * share);
  return best;
}

// Sums with pixels as lanes and outputs as walkers.
template <typename Entry>
void SumOverOutputs(ConvForm form, const ConvGeometry& g, const PixelCodes& pixel_codes,
                    const uint8_t* lhs, const uint8_t* rhs, const Entry* table,
                    int32_t* out, Workers& workers) {
  float weights[256];
  const bool may_centre = g.pixels() >= 6 * kMaxLanes;
  if (may_centre)
    SampleWeights(lhs, g.batch * g.in[0] * g.in[1] * g.in[2] * g.in_c, weights);
  const TableColumns columns = MakeColumns(table, LaneOperand::kPixels, CodeRange{},
                                           may_centre ? weights : nullptr);
  const bool share = form == ConvForm::kTapsShare &&
                     PlanSharedTaps(pixel_codes, columns.wide).possible;
  const OutputCodes output_codes(g, rhs, pixel_codes.kernel_rows(), !share, workers);
  if (share)
    SumSharedTaps(g, pixel_codes, output_codes, rhs, columns, out, workers);
  else
    SumRows(g.groups, g.depth(), output_codes, pixel_codes, columns,
            {1, g.out_c, g.out_c_per_group()}, out, workers);
}

template <typename Entry>
void SumOverPixels(const ConvGeometry& g, const PixelCodes& pixel_codes,
                   const uint8_t* rhs, const Entry* table, int32_t* out,
                   Workers& workers) {
  const int64_t outputs = g.out_c_per_group();
  // Centring costs one look-up per channel of an input position and saves a fifth of
  // the time of each row, of which there is one for each tap and 32 outputs.
  float weights[256];
  const bool may_centre = g.taps() * ((outputs + kMaxLanes - 1) / kMaxLanes) >= 6;
  if (may_centre) SampleWeights(rhs, g.depth() * g.out_c, weights);
  const TableColumns columns =
      MakeColumns(table, LaneOperand::kOutputs, pixel_codes.range(),
                  may_centre ? weights : nullptr);
  const OutputCodes output_codes(g, rhs, pixel_codes.kernel_rows(), false, workers);
  SumRows(g.groups, g.depth(), pixel_codes, output_codes, columns,
          {g.out_c, 1, outputs}, out, workers);
}

template <typename Entry>
void Run(const ConvForm* form, const ConvGeometry& g, const uint8_t* lhs,
         const uint8_t* rhs, const Entry* table, uint8_t pad_code, int32_t* out,
         Workers& workers) {
  const int64_t pixels = g.pixels();
  if (pixels == 0 || g.out_c == 0) return;
  if (g.depth() == 0) {
    std::memset(out, 0, pixels * g.out_c * sizeof(int32_t));
    return;
  }
  const PixelCodes pixel_codes(g, lhs, pad_code, workers);
  const ConvForm chosen = form ? *form : ChooseForm(g, pixel_codes, sizeof(Entry) == 4);
  switch (chosen) {
    case ConvForm::kPixelsWalk:
      return SumOverPixels(g, pixel_codes, rhs, table, out, workers);
    case ConvForm::kOutputsWalk:
    case ConvForm::kTapsShare:
      return SumOverOutputs(chosen, g, pixel_codes, lhs, rhs, table, out, workers);
    case ConvForm::kDirect:
      return SumDirect(g, pixel_codes, rhs, table, out, workers);
    case ConvForm::kPermuted:
      if (const PermutedPlan plan = PlanPermuted(g, pixel_codes); plan.possible)
        return SumPermutedColumns(plan, g, pixel_codes, rhs, table, out, workers);
      [[fallthrough]];
    case ConvForm::kColumns:
      return SumColumns(g, pixel_codes, rhs, table, out, workers);
  }
}

}  // namespace

template <typename Entry>
void LutConv(const ConvGeometry& g, const uint8_t* lhs, const uint8_t* rhs,
             const Entry* table, uint8_t pad_code, int32_t* out, Workers& workers) {
  Run(nullptr, g, lhs, rhs, table, pad_code, out, workers);
}

template <typename Entry>
void LutConvInForm(ConvForm form, const ConvGeometry& g, const uint8_t* lhs,
                   const uint8_t* rhs, const Entry* table, uint8_t pad_code,
                   int32_t* out, Workers& workers) {
  Run(&form, g, lhs, rhs, table, pad_code, out, workers);
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
