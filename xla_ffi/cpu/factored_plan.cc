// SPDX-License-Identifier: Apache-2.0
#include "cpu/factored_plan.h"

#include <algorithm>

#include "cpu/ceil_div.h"
#include "cpu/factored_kernels.h"

namespace axjax {
namespace {

// Steps of a segment: the weights of 64 outputs then take 640 KB of the second-level
// cache.
constexpr int64_t kMostSteps = 160;
// And lines: so that the codes of several tiles fit beside them.
constexpr int64_t kMostLines = 64;

FactoredAxis LayOutAxis(const ConvGeometry& g, int d) {
  FactoredAxis axis;
  axis.plan = PlanAxis(g, d);
  for (int64_t k = 0; k < g.kernel[d]; ++k) {
    const int64_t position = k * axis.plan.tap_step,
                  phase = position % axis.plan.out_step,
                  shift = position / axis.plan.out_step;
    const auto found = std::find(axis.phases.begin(), axis.phases.end(), phase);
    axis.phase.push_back(found - axis.phases.begin());
    if (found == axis.phases.end()) axis.phases.push_back(phase);
    axis.shift.push_back(shift);
    axis.reach = std::max(axis.reach, shift);
  }
  return axis;
}

std::vector<FactoredChunk> CutChannels(int64_t channels) {
  std::vector<FactoredChunk> chunks;
  for (int64_t c = 0; c < channels;) {
    const int64_t left = channels - c;
    const int width = left > 32 ? 64 : left > 16 ? 32 : 16;
    chunks.push_back({c, static_cast<int>(std::min<int64_t>(left, width)), width});
    c += width;
  }
  return chunks;
}

int64_t Lines(const FactoredChunk& chunk, int64_t terms) {
  return CeilDiv(terms * chunk.width, kLineBytes);
}

int64_t Lines(const std::vector<FactoredChunk>& chunks, int terms) {
  int64_t lines = 0;
  for (const FactoredChunk& chunk : chunks) lines += Lines(chunk, terms);
  return lines;
}

// Whether fewer lines are multiplied if taps of the last axis count as channels. They
// are expanded for each of these taps anew, then, which is about a twentieth of
// multiplying a line for 64 outputs.
bool Unfold(const ConvGeometry& g, const AxisPlan& last, int terms) {
  if (g.kernel[2] == 1 || last.tap_step != 1) return false;
  const int64_t channels = g.in_c_per_group();
  const int64_t folded = Lines(CutChannels(channels), terms) * g.kernel[2],
                unfolded = Lines(CutChannels(channels * g.kernel[2]), terms);
  return 4 * unfolded <= 3 * folded;
}

}  // namespace

FactoredPlan::FactoredPlan(const ConvGeometry& g, const FactoredTerms& terms)
    : geometry(g), channels(g.in_c_per_group()) {
  for (int d = 0; d < 3; ++d) axes[d] = LayOutAxis(g, d);
  unfolded = Unfold(g, axes[2].plan, terms.count());
  if (unfolded) {
    channels *= g.kernel[2];
    geometry.kernel[2] = 1;
    axes[2].phases = axes[2].phase = axes[2].shift = {0};
    axes[2].reach = 0;
  }
  taps = geometry.taps();
  chunks = CutChannels(channels);
  steps = 0;
  most_lines = 0;
  const int64_t lines_at_most =
      std::min(kMostLines, std::max<int64_t>(1, kMostSteps / taps));
  int shift = 0;
  for (int plane = terms.planes() - 1; plane >= 0; --plane) {
    const size_t first_of_plane = segments.size();
    for (size_t c = 0; c < chunks.size(); ++c) {
      const FactoredChunk& chunk = chunks[c];
      for (int term = 0; term < terms.plane(plane).terms;) {
        if (segments.size() == first_of_plane ||
            segments.back().lines >= lines_at_most) {
          segments.push_back({});
          segments.back().plane = plane;
          segments.back().shift = shift;
          segments.back().first_step = steps;
          shift = 0;
        }
        FactoredSegment& segment = segments.back();
        const int64_t room = (lines_at_most - segment.lines) * kLineBytes / chunk.width;
        const int count =
            static_cast<int>(std::min<int64_t>(terms.plane(plane).terms - term, room));
        const int64_t lines = Lines(chunk, count);
        segment.pieces.push_back(
            {static_cast<int>(c), term, count, segment.lines, lines});
        segment.lines += lines;
        steps += lines * taps;
        most_lines = std::max(most_lines, segment.lines);
        term += count;
      }
    }
    if (plane > 0 && !segments.empty()) shift += 8;
  }
  last_shift = shift;
  if (segments.empty()) segments.push_back({});  // nothing but beta
}

BlockLayout::BlockLayout(const FactoredPlan& plan, const PixelBlock& block) {
  pitch = block.columns + plan.axes[2].reach;
  rows = block.rows + plan.axes[1].reach;
  // A tile may reach beyond the last row. And lines are an odd multiple of half a cache
  // way apart, so that the lines of one position take turns in its sets.
  const int64_t used = block.images * rows * pitch + kTileRows;
  positions = used;
  total = Phase(plan, plan.geometry.kernel[0], 0, 0);
  total += (96 - total % 64) % 64;
}

int64_t BlockLayout::Tap(const FactoredPlan& plan, int64_t tap) const {
  const ConvGeometry& g = plan.geometry;
  const int64_t z = tap / (g.kernel[1] * g.kernel[2]),
                y = tap / g.kernel[2] % g.kernel[1], x = tap % g.kernel[2];
  return Phase(plan, z, plan.axes[1].phase[y], plan.axes[2].phase[x]) +
         plan.axes[1].shift[y] * pitch + plan.axes[2].shift[x];
}

std::vector<PixelBlock> CutPixels(const FactoredPlan& plan, int64_t bytes,
                                  int64_t blocks) {
  const ConvGeometry& g = plan.geometry;
  const int64_t copies = g.kernel[0] * static_cast<int64_t>(plan.axes[1].phases.size() *
                                                            plan.axes[2].phases.size()),
                of_position =
                    std::max<int64_t>(1, plan.most_lines) * kLineBytes * copies;
  // Positions of a block, its surroundings included.
  const int64_t most = std::max<int64_t>(
      kTileRows, std::min(bytes / of_position, CeilDiv(g.pixels(), blocks)));
  const auto parts = [](int64_t size, int64_t of_part) {
    return CeilDiv(size, CeilDiv(size, CeilDiv(size, std::max<int64_t>(1, of_part))));
  };
  const int64_t pitch = g.out[2] + plan.axes[2].reach,
                rows = g.out[1] + plan.axes[1].reach;
  int64_t images = 1, y_parts = 1, x_parts = 1;
  if (pitch * rows <= most)
    images = CeilDiv(g.batch, CeilDiv(g.batch, most / (pitch * rows)));
  else if (pitch * (1 + plan.axes[1].reach) <= most)
    y_parts = parts(g.out[1], most / pitch - plan.axes[1].reach);
  else
    y_parts = g.out[1],
    x_parts =
        CeilDiv(g.out[2], std::max<int64_t>(kTileRows, most / (1 + plan.axes[1].reach) -
                                                           plan.axes[2].reach) /
                              kTileRows * kTileRows);
  std::vector<PixelBlock> cut;
  for (int64_t n = 0; n < g.batch; n += images)
    for (int64_t z = 0; z < g.out[0]; ++z)
      for (int64_t i = 0; i < y_parts; ++i)
        for (int64_t j = 0; j < x_parts; ++j) {
          const int64_t y = g.out[1] * i / y_parts, x = g.out[2] * j / x_parts;
          cut.push_back({n, std::min(images, g.batch - n), z, y,
                         g.out[1] * (i + 1) / y_parts - y, x,
                         g.out[2] * (j + 1) / x_parts - x});
        }
  return cut;
}

std::vector<PixelTile> CutTiles(const FactoredPlan& plan, const PixelBlock& block,
                                const BlockLayout& layout) {
  const ConvGeometry& g = plan.geometry;
  std::vector<PixelTile> tiles;
  for (int64_t n = 0; n < block.images; ++n)
    for (int64_t y = 0; y < block.rows; ++y) {
      int64_t position = (n * layout.rows + y) * layout.pitch,
              pixel =
                  (((block.image + n) * g.out[0] + block.z) * g.out[1] + block.y + y) *
                      g.out[2] +
                  block.x;
      for (const int64_t end = position + block.columns; position < end;) {
        if (tiles.empty() || position >= tiles.back().position + kTileRows)
          tiles.push_back({position, {}});
        PixelTile& tile = tiles.back();
        const int row = static_cast<int>(position - tile.position),
                  count = static_cast<int>(
                      std::min<int64_t>(end - position, kTileRows - row));
        PixelTile::Run* const last = tile.runs.empty() ? nullptr : &tile.runs.back();
        if (last && last->row + last->count == row &&
            last->pixel + last->count == pixel)
          last->count += count;
        else
          tile.runs.push_back({row, count, pixel});
        position += count;
        pixel += count;
      }
    }
  return tiles;
}

}  // namespace axjax
