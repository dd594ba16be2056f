// SPDX-License-Identifier: Apache-2.0
// Barriers and copies between the warps that load and the warps that multiply.
#pragma once
#include <cstdint>

namespace axjax {

// Position in a ring of shared-memory stages. `parity` flips when the ring wraps, as
// the phases of the stages' barriers do.
struct RingPosition {
  int stage = 0;
  uint32_t parity = 0;

  __device__ void Next(int stages) {
    if (++stage == stages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

__device__ inline uint32_t SharedAddress(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

__device__ inline void BarrierInit(uint32_t barrier, int arrivals) {
#if __CUDA_ARCH__ >= 800
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals)
               : "memory");
#endif
}

__device__ inline void BarrierArrive(uint32_t barrier) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "{ .reg .b64 state; mbarrier.arrive.shared.b64 state, [%0]; }" ::"r"(barrier)
      : "memory");
#endif
}

__device__ inline void BarrierWait(uint32_t barrier, uint32_t parity) {
#if __CUDA_ARCH__ >= 900  // suspends the thread for a while instead of spinning
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}" ::"r"(barrier),
      "r"(parity)
      : "memory");
#elif __CUDA_ARCH__ >= 800
  uint32_t done;
  do {
    asm volatile(
        "{\n"
        ".reg .pred done;\n"
        "mbarrier.test_wait.parity.shared.b64 done, [%1], %2;\n"
        "selp.u32 %0, 1, 0, done;\n"
        "}"
        : "=r"(done)
        : "r"(barrier), "r"(parity)
        : "memory");
  } while (!done);
#endif
}

// One arrival when this thread's asynchronous copies so far have landed. The barrier's
// count includes it.
__device__ inline void BarrierArriveAfterCopies(uint32_t barrier) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(barrier)
               : "memory");
#endif
}

// Through L2 only: expanded weights are used once by a block.
__device__ inline void CopyAsync16(uint32_t shared, const void* global) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared), "l"(global)
               : "memory");
#endif
}

// Through L1: neighbouring taps and pixels read the same codes again.
template <int kBytes>
__device__ inline void CopyAsyncCached(uint32_t shared, const void* global) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(shared), "l"(global),
               "n"(kBytes)
               : "memory");
#endif
}

// One arrival, and the barrier's phase also waits for the bytes.
__device__ inline void BulkCopy(uint32_t shared, const void* global, uint32_t bytes,
                                uint32_t barrier) {
#if __CUDA_ARCH__ >= 900
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier),
               "r"(bytes)
               : "memory");
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1], %2, [%3];" ::"r"(shared),
      "l"(global), "r"(bytes), "r"(barrier)
      : "memory");
#endif
}

// Makes barriers that were just initialised visible to the copy engine.
__device__ inline void FenceBarrierInit() {
#if __CUDA_ARCH__ >= 900
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

// Programmatic dependent launch: the next kernel of the stream may start, and set
// itself up, before this one has finished.
__device__ inline void AllowNextKernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Until everything that the kernel before has written is there. Does nothing for a
// kernel that was launched in the ordinary way.
__device__ inline void WaitForLastKernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

}  // namespace axjax
