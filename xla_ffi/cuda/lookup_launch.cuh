// SPDX-License-Identifier: Apache-2.0
// Host side of the look-up kernel: what the engines that differ only in how they fetch
// an entry have in common. The table is transposed first, which takes microseconds;
// lookup_kernel.cuh says why.
#pragma once
#include <cuda_runtime.h>

#include <atomic>
#include <cstdint>
#include <limits>
#include <string>

#include "cuda/lookup_kernel.cuh"
#include "cuda/operands.h"
#include "cuda/tile_plan.h"

namespace axjax {
namespace lookup {

// From global memory, through the L1 cache.
template <typename Entry>
struct GlobalFetch {
  const Entry* table;
  __device__ uint32_t operator()(uint32_t index) const {
    return static_cast<uint32_t>(__ldg(table + index));
  }
};

struct Device {
  int id, multiprocessors, texture_alignment;
};

inline cudaError_t CurrentDevice(Device* d) {
  cudaError_t error = cudaGetDevice(&d->id);
  const auto get = [&](int* value, cudaDeviceAttr attribute) {
    if (error == cudaSuccess) error = cudaDeviceGetAttribute(value, attribute, d->id);
  };
  get(&d->multiprocessors, cudaDevAttrMultiProcessorCount);
  get(&d->texture_alignment, cudaDevAttrTextureAlignment);
  return error;
}

inline LookupArgs ArgsOf(const ConvGeometry& g, const TilePlan& plan) {
  LookupArgs a = {};
  for (int d = 0; d < 3; ++d) {
    a.in[d] = static_cast<int>(g.in[d]);
    a.kernel[d] = static_cast<int>(g.kernel[d]);
    a.out[d] = static_cast<int>(g.out[d]);
    a.stride[d] = static_cast<int>(g.stride[d]);
    a.pad_low[d] = static_cast<int>(g.pad_low[d]);
    a.in_dilation[d] = static_cast<int>(g.in_dilation[d]);
    a.kernel_dilation[d] = static_cast<int>(g.kernel_dilation[d]);
  }
  a.in_c = static_cast<int>(g.in_c);
  a.in_c_per_group = static_cast<int>(g.in_c_per_group());
  a.out_c = static_cast<int>(g.out_c);
  a.out_c_per_group = static_cast<int>(g.out_c_per_group());
  a.groups = static_cast<int>(g.groups);
  a.depth = static_cast<int>(g.taps() * plan.run);
  a.pixels = g.pixels();
  a.plan = plan;
  return a;
}

// The L1 cache is what the shared memory of the resident blocks leaves of one memory,
// and the table wants to stay in it. So ask for little shared memory, once a device:
// the driver would give as much as lets the most blocks in.
constexpr int kSharedPercent = 44;  // 100 of 228 KB on compute capability 9.0

template <typename Fetch, int kOutputs>
cudaError_t PreferCache(int device) {
  static std::atomic<uint64_t> done{0};
  const uint64_t bit = uint64_t{1} << (device % 64);
  if (done.load(std::memory_order_relaxed) & bit) return cudaSuccess;
  const cudaError_t error = cudaFuncSetAttribute(
      LookupKernel<Fetch, kOutputs>, cudaFuncAttributePreferredSharedMemoryCarveout,
      kSharedPercent);
  if (error == cudaSuccess) done.fetch_or(bit, std::memory_order_relaxed);
  return error;
}

template <typename Fetch, int kOutputs>
LaunchStatus LaunchKernel(const LookupArgs& args, const Fetch& fetch, int device,
                          cudaStream_t stream) {
  if (cudaError_t error = PreferCache<Fetch, kOutputs>(device); error != cudaSuccess)
    return LaunchStatus::Of(error, "setting up the look-up kernel");
  LookupKernel<Fetch, kOutputs>
      <<<static_cast<unsigned>(args.plan.tiles), args.plan.threads,
         args.plan.shared_bytes(), stream>>>(args, fetch);
  return LaunchStatus::Of(cudaGetLastError(), "launching the look-up kernel");
}

template <typename Fetch>
LaunchStatus Launch(const LookupArgs& args, const Fetch& fetch, int device,
                    cudaStream_t stream) {
  return args.plan.outputs == 1
             ? LaunchKernel<Fetch, 1>(args, fetch, device, stream)
             : LaunchKernel<Fetch, kThreadOutputs>(args, fetch, device, stream);
}

constexpr int kPatch = 32;
constexpr int kPatchRows = 8;  // at a time

// transposed[w][x] = table[x][w]; a block moves kPatch x kPatch entries.
template <typename Entry>
__global__ void TransposeTable(const Entry* table, Entry* transposed) {
  __shared__ Entry patch[kPatch][kPatch + 1];
  const int x0 = blockIdx.y * kPatch, w0 = blockIdx.x * kPatch;
  for (int i = threadIdx.y; i < kPatch; i += kPatchRows)
    patch[i][threadIdx.x] = table[TableIndex(x0 + i, w0 + threadIdx.x)];
  __syncthreads();
  for (int i = threadIdx.y; i < kPatch; i += kPatchRows)
    transposed[(w0 + i) * kCodes + x0 + threadIdx.x] = patch[threadIdx.x][i];
}

// Enqueues the transposition; `*transposed` is where in the workspace it goes.
template <typename Entry>
LaunchStatus Transpose(const LutConvOperands<Entry>& operands, size_t alignment,
                       cudaStream_t stream, Entry** transposed) {
  constexpr size_t kBytes = kTableSize * sizeof(Entry);
  const auto begin = reinterpret_cast<uintptr_t>(operands.workspace);
  const uintptr_t aligned = (begin + alignment - 1) / alignment * alignment;
  if (operands.workspace == nullptr ||
      aligned - begin + kBytes > operands.workspace_bytes)
    return LaunchStatus::Invalid(
        "the workspace holds a table aligned to " + std::to_string(alignment) +
        " bytes, got workspace_bytes=" + std::to_string(operands.workspace_bytes) +
        ". Pass " + std::to_string(kBytes + alignment) + ".");
  *transposed = reinterpret_cast<Entry*>(aligned);
  const dim3 grid(kCodes / kPatch, kCodes / kPatch), block(kPatch, kPatchRows);
  TransposeTable<<<grid, block, 0, stream>>>(operands.table, *transposed);
  return LaunchStatus::Of(cudaGetLastError(), "transposing the table");
}

// Checks, plans, transposes the table and has it fetched from. `with_fetch(table,
// launch)` is given the transposed table and returns what `launch(fetch)` returns.
template <typename Entry, typename WithFetch>
LaunchStatus LaunchLookup(const ConvGeometry& geometry,
                          const LutConvOperands<Entry>& operands, cudaStream_t stream,
                          const TileTuning& tuning, const WithFetch& with_fetch) {
  const int64_t outputs = geometry.pixels() * geometry.out_c;
  if (outputs == 0) return LaunchStatus::Ok();
  if (geometry.depth() == 0)
    return LaunchStatus::Of(
        cudaMemsetAsync(operands.out, 0, outputs * sizeof(int32_t), stream),
        "clearing the output");
  if (!FitsTiles(geometry))
    return LaunchStatus::Invalid(
        "batch, spatial sizes with stride and dilation, channels, outputs and depth "
        "are below 2**30 each, got a larger one. Split the operation, or use engine "
        "'xla'.");

  Device device = {};
  if (cudaError_t error = CurrentDevice(&device); error != cudaSuccess)
    return LaunchStatus::Of(error, "asking for the device");
  const TilePlan plan = MakeTilePlan(geometry, operands.lhs, operands.rhs,
                                     device.multiprocessors, tuning);
  if (plan.tiles > std::numeric_limits<int32_t>::max())
    return LaunchStatus::Invalid("at most 2**31 - 1 tiles, got tiles=" +
                                 std::to_string(plan.tiles) + ". Split the batch.");
  LookupArgs args = ArgsOf(geometry, plan);
  args.lhs = operands.lhs;
  args.rhs = operands.rhs;
  args.pad_code = operands.pad_code;
  args.out_sums = operands.out;

  Entry* table = nullptr;
  if (LaunchStatus status = Transpose(
          operands, static_cast<size_t>(device.texture_alignment), stream, &table);
      !status.ok())
    return status;
  return with_fetch(static_cast<const Entry*>(table), [&](const auto& fetch) {
    return Launch(args, fetch, device.id, stream);
  });
}

}  // namespace lookup
}  // namespace axjax
