// SPDX-License-Identifier: Apache-2.0
// Tensor-core step of compute capability 9.0: wgmma, asynchronous, 64 rows a warpgroup,
// first operand from registers, second from shared memory.
#pragma once
#include <cstdint>

#include "cuda/tensor_core_pipeline.cuh"
#include "cuda/tensor_core_plan.h"

namespace axjax {

// d += a * b over 32 positions of the depth. d[4 j], d[4 j + 1] are row g, columns
// 8 j + 2 t and the next; d[4 j + 2], d[4 j + 3] are row g + 8 of the warp's 16.
template <int kColumns>
__device__ inline void WgmmaStep(int (&d)[kColumns / 2], uint32_t a0, uint32_t a1,
                                 uint32_t a2, uint32_t a3, uint64_t b) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)  // sm_90a
  if constexpr (kColumns == 32) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n32k32.s32.s8.s8 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, "
        "{%16, %17, %18, %19}, %20, 1;"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3]), "+r"(d[4]), "+r"(d[5]),
          "+r"(d[6]), "+r"(d[7]), "+r"(d[8]), "+r"(d[9]), "+r"(d[10]), "+r"(d[11]),
          "+r"(d[12]), "+r"(d[13]), "+r"(d[14]), "+r"(d[15])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "l"(b));
  }
  if constexpr (kColumns == 64) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n64k32.s32.s8.s8 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        " %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, "
        "%31}, "
        "{%32, %33, %34, %35}, %36, 1;"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3]), "+r"(d[4]), "+r"(d[5]),
          "+r"(d[6]), "+r"(d[7]), "+r"(d[8]), "+r"(d[9]), "+r"(d[10]), "+r"(d[11]),
          "+r"(d[12]), "+r"(d[13]), "+r"(d[14]), "+r"(d[15]), "+r"(d[16]), "+r"(d[17]),
          "+r"(d[18]), "+r"(d[19]), "+r"(d[20]), "+r"(d[21]), "+r"(d[22]), "+r"(d[23]),
          "+r"(d[24]), "+r"(d[25]), "+r"(d[26]), "+r"(d[27]), "+r"(d[28]), "+r"(d[29]),
          "+r"(d[30]), "+r"(d[31])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "l"(b));
  }
  if constexpr (kColumns == 128) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        " %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, "
        "%31, "
        " %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, "
        "%47, "
        " %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, "
        "%63}, "
        "{%64, %65, %66, %67}, %68, 1;"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3]), "+r"(d[4]), "+r"(d[5]),
          "+r"(d[6]), "+r"(d[7]), "+r"(d[8]), "+r"(d[9]), "+r"(d[10]), "+r"(d[11]),
          "+r"(d[12]), "+r"(d[13]), "+r"(d[14]), "+r"(d[15]), "+r"(d[16]), "+r"(d[17]),
          "+r"(d[18]), "+r"(d[19]), "+r"(d[20]), "+r"(d[21]), "+r"(d[22]), "+r"(d[23]),
          "+r"(d[24]), "+r"(d[25]), "+r"(d[26]), "+r"(d[27]), "+r"(d[28]), "+r"(d[29]),
          "+r"(d[30]), "+r"(d[31]), "+r"(d[32]), "+r"(d[33]), "+r"(d[34]), "+r"(d[35]),
          "+r"(d[36]), "+r"(d[37]), "+r"(d[38]), "+r"(d[39]), "+r"(d[40]), "+r"(d[41]),
          "+r"(d[42]), "+r"(d[43]), "+r"(d[44]), "+r"(d[45]), "+r"(d[46]), "+r"(d[47]),
          "+r"(d[48]), "+r"(d[49]), "+r"(d[50]), "+r"(d[51]), "+r"(d[52]), "+r"(d[53]),
          "+r"(d[54]), "+r"(d[55]), "+r"(d[56]), "+r"(d[57]), "+r"(d[58]), "+r"(d[59]),
          "+r"(d[60]), "+r"(d[61]), "+r"(d[62]), "+r"(d[63])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "l"(b));
  }
#endif
}

template <int kColumnCount>
struct Wgmma {
  static constexpr int kColumns = kColumnCount;
  static constexpr bool kAsync = true;
  static constexpr bool kBulkCopy = true;
  // One warp brings weights, others are idle: setmaxnreg works on whole warpgroups.
  template <class Split>
  static constexpr int kProducers = (Split::kCodeThreads + 32 + 127) / 128 * 128;
  using Accumulators = int[kColumns / 2];

  // The block starts with its registers shared out evenly: 168 for each of 384 threads,
  // or 80 for each of 768. Consumers hold accumulators and operands; what they need
  // beyond the even share the producers give up.
  template <int kGroups>
  static __device__ void GiveRegisters() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kGroups == 2 ? 56 : 48));
#endif
  }
  template <int kGroups>
  static __device__ void TakeRegisters() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kGroups == 2 ? 224 : 96));
#endif
  }

  // Starts d += a * b for one unit: four steps. `low` and `high` are the words of rows
  // g and g + 8, `unit` the shared address of the weights.
  static __device__ void Start(Accumulators& d, const uint32_t (&low)[8],
                               const uint32_t (&high)[8], uint32_t unit) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
    for (int s = 0; s < 4; ++s)
      WgmmaStep<kColumns>(d, low[2 * s], high[2 * s], low[2 * s + 1], high[2 * s + 1],
                          Descriptor(unit + 32 * s));
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#else
    __trap();  // a build without sm_90a must not look as if it worked
#endif
  }

  // Waits until at most `kPending` started units are unfinished.
  template <int kPending>
  static __device__ void Wait() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
#endif
  }

 private:
  // 128-byte rows, eight of them 1024 bytes apart from the next eight, 128-byte
  // swizzle.
  static __device__ uint64_t Descriptor(uint32_t shared) {
    return uint64_t{(shared & 0x3ffff) >> 4} | uint64_t{1} << 16 |
           uint64_t{1024 >> 4} << 32 | uint64_t{1} << 62;
  }
};

}  // namespace axjax
