// SPDX-License-Identifier: Apache-2.0
// Tensor-core step of compute capability 8.0 and later: mma.sync, 16 rows a warp, both
// operands from registers. Rows, columns and words are dealt out as wgmma does it, so
// that everything else of the kernel is shared.
#pragma once
#include <cstdint>

namespace axjax {

template <int kColumnCount>
struct MmaSync {
  static constexpr int kColumns = kColumnCount;
  static constexpr bool kAsync = false;
  static constexpr bool kBulkCopy = false;
  // One warp brings weights.
  template <class Split>
  static constexpr int kProducers = Split::kCodeThreads + 32;
  using Accumulators = int[kColumns / 2];

  template <int kGroups>
  static __device__ void GiveRegisters() {}
  template <int kGroups>
  static __device__ void TakeRegisters() {}

  // d += a * b for one unit and all row blocks of the warp: weights are read from
  // shared memory once for all of them.
  template <int kRowBlocks>
  static __device__ void Multiply(Accumulators (&d)[kRowBlocks],
                                  const uint32_t (&low)[kRowBlocks][8],
                                  const uint32_t (&high)[kRowBlocks][8], uint32_t unit,
                                  int lane) {
    // Each lane names one 8-column, 16-byte row of four 8 x 16-byte matrices: words 2 s
    // and 2 s + 1 of columns 16 j + 0..7, then of columns 16 j + 8..15.
    const int row = lane % 8, column = lane / 16 * 8 + row, odd = lane / 8 % 2;
#pragma unroll
    for (int s = 0; s < 4; ++s) {
      const uint32_t from = unit + column * 128 + (((2 * s + odd) ^ row) << 4);
#pragma unroll
      for (int j = 0; j < kColumns / 16; ++j) {
        uint32_t b[4];
        LoadMatrices(b, from + j * 16 * 128);
#pragma unroll
        for (int r = 0; r < kRowBlocks; ++r) {
          const uint32_t a[4] = {low[r][2 * s], high[r][2 * s], low[r][2 * s + 1],
                                 high[r][2 * s + 1]};
          Step(&d[r][8 * j], a, b[0], b[1]);
          Step(&d[r][8 * j + 4], a, b[2], b[3]);
        }
      }
    }
  }

 private:
  static __device__ void LoadMatrices(uint32_t (&b)[4], uint32_t from) {
#if __CUDA_ARCH__ >= 750
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(b[0]), "=r"(b[1]), "=r"(b[2]), "=r"(b[3])
                 : "r"(from)
                 : "memory");
#endif
  }
  static __device__ void Step(int* d, const uint32_t (&a)[4], uint32_t b0,
                              uint32_t b1) {
#if __CUDA_ARCH__ >= 800
    asm volatile(
        "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, "
        "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
  }
};

}  // namespace axjax
