// SPDX-License-Identifier: Apache-2.0
#include "cpu/table_columns.h"

#include <algorithm>
#include <utility>

#include "cpu/instruction_set.h"

namespace axjax {
namespace {

constexpr uint32_t kMax16 = 65535;

void FindSpans(const int32_t* columns, const int32_t* bases, CodeRange codes,
               TableColumns* t) {
  const auto column_span = CurrentKernels().column_span;
  for (int lane = 0; lane < 256; ++lane) {
    const ColumnSpan span =
        column_span(columns + lane * 256, bases, codes.low, codes.high);
    t->lane_base[lane] = static_cast<uint32_t>(span.low);
    t->span[lane] = span.span;
  }
}

uint32_t WidestSpan(const TableColumns& t) {
  return *std::max_element(t.span, t.span + 256);
}

// About the span that the widest of many lanes has.
uint32_t TypicalSpan(const TableColumns& t, const float* weights) {
  float total = 0;
  for (int lane = 0; lane < 256; ++lane) total += weights[lane];
  int order[256];
  for (int lane = 0; lane < 256; ++lane) order[lane] = lane;
  std::sort(order, order + 256, [&](int a, int b) { return t.span[a] > t.span[b]; });
  float above = 0;
  for (int lane : order) {
    above += weights[lane];
    if (above >= 0.03f * total) return t.span[lane];
  }
  return 0;
}

// Rows that can be added in 16 bits; 0 if not even one.
int RowsTogether(uint32_t span) {
  return span > kMax16 ? 0 : span > kMax16 / 2 ? 1 : span > kMax16 / 4 ? 2 : 4;
}

// Average over the lane codes, for each walker code.
void FindWalkerBases(const int32_t* columns, const float* weights, CodeRange codes,
                     int32_t* bases) {
  float sums[256] = {}, total = 0;
  for (int lane = 0; lane < 256; ++lane) {
    if (weights[lane] == 0) continue;
    total += weights[lane];
    CurrentKernels().add_column(columns + lane * 256, weights[lane], sums);
  }
  for (int i = 0; i < 256; ++i) {
    const bool used = i >= codes.low && i <= codes.high && total > 0;
    const float mean = used ? sums[i] / total : 0;
    // So that no average leaves int32 by rounding.
    bases[i] = static_cast<int32_t>(std::max(-2e9f, std::min(2e9f, mean)));
  }
}

// Whether columns are better off with walker bases subtracted.
bool PreferCentred(const TableColumns& plain, const TableColumns& centred,
                   const float* weights) {
  const bool plain_fits = WidestSpan(plain) <= kMax16,
             centred_fits = WidestSpan(centred) <= kMax16;
  if (plain_fits != centred_fits) return centred_fits;
  return RowsTogether(TypicalSpan(centred, weights)) >
         RowsTogether(TypicalSpan(plain, weights));
}

}  // namespace

template <typename Entry>
void TransposeTable(const Entry* table, int32_t* transposed) {
  constexpr int kTile = 16;
  for (int a0 = 0; a0 < 256; a0 += kTile)
    for (int w = 0; w < 256; ++w)
      for (int a = a0; a < a0 + kTile; ++a)
        transposed[w * 256 + a] = static_cast<int32_t>(table[a * 256 + w]);
}

template <typename Entry>
TableColumns MakeColumns(const Entry* table, LaneOperand lanes, CodeRange walker_codes,
                         const float* weights) {
  std::unique_ptr<int32_t[]> columns(new int32_t[256 * 256]);
  if (lanes == LaneOperand::kOutputs)
    TransposeTable(table, columns.get());
  else
    std::copy(table, table + 256 * 256, columns.get());

  static const int32_t zeros[256] = {};
  TableColumns t;
  FindSpans(columns.get(), zeros, walker_codes, &t);
  if (weights) {
    TableColumns centred;
    centred.centred = true;
    FindWalkerBases(columns.get(), weights, walker_codes, centred.walker_base);
    FindSpans(columns.get(), centred.walker_base, walker_codes, &centred);
    if (PreferCentred(t, centred, weights)) t = std::move(centred);
  }
  t.wide = WidestSpan(t) > kMax16;
  t.entries.reset(new char[256 * 256 * (t.wide ? 4 : 2)]);
  const Kernels& kernels = CurrentKernels();
  const int32_t* const bases = t.centred ? t.walker_base : zeros;
  for (int lane = 0; lane < 256; ++lane) {
    const int32_t* const column = columns.get() + lane * 256;
    if (t.wide)
      kernels.wide_column(column, bases, t.lane_base[lane],
                          reinterpret_cast<uint32_t*>(t.entries.get()) + lane * 256);
    else
      kernels.narrow_column(column, bases, t.lane_base[lane],
                            reinterpret_cast<uint16_t*>(t.entries.get()) + lane * 256);
  }
  return t;
}

template TableColumns MakeColumns(const uint16_t*, LaneOperand, CodeRange,
                                  const float*);
template TableColumns MakeColumns(const int16_t*, LaneOperand, CodeRange, const float*);
template TableColumns MakeColumns(const int32_t*, LaneOperand, CodeRange, const float*);
template void TransposeTable(const uint16_t*, int32_t*);
template void TransposeTable(const int16_t*, int32_t*);
template void TransposeTable(const int32_t*, int32_t*);

}  // namespace axjax
