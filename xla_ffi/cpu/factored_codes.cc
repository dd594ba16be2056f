// SPDX-License-Identifier: Apache-2.0
#include "cpu/factored_codes.h"

#include <algorithm>
#include <cstring>

namespace axjax {

std::vector<FactoredCodes::Run> FactoredCodes::FindRuns(const FactoredAxis& axis,
                                                        int64_t phase, int64_t first,
                                                        int64_t columns) {
  std::vector<Run> runs;
  const auto source = [&](int64_t column) {
    const int64_t position = (first + column) * axis.plan.out_step + axis.phases[phase];
    return position < static_cast<int64_t>(axis.plan.source.size())
               ? axis.plan.source[position]
               : -1;
  };
  for (int64_t column = 0; column < columns; ++column) {
    const int64_t at = source(column);
    if (!runs.empty()) {
      Run& run = runs.back();
      if (at < 0 && run.source < 0) {
        ++run.count;
        continue;
      }
      if (at > run.source && run.source >= 0) {
        if (run.count == 1) run.step = at - run.source;
        if (at == run.source + run.count * run.step) {
          ++run.count;
          continue;
        }
      }
    }
    runs.push_back({column, 1, at, 0});
  }
  return runs;
}

FactoredCodes::FactoredCodes(const FactoredPlan& plan, const FactoredTerms& terms,
                             const uint8_t* lhs, uint8_t pad_code,
                             const FactoredKernels& kernels, const PixelBlock& block,
                             const BlockLayout& layout)
    : plan_(plan),
      terms_(terms),
      lhs_(lhs),
      kernels_(kernels),
      block_(block),
      layout_(layout),
      pads_(kLineBytes, pad_code) {
  const FactoredAxis& last = plan.axes[2];
  if (plan.unfolded) {
    padded_row_.resize((block.columns - 1) * last.plan.out_step * Channels() +
                       plan.channels);
    padded_runs_ = CutRuns(last.plan.source.data() + block.x * last.plan.out_step,
                           static_cast<int64_t>(padded_row_.size()) / Channels());
  }
  for (size_t phase = 0; phase < last.phases.size(); ++phase)
    runs_.push_back(FindRuns(last, phase, block.x, block.columns + plan.axes[2].reach));
}

void FactoredCodes::Expand(const FactoredSegment& segment, int64_t group,
                           uint8_t* lines) {
  const FactoredAxis &planes = plan_.axes[0], &rows = plan_.axes[1];
  for (int64_t z = 0; z < plan_.geometry.kernel[0]; ++z) {
    const int64_t in_z =
        planes.plan.source[block_.z * planes.plan.out_step + z * planes.plan.tap_step];
    for (size_t phase = 0; phase < rows.phases.size(); ++phase)
      for (int64_t n = 0; n < block_.images; ++n)
        for (int64_t row = 0; row < layout_.rows; ++row) {
          const int64_t y = (block_.y + row) * rows.plan.out_step + rows.phases[phase];
          if (y >= static_cast<int64_t>(rows.plan.source.size())) break;
          ExpandRow(segment, group, block_.image + n, in_z, rows.plan.source[y],
                    lines + (layout_.Phase(plan_, z, phase, 0) +
                             (n * layout_.rows + row) * layout_.pitch) *
                                kLineBytes);
        }
  }
}

void FactoredCodes::ExpandRow(const FactoredSegment& segment, int64_t group,
                              int64_t image, int64_t z, int64_t y, uint8_t* first) {
  const ConvGeometry& g = plan_.geometry;
  const bool inside = z >= 0 && y >= 0;
  const uint8_t* const codes =
      inside ? lhs_ + ((image * g.in[0] + z) * g.in[1] + y) * g.in[2] * g.in_c +
                   group * Channels()
             : nullptr;
  if (plan_.unfolded && inside) {
    PadRow(codes);
    ExpandRun(segment, padded_row_.data(), plan_.axes[2].plan.out_step * Channels(),
              block_.columns, first);
    return;
  }
  const int64_t of_phase = layout_.Phase(plan_, 0, 0, 1) * kLineBytes;
  for (size_t phase = 0; phase < runs_.size(); ++phase, first += of_phase) {
    if (!inside) {
      ExpandRun(segment, nullptr, 0, layout_.pitch, first);
      continue;
    }
    for (const Run& run : runs_[phase])
      ExpandRun(segment, run.source < 0 ? nullptr : codes + run.source * g.in_c,
                run.step * g.in_c, run.count, first + run.column * kLineBytes);
  }
}

void FactoredCodes::ExpandRun(const FactoredSegment& segment, const uint8_t* codes,
                              int64_t stride, int64_t positions, uint8_t* lines) {
  for (const FactoredPiece& piece : segment.pieces) {
    const FactoredChunk& chunk = plan_.chunks[piece.chunk];
    kernels_.expand_codes(
        {codes ? codes + chunk.first : pads_.data(), stride, positions, chunk.channels,
         chunk.width, terms_.plane(segment.plane).u.data() + 256 * piece.first_term,
         piece.terms, lines + piece.first_line * layout_.total * kLineBytes,
         layout_.total * kLineBytes});
  }
}

void FactoredCodes::PadRow(const uint8_t* codes) {
  const int64_t channels = Channels(), in_c = plan_.geometry.in_c;
  uint8_t* to = padded_row_.data();
  for (const SourceRun& run : padded_runs_) {
    const int64_t bytes = run.positions * channels;
    const uint8_t* const from = codes + std::max<int64_t>(0, run.source) * in_c;
    if (run.source < 0)
      std::memset(to, pads_[0], bytes);
    else if (channels == in_c)  // neighbours lie behind each other
      std::memcpy(to, from, bytes);
    else
      for (int64_t i = 0; i < run.positions; ++i)
        std::memcpy(to + i * channels, from + i * in_c, channels);
    to += bytes;
  }
}

}  // namespace axjax
