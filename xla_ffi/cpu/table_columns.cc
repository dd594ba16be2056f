// SPDX-License-Identifier: Apache-2.0
#include "cpu/table_columns.h"

#include <algorithm>
#include <utility>

#include "cpu/instruction_set.h"
#include "cpu/scratch.h"

namespace axjax {
namespace {

constexpr uint32_t kMax16 = 65535;

// Tables of 32-bit numbers in CallTables().
enum Place { kEntries, kTransposed, kPlaces };
static_assert(kPlaces * 256 * 256 * sizeof(int32_t) <= kCallTableBytes, "they fit");
int32_t* Ints(Place place) {
  return reinterpret_cast<int32_t*>(CallTables()) + place * 256 * 256;
}

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
const int32_t* TransposeTable(const Entry* table) {
  int32_t* const entries = Ints(kEntries);
  int32_t* const transposed = Ints(kTransposed);
  std::copy(table, table + 256 * 256, entries);
  // Rows of the table are columns to the kernel, 16 at a time.
  constexpr int kWidth = kWidths - 1, kColumns = RowBytes(kWidth) / 4;
  for (int a = 0; a < 256; a += kColumns) {
    const void* columns[kColumns];
    for (int i = 0; i < kColumns; ++i) columns[i] = entries + (a + i) * 256;
    CurrentKernels().expand[true][kWidth](columns, 0, 256, 0, 256 * sizeof(int32_t),
                                          reinterpret_cast<char*>(transposed + a));
  }
  return transposed;
}

template <typename Entry>
TableColumns MakeColumns(const Entry* table, LaneOperand lanes, CodeRange walker_codes,
                         const float* weights) {
  const int32_t* columns;
  if (lanes == LaneOperand::kOutputs) {
    columns = TransposeTable(table);
  } else {
    columns = std::copy(table, table + 256 * 256, Ints(kTransposed)) - 256 * 256;
  }

  static const int32_t zeros[256] = {};
  TableColumns t;
  FindSpans(columns, zeros, walker_codes, &t);
  if (weights) {
    TableColumns centred;
    centred.centred = true;
    FindWalkerBases(columns, weights, walker_codes, centred.walker_base);
    FindSpans(columns, centred.walker_base, walker_codes, &centred);
    if (PreferCentred(t, centred, weights)) t = std::move(centred);
  }
  t.wide = WidestSpan(t) > kMax16;
  char* const entries = reinterpret_cast<char*>(Ints(kEntries));
  t.entries = entries;
  const Kernels& kernels = CurrentKernels();
  const int32_t* const bases = t.centred ? t.walker_base : zeros;
  for (int lane = 0; lane < 256; ++lane) {
    const int32_t* const column = columns + lane * 256;
    if (t.wide)
      kernels.wide_column(column, bases, t.lane_base[lane],
                          reinterpret_cast<uint32_t*>(entries) + lane * 256);
    else
      kernels.narrow_column(column, bases, t.lane_base[lane],
                            reinterpret_cast<uint16_t*>(entries) + lane * 256);
  }
  return t;
}

template TableColumns MakeColumns(const uint16_t*, LaneOperand, CodeRange,
                                  const float*);
template TableColumns MakeColumns(const int16_t*, LaneOperand, CodeRange, const float*);
template TableColumns MakeColumns(const int32_t*, LaneOperand, CodeRange, const float*);
template const int32_t* TransposeTable(const uint16_t*);
template const int32_t* TransposeTable(const int16_t*);
template const int32_t* TransposeTable(const int32_t*);

}  // namespace axjax
