// SPDX-License-Identifier: Apache-2.0
// Host side of the tensor-core engine: sizes, choices, launches.
#include <algorithm>
#include <cstdint>

#include "cuda/tensor_core.h"
#include "cuda/tensor_core_kernel.cuh"
#include "cuda/tensor_core_plan.h"
#include "cuda/tensor_core_weights.cuh"

namespace axjax {
namespace {

// Expanded weights beyond this are made and used in several rounds of output tiles.
constexpr int64_t kMaxExpandedBytes = int64_t{256} << 20;

// Stages of codes, if there is room. On an H100, 3x3 with 128 channels and 4 terms: 97
// T products/s with 2 stages, 103 with 3, 108 with 4, 104 with 6.
constexpr int kCodeStages = 4;

constexpr int64_t kLeastRows = 128;  // of a tile

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Units of a tile if all planes are full.
int64_t MostUnits(const TableFactors& factors, int64_t depth) {
  TensorCorePasses passes;
  MakePasses(MostWords(factors), 1, &passes);
  return passes.units(depth);
}

// How the expanded weights lie in the workspace; the same for every GPU.
struct Workspace {
  int64_t bias_bytes, pad_bytes, tile_bytes, tiles_per_group, tiles, tiles_per_round,
      bytes;
};

Workspace WorkspaceOf(const ConvGeometry& geometry, const TableFactors& factors,
                      int columns) {
  Workspace w = {};
  const int64_t units = MostUnits(factors, geometry.depth());
  w.bias_bytes = CeilDiv(geometry.out_c * 4, 1024) * 1024;
  w.pad_bytes = 1024;  // keeps what follows aligned; kPiece of them are used
  w.tile_bytes = units * columns * kUnitBytes;
  w.tiles_per_group = CeilDiv(geometry.out_c_per_group(), columns);
  w.tiles = w.tiles_per_group * geometry.groups;
  w.tiles_per_round = std::min<int64_t>(
      {w.tiles, 65535,
       std::max<int64_t>(1, kMaxExpandedBytes / std::max<int64_t>(1, w.tile_bytes))});
  w.bytes = w.bias_bytes + w.pad_bytes + w.tiles_per_round * w.tile_bytes;
  return w;
}

CodeGeometry CodeGeometryOf(const ConvGeometry& g, const uint8_t* lhs) {
  CodeGeometry c = {};
  for (int d = 0; d < 3; ++d) {
    c.in[d] = static_cast<int>(g.in[d]);
    c.kernel[d] = static_cast<int>(g.kernel[d]);
    c.out[d] = static_cast<int>(g.out[d]);
    c.stride[d] = static_cast<int>(g.stride[d]);
    c.pad_low[d] = static_cast<int>(g.pad_low[d]);
    c.in_dilation[d] = static_cast<int>(g.in_dilation[d]);
    c.kernel_dilation[d] = static_cast<int>(g.kernel_dilation[d]);
    c.by_out[d] = Divider::Of(c.out[d]);
    c.by_kernel_dilation[d] = Divider::Of(c.kernel_dilation[d]);
    c.general |= g.in_dilation[d] != 1 || g.kernel[d] > kMaskTaps;
  }
  c.in_c = static_cast<int>(g.in_c);
  c.in_c_per_group = static_cast<int>(g.in_c_per_group());
  c.pixels = static_cast<int>(g.pixels());
  c.depth = static_cast<int>(g.depth());
  const uint64_t channels = static_cast<uint64_t>(g.in_c_per_group());
  c.step = (channels | reinterpret_cast<uintptr_t>(lhs)) % 16 == 0 ? 16 : 4;
  return c;
}

// Shares shared memory out: two stages of codes, at least two of weights, then look-up
// tables as far as they are needed. What is left goes to more stages of both: a copy of
// codes takes a microsecond to arrive, and with few terms its stage is soon used up.
bool ShareMemory(int needed_slots, int columns, int rows, int limit, KernelArgs* args) {
  const auto fits = [&](int slots, int weight_stages, int code_stages) {
    return LayoutOf(slots, weight_stages, code_stages, columns, rows).bytes <= limit;
  };
  int slots = std::max(1, needed_slots), weights = 3, codes = 2;
  while (slots > 1 && !fits(slots, weights, codes)) --slots;
  if (!fits(slots, weights, codes)) weights = 2;
  if (!fits(slots, weights, codes)) return false;
  const auto grow = [&](int to_weights, int to_codes) {
    while (codes < to_codes && fits(slots, weights, codes + 1)) ++codes;
    while (weights < to_weights && fits(slots, weights + 1, codes)) ++weights;
  };
  grow(3, kCodeStages);
  grow(kMaxStages, kCodeStages);
  args->slots = slots;
  args->weight_stages = weights;
  args->code_stages = codes;
  return true;
}

struct Device {
  int multiprocessors, major, minor, shared_bytes;
};

cudaError_t CurrentDevice(Device* d) {
  int id = 0;
  cudaError_t error = cudaGetDevice(&id);
  const auto get = [&](int* value, cudaDeviceAttr attribute) {
    if (error == cudaSuccess) error = cudaDeviceGetAttribute(value, attribute, id);
  };
  get(&d->multiprocessors, cudaDevAttrMultiProcessorCount);
  get(&d->major, cudaDevAttrComputeCapabilityMajor);
  get(&d->minor, cudaDevAttrComputeCapabilityMinor);
  get(&d->shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin);
  return error;
}

cudaError_t Launch(const TensorCoreChoice& choice, const Device& device,
                   const ConvGeometry& geometry, const TableFactors& factors,
                   const TensorCoreBuffers& buffers, cudaStream_t stream) {
  if (device.major < 8 ||
      (choice.warpgroup && (device.major != 9 || device.minor != 0)))
    return cudaErrorNotSupported;
  if (!TensorCoreTakes(geometry, factors)) return cudaErrorInvalidValue;
  if (geometry.pixels() == 0 || geometry.out_c == 0) return cudaSuccess;
  if (geometry.depth() == 0)
    return cudaMemsetAsync(buffers.out, 0, geometry.pixels() * geometry.out_c * 4,
                           stream);

  const Workspace workspace = WorkspaceOf(geometry, factors, choice.columns);
  const int rows = 64 * choice.groups * choice.row_blocks;
  KernelArgs args = {};
  args.geometry = CodeGeometryOf(geometry, buffers.lhs);
  int needed_slots = 0;  // by the number of words that needs most
  for (int words = 1; words <= factors.stride / kWordTerms; ++words)
    needed_slots = std::max(needed_slots, LookupBlocks(words));
  needed_slots *= factors.planes;
  if (!ShareMemory(needed_slots, choice.columns, rows, device.shared_bytes, &args))
    return cudaErrorInvalidValue;
  args.planes = factors.planes;
  args.words = factors.words;

  uint8_t* pad_line = static_cast<uint8_t*>(buffers.workspace) + workspace.bias_bytes;
  uint8_t* expanded = pad_line + workspace.pad_bytes;
  if (factors.beta != nullptr) {
    auto* bias = static_cast<int32_t*>(buffers.workspace);
    const auto rhs_depth = static_cast<int>(geometry.taps() * buffers.rhs_in_c);
    SumBeta<<<CeilDiv(geometry.out_c, kBetaColumns), dim3(kBetaColumns, kBetaRows), 0,
              stream>>>(buffers.rhs, factors.beta, rhs_depth,
                        static_cast<int>(geometry.out_c), bias);
    if (cudaError_t error = cudaGetLastError(); error != cudaSuccess) return error;
    args.bias = bias;
  }
  args.lhs = buffers.lhs;
  args.pad_line = pad_line;
  args.expanded = expanded;
  args.u = factors.u;
  args.out = buffers.out;
  args.stride = factors.stride;
  args.out_c = static_cast<int>(geometry.out_c);
  args.out_c_per_group = static_cast<int>(geometry.out_c_per_group());
  args.tiles_per_group = static_cast<int>(workspace.tiles_per_group);
  args.row_tiles = static_cast<int>(CeilDiv(geometry.pixels(), rows));
  if (MostUnits(factors, geometry.depth()) > INT32_MAX) return cudaErrorInvalidValue;
  args.tile_bytes = workspace.tile_bytes;

  WeightArgs weights = {};
  weights.rhs = buffers.rhs;
  weights.v = factors.v;
  weights.pad_code = buffers.pad_code;
  weights.pad_line = pad_line;
  weights.expanded = expanded;
  weights.stride = factors.stride;
  weights.planes = factors.planes;
  weights.words = factors.words;
  weights.slots = args.slots;
  weights.depth = args.geometry.depth;
  weights.in_c = args.geometry.in_c_per_group;
  weights.rhs_in_c = static_cast<int>(buffers.rhs_in_c);
  weights.out_c = args.out_c;
  weights.out_c_per_group = args.out_c_per_group;
  weights.columns = choice.columns;
  weights.tiles_per_group = args.tiles_per_group;
  weights.tile_bytes = workspace.tile_bytes;

  const auto chunks = static_cast<unsigned>(CeilDiv(args.geometry.depth, kChunk));
  const auto units_of_chunk = static_cast<unsigned>(MostUnits(factors, kChunk));
  for (int64_t first = 0; first < workspace.tiles; first += workspace.tiles_per_round) {
    const int64_t tiles = std::min(workspace.tiles_per_round, workspace.tiles - first);
    weights.first_tile = args.first_tile = static_cast<int>(first);
    if (args.row_tiles * tiles > INT32_MAX) return cudaErrorInvalidValue;
    args.tiles = static_cast<int>(args.row_tiles * tiles);
    const dim3 grid(chunks, units_of_chunk * choice.columns * 8 / kExpandThreads,
                    static_cast<unsigned>(tiles));
    ExpandWeights<<<grid, kExpandThreads, 0, stream>>>(weights);
    if (cudaError_t error = cudaGetLastError(); error != cudaSuccess) return error;
    KernelLaunch launch = {};
    launch.blocks = std::min(args.tiles, device.multiprocessors);
    launch.shared_bytes =
        LayoutOf(args.slots, args.weight_stages, args.code_stages, choice.columns, rows)
            .bytes;
    launch.shared_limit = device.shared_bytes;
    launch.early = choice.warpgroup;
    launch.stream = stream;
    const cudaError_t error = choice.warpgroup
                                  ? LaunchWgmmaKernel(choice, args, launch)
                                  : LaunchMmaSyncKernel(choice, args, launch);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace

bool TensorCoreTakes(const ConvGeometry& g, const TableFactors& f) {
  // The kernel counts pixels, channels and depth in 32 bits. Half of the range leaves
  // room for the last tile's end.
  constexpr int64_t kLimit = int64_t{1} << 30;
  if (g.groups < 1 || g.in_c_per_group() % 4 != 0) return false;
  if (g.pixels() >= kLimit || g.depth() >= kLimit || g.in_c >= kLimit ||
      g.out_c >= kLimit || g.batch * g.in[0] * g.in[1] * g.in[2] >= kLimit)
    return false;
  for (int d = 0; d < 3; ++d)
    if (g.out[d] * g.stride[d] >= kLimit ||
        g.kernel[d] * g.kernel_dilation[d] >= kLimit || g.in_dilation[d] >= kLimit ||
        g.pad_low[d] >= kLimit || g.pad_low[d] <= -kLimit)
      return false;
  // Activations are addressed in pieces of 16 codes by 32 bits.
  if (g.batch * g.in[0] * g.in[1] * g.in[2] * g.in_c / kPiece >= (int64_t{1} << 32) - 1)
    return false;
  if (f.planes < 1 || f.planes > kMaxPlanes || f.stride < kWordTerms ||
      f.stride > kMaxTerms || f.stride % kWordTerms != 0)
    return false;
  const int64_t columns = ChooseColumns(g);
  return MostUnits(f, g.depth()) <= INT32_MAX &&
         CeilDiv(g.pixels(), kLeastRows) * CeilDiv(g.out_c_per_group(), columns) *
                 g.groups <=
             INT32_MAX;
}

size_t TensorCoreWorkspaceBytes(const ConvGeometry& geometry,
                                const TableFactors& factors, int columns) {
  if (!TensorCoreTakes(geometry, factors) || geometry.out_c == 0) return 0;
  if (columns == 0) columns = ChooseColumns(geometry);
  return static_cast<size_t>(WorkspaceOf(geometry, factors, columns).bytes);
}

TensorCoreChoice ChooseTensorCore(const ConvGeometry& geometry, int multiprocessors,
                                  int major, int minor) {
  TensorCoreChoice choice = {};
  choice.warpgroup = major == 9 && minor == 0;
  choice.columns = ChooseColumns(geometry);
  // What measured fastest among tiles of 128 and of 256 pixels. Big tiles are a tenth
  // to a quarter faster per pixel, small ones fill a small problem's last wave.
  const int64_t column_tiles =
      CeilDiv(geometry.out_c_per_group(), choice.columns) * geometry.groups;
  const auto waves = [&](int64_t pixels) {
    return CeilDiv(CeilDiv(geometry.pixels(), pixels) * column_tiles, multiprocessors);
  };
  const bool big = waves(256) * 2 * 8 <= waves(128) * 9;
  choice.groups = 2;
  choice.row_blocks = 1;
  if (choice.warpgroup && big) {
    // Four groups hide each other's look-ups best; 128 columns leave registers for two.
    choice.groups = choice.columns == 128 ? 2 : 4;
    choice.row_blocks = choice.columns == 128 ? 2 : 1;
  } else if (big && choice.columns < 128) {
    // mma.sync holds both operands in registers: two blocks of 64 x 128 would not fit.
    choice.row_blocks = 2;
  }
  return choice;
}

cudaError_t LaunchTensorCoreAs(const TensorCoreChoice& choice,
                               const ConvGeometry& geometry,
                               const TableFactors& factors,
                               const TensorCoreBuffers& buffers, cudaStream_t stream) {
  Device device = {};
  if (cudaError_t error = CurrentDevice(&device); error != cudaSuccess) return error;
  return Launch(choice, device, geometry, factors, buffers, stream);
}

cudaError_t LaunchTensorCore(const ConvGeometry& geometry, const TableFactors& factors,
                             const TensorCoreBuffers& buffers, cudaStream_t stream) {
  Device device = {};
  if (cudaError_t error = CurrentDevice(&device); error != cudaSuccess) return error;
  const TensorCoreChoice choice =
      ChooseTensorCore(geometry, device.multiprocessors, device.major, device.minor);
  return Launch(choice, device, geometry, factors, buffers, stream);
}

}  // namespace axjax
