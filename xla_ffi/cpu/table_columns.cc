// SPDX-License-Identifier: Apache-2.0
#include "cpu/table_columns.h"

#include <algorithm>
#include <cmath>

namespace axjax {
namespace {

constexpr uint32_t kMax16 = 65535;

// Least and greatest entry of each column; differences that wrap are consistent as long
// as every entry is shifted by the same amount.
void FindSpans(const int32_t* columns, CodeRange codes, TableColumns* t) {
  for (int lane = 0; lane < 256; ++lane) {
    const int32_t* const column = columns + lane * 256;
    int32_t low = column[codes.low], high = low;
    for (int i = codes.low; i <= codes.high; ++i) {
      low = std::min(low, column[i]);
      high = std::max(high, column[i]);
    }
    t->lane_base[lane] = static_cast<uint32_t>(low);
    t->span[lane] = static_cast<uint32_t>(high) - static_cast<uint32_t>(low);
  }
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
    const int32_t* const column = columns + lane * 256;
    for (int i = 0; i < 256; ++i)
      sums[i] += weights[lane] * static_cast<float>(column[i]);
  }
  // Of 31 bits, so that no average leaves int32 by rounding.
  for (int i = 0; i < 256; ++i) {
    const bool used = i >= codes.low && i <= codes.high && total > 0;
    const float mean = used ? sums[i] / total : 0;
    bases[i] = static_cast<int32_t>(std::max(-1e9f, std::min(1e9f, mean)));
  }
}

void Subtract(const int32_t* bases, int32_t* columns) {
  for (int lane = 0; lane < 256; ++lane)
    for (int i = 0; i < 256; ++i)
      columns[lane * 256 + i] =
          static_cast<int32_t>(static_cast<uint32_t>(columns[lane * 256 + i]) -
                               static_cast<uint32_t>(bases[i]));
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

  TableColumns t;
  FindSpans(columns.get(), walker_codes, &t);
  if (weights) {
    FindWalkerBases(columns.get(), weights, walker_codes, t.walker_base);
    Subtract(t.walker_base, columns.get());
    TableColumns centred;
    FindSpans(columns.get(), walker_codes, &centred);
    const auto worst = [](const TableColumns& c) {
      return *std::max_element(c.span, c.span + 256);
    };
    const bool narrower = worst(t) > kMax16 && worst(centred) <= kMax16;
    const bool wider = worst(t) <= kMax16 && worst(centred) > kMax16;
    if (narrower || (!wider && RowsTogether(TypicalSpan(centred, weights)) >
                                   RowsTogether(TypicalSpan(t, weights)))) {
      std::copy(centred.span, centred.span + 256, t.span);
      std::copy(centred.lane_base, centred.lane_base + 256, t.lane_base);
      t.centred = true;
    } else {
      for (int i = 0; i < 256; ++i)
        t.walker_base[i] =
            static_cast<int32_t>(0u - static_cast<uint32_t>(t.walker_base[i]));
      Subtract(t.walker_base, columns.get());
    }
  }
  t.wide = *std::max_element(t.span, t.span + 256) > kMax16;
  t.entries.reset(new char[256 * 256 * (t.wide ? 4 : 2)]);
  for (int lane = 0; lane < 256; ++lane)
    for (int i = 0; i < 256; ++i) {
      const uint32_t entry =
          static_cast<uint32_t>(columns[lane * 256 + i]) - t.lane_base[lane];
      if (t.wide)
        reinterpret_cast<uint32_t*>(t.entries.get())[lane * 256 + i] = entry;
      else
        reinterpret_cast<uint16_t*>(t.entries.get())[lane * 256 + i] =
            static_cast<uint16_t>(entry);
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
