// SPDX-License-Identifier: Apache-2.0
#include "cpu/lookups.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "cpu/ceil_div.h"
#include "cpu/instruction_set.h"
#include "cpu/scratch.h"
#include "cpu/table_columns.h"

namespace axjax {
namespace {

template <typename Entry>
constexpr EntryKind Kind() {
  return std::is_same_v<Entry, uint16_t>  ? kUint16
         : std::is_same_v<Entry, int16_t> ? kInt16
                                          : kInt32;
}

}  // namespace

template <typename Entry>
void SumDirect(const ConvGeometry& g, const PixelCodes& pixels, const uint8_t* rhs,
               const Entry* table, int32_t* out, Workers& workers) {
  const auto direct = CurrentKernels().direct[Kind<Entry>()];
  const int64_t outputs = g.out_c_per_group(), depth = g.depth();
  // Outputs of a job: their sums stay in the first-level cache, and a job is worth
  // waking a thread.
  constexpr int64_t kMaxOutputs = 2048, kLeastProducts = 100000;
  const int64_t products = g.pixels() * g.out_c * depth;
  int64_t parts = std::min(CeilDiv(outputs, 64),
                           std::max(CeilDiv(outputs, kMaxOutputs),
                                    std::min(CeilDiv(workers.threads(), g.groups),
                                             products / g.groups / kLeastProducts)));
  parts = std::max<int64_t>(1, parts);
  workers.ForEach(g.groups * parts, [&](int64_t job) {
    const int64_t group = job / parts, part = job % parts,
                  first = group * outputs + outputs * part / parts,
                  count = group * outputs + outputs * (part + 1) / parts - first;
    const uint8_t* const codes = pixels.codes(group);
    for (int64_t p = 0; p < g.pixels(); ++p)
      std::memset(out + p * g.out_c + first, 0, count * sizeof(int32_t));
    for (int64_t k = 0; k < depth;) {
      DirectArgs args;
      args.depth = static_cast<int>(std::min<int64_t>(kDirectDepth, depth - k));
      args.count = count;
      for (int j = 0; j < args.depth; ++j)
        args.codes[j] = rhs + pixels.kernel_rows()[k + j] * g.out_c + first;
      for (int64_t p = 0; p < g.pixels(); ++p) {
        int64_t offset;
        pixels.Offsets(p, 1, &offset);
        for (int j = 0; j < args.depth; ++j)
          args.rows[j] = table + codes[offset + pixels.depth_offsets()[k + j]] * 256;
        args.sums = reinterpret_cast<uint32_t*>(out + p * g.out_c + first);
        direct(args);
      }
      k += args.depth;
    }
  });
}

template <typename Entry>
void SumColumns(const ConvGeometry& g, const PixelCodes& pixels, const uint8_t* rhs,
                const Entry* table, int32_t* out, Workers& workers) {
  const Kernels& kernels = CurrentKernels();
  const int32_t* const transposed = TransposeTable(table);
  const int64_t outputs = g.out_c_per_group(), depth = g.depth(), count = g.pixels();
  // A job has 16 channels of the output: a line of it for each pixel. Their columns for
  // 32 depth positions take 512 KB of scratch memory, one channel's 32 KB; the pixels
  // go by at most 4096, and 256 at a time, whose codes and sums are in the first-level
  // cache.
  constexpr int kChannels = 16, kDepth = 32, kPixels = 256;
  constexpr int64_t kJobPixels = 4096;
  constexpr size_t kColumnBytes = size_t{kChannels} * kDepth * 256 * sizeof(int32_t);
  static_assert(kColumnBytes + kJobPixels * (kChannels * 4 + 8) <= kScratchBytes,
                "a job works in one thread's scratch memory");
  const int64_t channel_jobs = CeilDiv(g.out_c, kChannels),
                pixel_jobs = CeilDiv(count, kJobPixels);
  workers.ForEach(channel_jobs * pixel_jobs, [&](int64_t job) {
    const int64_t first = job % channel_jobs * kChannels, part = job / channel_jobs,
                  p0 = count * part / pixel_jobs,
                  n = count * (part + 1) / pixel_jobs - p0;
    const int channels =
        static_cast<int>(std::min<int64_t>(kChannels, g.out_c - first));
    char* const scratch = ThreadScratch();
    int32_t* const columns = reinterpret_cast<int32_t*>(scratch);
    uint32_t* const sums = reinterpret_cast<uint32_t*>(scratch + kColumnBytes);
    int64_t* const offsets = reinterpret_cast<int64_t*>(sums + kJobPixels * kChannels);
    pixels.Offsets(p0, n, offsets);
    for (int64_t k0 = 0; k0 < depth; k0 += kDepth) {
      const int kn = static_cast<int>(std::min<int64_t>(kDepth, depth - k0));
      for (int c = 0; c < channels; ++c)
        for (int j = 0; j < kn; ++j) {
          const uint8_t w = rhs[pixels.kernel_rows()[k0 + j] * g.out_c + first + c];
          std::memcpy(columns + (c * kDepth + j) * 256, transposed + w * 256,
                      256 * sizeof(int32_t));
        }
      for (int64_t p = 0; p < n; p += kPixels)
        for (int c = 0; c < channels; ++c) {
          ColumnsArgs args;
          args.columns = columns + c * kDepth * 256;
          args.codes = pixels.codes((first + c) / outputs);
          args.walker_offsets = offsets + p;
          args.depth_offsets = pixels.depth_offsets() + k0;
          args.walkers = std::min<int64_t>(kPixels, n - p);
          args.depth = kn;
          args.first = k0 == 0;
          args.sums = sums + p * kChannels + c;
          args.sums_stride = kChannels;
          kernels.columns(args);
        }
    }
    for (int64_t p = 0; p < n; ++p)
      std::memcpy(out + (p0 + p) * g.out_c + first, sums + p * kChannels,
                  channels * sizeof(int32_t));
  });
}

template void SumDirect(const ConvGeometry&, const PixelCodes&, const uint8_t*,
                        const uint16_t*, int32_t*, Workers&);
template void SumDirect(const ConvGeometry&, const PixelCodes&, const uint8_t*,
                        const int16_t*, int32_t*, Workers&);
template void SumDirect(const ConvGeometry&, const PixelCodes&, const uint8_t*,
                        const int32_t*, int32_t*, Workers&);
template void SumColumns(const ConvGeometry&, const PixelCodes&, const uint8_t*,
                         const uint16_t*, int32_t*, Workers&);
template void SumColumns(const ConvGeometry&, const PixelCodes&, const uint8_t*,
                         const int16_t*, int32_t*, Workers&);
template void SumColumns(const ConvGeometry&, const PixelCodes&, const uint8_t*,
                         const int32_t*, int32_t*, Workers&);

}  // namespace axjax
