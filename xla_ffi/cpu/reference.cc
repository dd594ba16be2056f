// SPDX-License-Identifier: Apache-2.0
#include "cpu/reference.h"

#include "table.h"

namespace axjax {

template <typename Entry>
void LutConvReference(const ConvGeometry& g, const uint8_t* lhs, const uint8_t* rhs,
                      const Entry* table, uint8_t pad_code, int32_t* out,
                      Workers& workers) {
  const int64_t channels = g.in_c_per_group(), outputs = g.out_c_per_group();
  // A job is one row of output pixels.
  workers.ForEach(g.batch * g.out[0] * g.out[1], [&](int64_t row) {
    const int64_t n = row / (g.out[0] * g.out[1]);
    const int64_t od = row / g.out[1] % g.out[0], oh = row % g.out[1];
    for (int64_t ow = 0; ow < g.out[2]; ++ow) {
      for (int64_t o = 0; o < g.out_c; ++o) {
        uint32_t sum = 0;  // unsigned: wraps without undefined behaviour
        const uint8_t* w = rhs + o;
        for (int64_t kd = 0; kd < g.kernel[0]; ++kd)
          for (int64_t kh = 0; kh < g.kernel[1]; ++kh)
            for (int64_t kw = 0; kw < g.kernel[2]; ++kw) {
              const int64_t d = g.InputIndex(0, od, kd), h = g.InputIndex(1, oh, kh),
                            x = g.InputIndex(2, ow, kw);
              const bool inside = d >= 0 && h >= 0 && x >= 0;
              const uint8_t* codes =
                  lhs + (((n * g.in[0] + d) * g.in[1] + h) * g.in[2] + x) * g.in_c +
                  o / outputs * channels;
              for (int64_t c = 0; c < channels; ++c, w += g.out_c)
                sum += static_cast<uint32_t>(
                    table[TableIndex(inside ? codes[c] : pad_code, *w)]);
            }
        out[(row * g.out[2] + ow) * g.out_c + o] = static_cast<int32_t>(sum);
      }
    }
  });
}

template void LutConvReference(const ConvGeometry&, const uint8_t*, const uint8_t*,
                               const uint16_t*, uint8_t, int32_t*, Workers&);
template void LutConvReference(const ConvGeometry&, const uint8_t*, const uint8_t*,
                               const int16_t*, uint8_t, int32_t*, Workers&);
template void LutConvReference(const ConvGeometry&, const uint8_t*, const uint8_t*,
                               const int32_t*, uint8_t, int32_t*, Workers&);

}  // namespace axjax
