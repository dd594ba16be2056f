// SPDX-License-Identifier: Apache-2.0
// Random convolutions and tables, of every kind that the engine treats in its own way.
#pragma once
#include <cstdint>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "conv_geometry.h"

namespace axjax {

using Random = std::mt19937_64;

inline int64_t Pick(Random& random, int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(random);
}

inline std::string Describe(const ConvGeometry& g) {
  std::ostringstream text;
  const auto triple = [&](const char* name, const int64_t* v) {
    text << ' ' << name << '=' << v[0] << ',' << v[1] << ',' << v[2];
  };
  text << "batch=" << g.batch << " in_c=" << g.in_c << " out_c=" << g.out_c
       << " groups=" << g.groups;
  triple("in", g.in);
  triple("kernel", g.kernel);
  triple("out", g.out);
  triple("stride", g.stride);
  triple("pad_low", g.pad_low);
  triple("in_dilation", g.in_dilation);
  triple("kernel_dilation", g.kernel_dilation);
  return text.str();
}

// Sizes one off the kernels' block sizes (8, 16, 32) as often as far from them.
inline int64_t PickChannels(Random& random, int64_t most) {
  const int64_t blocks[] = {1, 2, 3, 4, 8, 16, 32, 48};
  if (Pick(random, 0, 1)) return Pick(random, 1, most);
  const int64_t near = blocks[Pick(random, 0, 7)] + Pick(random, -1, 1);
  return near < 1 ? 1 : near > most ? most : near;
}

inline ConvGeometry RandomGeometry(Random& random) {
  ConvGeometry g;
  g.batch = Pick(random, 1, 3);
  const int64_t kind = Pick(random, 0, 9);
  g.groups = kind < 6 ? 1 : Pick(random, 1, 20);
  g.in_c = g.groups * PickChannels(random, kind < 6 ? 70 : 5);
  g.out_c = g.groups * PickChannels(random, kind < 6 ? 70 : 5);
  const int64_t dimensions = Pick(random, 0, 3);  // 0: a matrix product
  for (int d = 0; d < 3; ++d) {
    const bool used = d >= 3 - dimensions;
    const int64_t large = dimensions == 1 ? 40 : dimensions == 2 ? 12 : 5;
    g.in[d] = used ? Pick(random, 0, large) : 1;
    g.kernel[d] = used ? Pick(random, 1, 4) : 1;
    g.stride[d] = used ? Pick(random, 1, Pick(random, 0, 4) ? 2 : 7) : 1;
    g.in_dilation[d] = used && Pick(random, 0, 3) == 0 ? Pick(random, 2, 3) : 1;
    g.kernel_dilation[d] = used && Pick(random, 0, 2) == 0 ? Pick(random, 2, 4) : 1;
    g.pad_low[d] = used ? Pick(random, -1, 3) : 0;
    const int64_t pad_high = used ? Pick(random, -1, 3) : 0;
    const int64_t dilated = g.in[d] > 0 ? (g.in[d] - 1) * g.in_dilation[d] + 1 : 0;
    const int64_t room = dilated + g.pad_low[d] + pad_high -
                         ((g.kernel[d] - 1) * g.kernel_dilation[d] + 1);
    g.out[d] = room < 0 ? 0 : room / g.stride[d] + 1;
  }
  if (dimensions == 0) g.batch = Pick(random, 1, 80);
  return g;
}

// A convolution of one group without dilation, padded alike on both sides.
inline ConvGeometry PaddedConv(int64_t batch, const std::vector<int64_t>& in,
                               int64_t in_c, const std::vector<int64_t>& kernel,
                               int64_t out_c, const std::vector<int64_t>& pad,
                               int64_t stride = 1) {
  ConvGeometry g;
  g.batch = batch;
  g.in_c = in_c;
  g.out_c = out_c;
  g.groups = 1;
  for (int d = 0; d < 3; ++d) {
    const bool used = d > 0;  // two dimensions
    g.in[d] = used ? in[d - 1] : 1;
    g.kernel[d] = used ? kernel[d - 1] : 1;
    g.pad_low[d] = used ? pad[d - 1] : 0;
    g.stride[d] = used && g.kernel[d] > 1 ? stride : 1;
    g.in_dilation[d] = g.kernel_dilation[d] = 1;
    g.out[d] = (g.in[d] + 2 * g.pad_low[d] - g.kernel[d]) / g.stride[d] + 1;
  }
  return g;
}

inline std::vector<uint8_t> RandomCodes(Random& random, int64_t count) {
  std::vector<uint8_t> codes(count);
  // Full range, or a part of it: kernels leave out rows of codes that do not occur.
  const int64_t low = Pick(random, 0, 3) ? 0 : Pick(random, 0, 255),
                high = Pick(random, 0, 3) ? 255 : Pick(random, low, 255);
  for (uint8_t& code : codes) code = static_cast<uint8_t>(Pick(random, low, high));
  return codes;
}

template <typename Entry>
std::vector<Entry> RandomTable(Random& random) {
  std::vector<Entry> table(65536);
  // Full range, narrower ranges (the kernels then add two or four entries in 16 bits,
  // or keep 32-bit entries in 16), or a product with errors (centring pays).
  const int64_t kind = Pick(random, 0, 3);
  const int bits = 8 * sizeof(Entry);
  const uint64_t range = kind == 0   ? uint64_t{1} << bits
                         : kind == 1 ? uint64_t{1} << 16
                                     : uint64_t{1} << Pick(random, 1, 15);
  const uint64_t base = Pick(random, 0, 1) ? random() : 0;
  for (int i = 0; i < 65536; ++i) {
    const uint64_t noise = random() % range;
    const int64_t product = kind == 3 ? (i >> 8) * (i & 255) : 0;
    table[i] = static_cast<Entry>(product + static_cast<int64_t>(base + noise));
  }
  return table;
}

}  // namespace axjax
