// SPDX-License-Identifier: Apache-2.0
// Convolution of codes on int8 tensor cores, for a factored table: the main kernel.
//
// A block keeps one multiprocessor busy and takes tiles of (pixels x outputs) in turn.
// Roles: groups of four warps multiply, two warps bring activation codes, one warp
// brings expanded weights; they meet at barriers of two rings of shared-memory stages.
//
//   codes   -- ring --> registers -- look-up tables --> operand in registers
//   weights -- ring of units --> operand in shared memory
//
// What bounds it, per 64 pixels x 128 outputs x 32 positions of the expanded depth,
// which take the tensor units 64 cycles: shared memory moves 128 bytes a cycle, so that
// reading the weights takes 32 cycles, the look-ups 16, bringing the weights 8 (a tile
// of 256 pixels shares them) and, with 4 terms a code, bringing and reading codes 8 or
// more. That is 56 to 64 of the 64 cycles: the tile is as balanced as it gets. Fewer
// pixels a tile would double the weights' traffic from L2 (16 bytes a cycle and
// multiprocessor at 256).
//
// Measured on an H100 (check_tensor_core.cu prints it), T products/s, expansion of the
// weights included: 3x3, 65536 pixels, 128 to 128 channels: 105 at 1 to 4 terms, 71 at
// 8, 45 at 16, 13.5 at 64, which is 80 % of the int8 peak at the top clock; 64 to 64:
// 74 at 4 terms, 16 to 16: 11. With few terms or narrow tiles the warps that bring
// codes are what holds the others up: making it cheap to find a tap's pixel, and twice
// as many of these warps for narrow tiles, brought 63 to 74 and 8.5 to 11.
#pragma once
#include <cstdint>
#include <type_traits>

#include "cuda/tensor_core_codes.cuh"
#include "cuda/tensor_core_lookup.cuh"
#include "cuda/tensor_core_pipeline.cuh"
#include "cuda/tensor_core_plan.h"
#include "cuda/tensor_core_weights.cuh"

namespace axjax {

constexpr int kGroupThreads = 128;
// One lane tells the producers that its warp has read a stage; __syncwarp orders the
// other lanes' reads before that. Racecheck does not see this order and reports
// hazards. It has none to report in a build where every lane tells.
#ifdef AXJAX_EVERY_LANE_ARRIVES
constexpr int kWarpArrivals = 32;
#else
constexpr int kWarpArrivals = 1;
#endif
constexpr int kMaxStages = 8;

// How a block's consumers share a tile.
template <int kGroupCount, int kRowBlockCount>
struct Split {
  static constexpr int kGroups = kGroupCount;        // of four warps
  static constexpr int kRowBlocks = kRowBlockCount;  // of 64 pixels, of each group
  static constexpr int kThreads = kGroups * kGroupThreads;
  static constexpr int kRows = kGroups * 64 * kRowBlocks;
  // That bring codes. Narrow tiles, which have four groups, use them up faster.
  static constexpr int kCodeThreads = kGroups == 4 ? 128 : 64;
};

struct KernelArgs {
  CodeGeometry geometry;
  int planes;
  const int32_t* words;
  const uint8_t* lhs;
  const uint8_t* pad_line;  // of the workspace, written by ExpandWeights
  const uint8_t* expanded;  // of the launch's first tile of columns
  const int8_t* u;
  const int32_t* bias;  // (out_c,) or nullptr
  int32_t* out;
  int stride;
  int out_c, out_c_per_group, tiles_per_group;
  int row_tiles, first_tile, tiles;  // tiles: row tiles x this launch's column tiles
  int64_t tile_bytes;
  int slots, weight_stages, code_stages;
};

// Shared memory, in order; the weights need 1024-byte alignment.
struct SharedLayout {
  int tables, weights, codes, origins, barriers, passes, bytes;
};
__host__ __device__ constexpr SharedLayout LayoutOf(int slots, int weight_stages,
                                                    int code_stages, int columns,
                                                    int rows) {
  SharedLayout l = {};
  l.weights = l.tables + slots * kLookupBytes;
  l.codes = l.weights + weight_stages * columns * kUnitBytes;
  l.origins = l.codes + code_stages * CodeStageBytes(rows);
  l.barriers = l.origins + rows * static_cast<int>(sizeof(PixelOrigin));
  l.passes = l.barriers + 4 * kMaxStages * 8;
  l.bytes = l.passes + static_cast<int>(sizeof(TensorCorePasses));
  return l;
}

// Shared addresses of the two rings' barriers.
struct Barriers {
  uint32_t base;
  __device__ uint32_t WeightsFull(int s) const { return base + 8 * s; }
  __device__ uint32_t WeightsFree(int s) const { return base + 8 * (kMaxStages + s); }
  __device__ uint32_t CodesFull(int s) const { return base + 8 * (2 * kMaxStages + s); }
  __device__ uint32_t CodesFree(int s) const { return base + 8 * (3 * kMaxStages + s); }
};

// Reads of shared memory that the compiler knows to be the same for all lanes, so that
// what depends on them stays in uniform registers, where wgmma wants its addresses.
__device__ inline int Uniform(int value) { return __shfl_sync(0xffffffff, value, 0); }
__device__ inline TensorCorePass Uniform(const TensorCorePass& pass) {
  static_assert(sizeof(TensorCorePass) == 8);
  int2 bits;
  memcpy(&bits, &pass, sizeof bits);
  bits = make_int2(Uniform(bits.x), Uniform(bits.y));
  TensorCorePass uniform;
  memcpy(&uniform, &bits, sizeof bits);
  return uniform;
}

template <class Mma>
__device__ void ProduceWeights(const KernelArgs& args, const TensorCorePasses& passes,
                               const Barriers& barriers, uint32_t ring, int lane) {
  constexpr int kBytes = Mma::kColumns * kUnitBytes;
  const int units = Uniform(static_cast<int>(passes.units(args.geometry.depth)));
  WaitForLastKernel();
  RingPosition at;
  for (int tile = blockIdx.x; tile < args.tiles; tile += gridDim.x) {
    const uint8_t* from = args.expanded + tile / args.row_tiles * args.tile_bytes;
    for (int unit = 0; unit < units; ++unit, from += kBytes) {
      BarrierWait(barriers.WeightsFree(at.stage), at.parity ^ 1);
      const uint32_t to = ring + at.stage * kBytes,
                     full = barriers.WeightsFull(at.stage);
      if constexpr (Mma::kBulkCopy) {
        if (lane == 0) BulkCopy(to, from, kBytes, full);
      } else {
        for (int i = lane * 16; i < kBytes; i += 32 * 16) CopyAsync16(to + i, from + i);
        BarrierArriveAfterCopies(full);
      }
      at.Next(args.weight_stages);
    }
  }
}

template <class Split, int kStep, bool kGeneral>
__device__ void ProduceCodesBy(const KernelArgs& args, const TensorCorePasses& passes,
                               const Barriers& barriers, uint32_t ring,
                               PixelOrigin* origins, int thread) {
  const CodeGeometry& g = args.geometry;
  WaitForLastKernel();
  constexpr int kRows = Split::kRows;
  CodeLoader<kRows, Split::kCodeThreads, kStep, kGeneral> loader(
      g, args.lhs, args.pad_line, origins, thread);
  const int chunks = (g.depth + kChunk - 1) / kChunk;
  RingPosition at;
  for (int tile = blockIdx.x; tile < args.tiles; tile += gridDim.x) {
    const int column_tile = tile / args.row_tiles;
    const int group = (args.first_tile + column_tile) / args.tiles_per_group;
    loader.BeginTile((tile - column_tile * args.row_tiles) * kRows);
    for (int pass = 0; pass < passes.count; ++pass) {
      if (passes.pass[pass].blocks() == 0) continue;
      loader.BeginDepth(group * g.in_c_per_group);
      for (int chunk = 0; chunk < chunks; chunk += kStageChunks) {
        BarrierWait(barriers.CodesFree(at.stage), at.parity ^ 1);
        loader.LoadStage(ring + at.stage * CodeStageBytes(kRows));
        BarrierArriveAfterCopies(barriers.CodesFull(at.stage));
        at.Next(args.code_stages);
      }
    }
  }
}

template <class Split>
__device__ void ProduceCodes(const KernelArgs& args, const TensorCorePasses& passes,
                             const Barriers& barriers, uint32_t ring,
                             PixelOrigin* origins, int thread) {
  const auto by = [&](auto step, auto general) {
    ProduceCodesBy<Split, step.value, general.value>(args, passes, barriers, ring,
                                                     origins, thread);
  };
  using std::false_type, std::true_type;
  using Four = std::integral_constant<int, 4>;
  using Sixteen = std::integral_constant<int, 16>;
  if (args.geometry.step == 16) {
    args.geometry.general ? by(Sixteen(), true_type()) : by(Sixteen(), false_type());
  } else {
    args.geometry.general ? by(Four(), true_type()) : by(Four(), false_type());
  }
}

// One group of four warps: rows [group * 64 * kRowBlocks, ...) of every tile.
template <class Mma, class Split>
class Consumer {
 public:
  static constexpr int kRowBlocks = Split::kRowBlocks;
  static constexpr int kRows = Split::kRows;

  __device__ Consumer(const KernelArgs& args, const Barriers& barriers, uint8_t* shared,
                      const SharedLayout& layout, int thread)
      : args_(args),
        passes_(*reinterpret_cast<const TensorCorePasses*>(shared + layout.passes)),
        barriers_(barriers),
        tables_(shared + layout.tables),
        weights_(SharedAddress(shared + layout.weights)),
        thread_(thread),
        lane_(thread % 32),
        row_(thread / kGroupThreads * (64 * kRowBlocks) +
             thread % kGroupThreads / 32 * 16 + lane_ / 4),
        codes_(SharedAddress(shared + layout.codes) + row_ * kPiece + lane_ % 4 * 4),
        chunks_((args.geometry.depth + kChunk - 1) / kChunk) {}

  __device__ void Run() {
    const int passes = Uniform(passes_.count);
    const bool resident = Uniform(passes_.resident);
    const bool half_tail =
        static_cast<unsigned>(args_.geometry.depth - 1) % kChunk < kChunk / 2;
    if (resident) {
      int slot = 0;
      for (int p = 0; p < passes; ++p)
        slot = FillTables(Uniform(passes_.pass[p]), slot);
      ConsumersMeet();
    }
    for (int p = 0; p < passes; ++p)
      if (Uniform(passes_.pass[p]).blocks() > 0) chunks_left_ += chunks_;
    chunks_left_ *= (args_.tiles - blockIdx.x + gridDim.x - 1) / gridDim.x;
    FetchCodes();
    for (int tile = blockIdx.x; tile < args_.tiles; tile += gridDim.x) {
      Clear();
      int first_slot = 0;
      for (int p = 0; p < passes; ++p) {
        const TensorCorePass pass = Uniform(passes_.pass[p]);
        if (pass.shift) ShiftPlane();
        if (!resident) {
          ConsumersMeet();  // the last look-ups in the old tables are over
          FillTables(pass, 0);
          ConsumersMeet();
        }
        if (pass.blocks() == 0) continue;
        const uint32_t table = SharedAddress(tables_) + first_slot * kLookupBytes;
        for (int chunk = 0; chunk < chunks_; ++chunk)
          RunChunk(pass, table, half_tail && chunk == chunks_ - 1);
        if (resident) first_slot += pass.blocks();
      }
      Finish();
      Store(tile);
    }
  }

 private:
  // Meets the other consumers, not the producers.
  static __device__ void ConsumersMeet() {
    asm volatile("bar.sync 1, %0;" ::"n"(Split::kThreads) : "memory");
  }

  __device__ int FillTables(const TensorCorePass& pass, int slot) {
    const int8_t* u = args_.u + int64_t{pass.plane} * 256 * args_.stride;
    int word = pass.first_word;
    for (int b = 0; b < pass.blocks(); ++b, ++slot) {
      const int width = b < pass.quads ? 4 : b < pass.quads + pass.pair ? 2 : 1;
      FillLookup(reinterpret_cast<uint4*>(tables_ + slot * kLookupBytes), u,
                 args_.stride, word, width, thread_, Split::kThreads);
      word += width;
    }
    return slot;
  }

  // Reads the next chunk's codes, of whatever pass or tile, while this one's are in
  // use: they are on the way before the first look-up needs them.
  __device__ void FetchCodes() {
    if (chunks_left_-- <= 0) return;
    const int part = fetched_ % kStageChunks;
    if (part == 0) BarrierWait(barriers_.CodesFull(code_at_.stage), code_at_.parity);
    const uint32_t from = codes_ + code_at_.stage * CodeStageBytes(kRows) +
                          part * (kChunk / kPiece * PieceStride(kRows));
#pragma unroll
    for (int r = 0; r < kRowBlocks; ++r)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        asm volatile(
            "ld.shared.u32 %0, [%1];"
            : "=r"(next_codes_[r][i / 2][i % 2])
            : "r"(from + (r * 64 + i / 2 * 8) * kPiece + i % 2 * PieceStride(kRows))
            : "memory");
    if (++fetched_ == chunks_) fetched_ = 0;  // a pass begins with a stage of its own
    if (part == kStageChunks - 1 || fetched_ == 0) {
      __syncwarp();
      if (lane_ < kWarpArrivals) BarrierArrive(barriers_.CodesFree(code_at_.stage));
      code_at_.Next(args_.code_stages);
    }
  }

  __device__ void RunChunk(const TensorCorePass& pass, uint32_t table, bool half) {
    uint32_t codes[kRowBlocks][2][2];
#pragma unroll
    for (int r = 0; r < kRowBlocks; ++r)
#pragma unroll
      for (int i = 0; i < 4; ++i) codes[r][i / 2][i % 2] = next_codes_[r][i / 2][i % 2];
    FetchCodes();
    for (int b = 0; b < pass.quads; ++b, table += kLookupBytes)
      RunBlock<4>(codes, table, half ? 2 : 4);
    if (pass.pair) {
      RunBlock<2>(codes, table, half ? 1 : 2);
      table += kLookupBytes;
    }
    if (pass.single) RunBlock<1>(codes, table, 1);
  }

  template <int kWidth>
  __device__ void RunBlock(const uint32_t (&codes)[kRowBlocks][2][2], uint32_t table,
                           int units) {
    const uint32_t lane_table = LaneTable<kWidth>(table, lane_);
#pragma unroll 1
    for (int unit = 0; unit < units; ++unit) {
      if constexpr (Mma::kAsync) {
        RunUnitAsync<kWidth>(codes, lane_table, unit);
      } else {
        RunUnit<kWidth>(codes, lane_table, unit);
      }
    }
  }

  // One row block's operand is looked up while the tensor cores work on the blocks
  // before it. They read operand registers until they have finished, so the new words
  // wait in others until the block's own last multiplication is over; those of the
  // other row blocks are still under way then.
  template <int kWidth>
  __device__ void RunUnitAsync(const uint32_t (&codes)[kRowBlocks][2][2],
                               uint32_t lane_table, int unit) {
    const uint32_t weights = weights_ + at_.stage * (Mma::kColumns * kUnitBytes);
#pragma unroll
    for (int r = 0; r < kRowBlocks; ++r) {
      uint32_t low[8], high[8];
      Lookup<kWidth>(lane_table, codes[r][0][0], codes[r][0][1], unit, low);
      Lookup<kWidth>(lane_table, codes[r][1][0], codes[r][1][1], unit, high);
      if (r == 0) BarrierWait(barriers_.WeightsFull(at_.stage), at_.parity);
      Mma::template Wait<kRowBlocks - 1>();
      if (r == kRowBlocks - 1) FreeWeights();  // of the last unit
      Replace(low_[r], low);
      Replace(high_[r], high);
      Mma::Start(sums_[r], low_[r], high_[r], weights);
    }
    held_ = at_.stage;
    at_.Next(args_.weight_stages);
  }

  template <int kWidth>
  __device__ void RunUnit(const uint32_t (&codes)[kRowBlocks][2][2],
                          uint32_t lane_table, int unit) {
    uint32_t low[kRowBlocks][8], high[kRowBlocks][8];
#pragma unroll
    for (int r = 0; r < kRowBlocks; ++r) {
      Lookup<kWidth>(lane_table, codes[r][0][0], codes[r][0][1], unit, low[r]);
      Lookup<kWidth>(lane_table, codes[r][1][0], codes[r][1][1], unit, high[r]);
    }
    BarrierWait(barriers_.WeightsFull(at_.stage), at_.parity);
    Mma::Multiply(sums_, low, high, weights_ + at_.stage * (Mma::kColumns * kUnitBytes),
                  lane_);
    held_ = at_.stage;
    FreeWeights();
    at_.Next(args_.weight_stages);
  }

  // words = by. The compiler takes operand registers for free as soon as a
  // multiplication has been started; a plain copy it would elide, and so look up
  // straight into registers that are still being read. A selection whose outcome it
  // cannot know keeps the old words alive up to here. (`stride` is never zero.)
  __device__ void Replace(uint32_t (&words)[8], const uint32_t (&by)[8]) {
#pragma unroll
    for (int i = 0; i < 8; ++i)
      asm volatile(
          "{\n"
          ".reg .pred always;\n"
          "setp.ne.s32 always, %2, 0;\n"
          "selp.b32 %0, %1, %0, always;\n"
          "}"
          : "+r"(words[i])
          : "r"(by[i]), "r"(args_.stride)
          : "memory");
  }

  __device__ void FreeWeights() {
    if (held_ < 0) return;
    __syncwarp();
    if (lane_ < kWarpArrivals) BarrierArrive(barriers_.WeightsFree(held_));
    held_ = -1;
  }

  __device__ void Finish() {
    if constexpr (Mma::kAsync) Mma::template Wait<0>();
    FreeWeights();
  }

  __device__ void Clear() {
#pragma unroll
    for (int r = 0; r < kRowBlocks; ++r)
#pragma unroll
      for (int i = 0; i < Mma::kColumns / 2; ++i) sums_[r][i] = 0;
  }

  __device__ void ShiftPlane() {
    Finish();
#pragma unroll
    for (int r = 0; r < kRowBlocks; ++r)
#pragma unroll
      for (int i = 0; i < Mma::kColumns / 2; ++i)
        sums_[r][i] = static_cast<int>(static_cast<uint32_t>(sums_[r][i]) << 8);
  }

  __device__ void Store(int tile) {
    const int column_tile = tile / args_.row_tiles;
    const int pixel = (tile - column_tile * args_.row_tiles) * kRows + row_;
    const TileColumns columns =
        ColumnsOfTile(args_.first_tile + column_tile, args_.tiles_per_group,
                      args_.out_c_per_group, Mma::kColumns);
    const int first = columns.begin + lane_ % 4 * 2;
    const bool pairs = args_.out_c % 2 == 0 && columns.begin % 2 == 0;
#pragma unroll
    for (int r = 0; r < kRowBlocks; ++r)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int p = pixel + r * 64 + i * 8;
        if (p >= args_.geometry.pixels) continue;
        int32_t* row = args_.out + int64_t{p} * args_.out_c;
#pragma unroll
        for (int j = 0; j < Mma::kColumns / 8; ++j) {
          const int o = first + 8 * j;
          if (o >= columns.end) continue;
          int2 sum = make_int2(sums_[r][4 * j + 2 * i], sums_[r][4 * j + 2 * i + 1]);
          if (args_.bias != nullptr) {
            sum.x += args_.bias[o];
            if (o + 1 < columns.end) sum.y += args_.bias[o + 1];
          }
          if (pairs && o + 1 < columns.end) {
            *reinterpret_cast<int2*>(row + o) = sum;
          } else {
            row[o] = sum.x;
            if (o + 1 < columns.end) row[o + 1] = sum.y;
          }
        }
      }
  }

  const KernelArgs& args_;
  const TensorCorePasses& passes_;
  const Barriers& barriers_;
  uint8_t* tables_;
  uint32_t weights_;
  int thread_, lane_, row_;
  uint32_t codes_;
  int chunks_;  // of a pass
  RingPosition code_at_, at_;
  int held_ = -1;                          // stage of the last unit, not yet given back
  int chunks_left_ = 0, fetched_ = 0;      // to be fetched; of this pass, fetched
  uint32_t next_codes_[kRowBlocks][2][2];  // (row block, row g or g + 8, half of chunk)
  typename Mma::Accumulators sums_[kRowBlocks];
  uint32_t low_[kRowBlocks][8] = {}, high_[kRowBlocks][8] = {};
};

// One block per multiprocessor: shared memory and registers are cut for that.
template <class Mma, class Split>
__global__ void __launch_bounds__(Split::kThreads + Mma::template kProducers<Split>, 1)
    TensorCoreConv(const __grid_constant__ KernelArgs args) {
  extern __shared__ __align__(1024) uint8_t shared[];
  constexpr int kRows = Split::kRows;
  const SharedLayout layout =
      LayoutOf(args.slots, args.weight_stages, args.code_stages, Mma::kColumns, kRows);
  const Barriers barriers = {SharedAddress(shared + layout.barriers)};
  if (threadIdx.x == 0) {
    for (int s = 0; s < args.weight_stages; ++s) {
      BarrierInit(barriers.WeightsFull(s), Mma::kBulkCopy ? 1 : 32);
      BarrierInit(barriers.WeightsFree(s), Split::kThreads / 32 * kWarpArrivals);
    }
    for (int s = 0; s < args.code_stages; ++s) {
      BarrierInit(barriers.CodesFull(s), Split::kCodeThreads);
      BarrierInit(barriers.CodesFree(s), Split::kThreads / 32 * kWarpArrivals);
    }
    FenceBarrierInit();
    MakePasses(LoadWords(args.planes, args.words, args.stride), args.slots,
               reinterpret_cast<TensorCorePasses*>(shared + layout.passes));
  }
  __syncthreads();

  if (threadIdx.x < Split::kThreads) {
    Mma::template TakeRegisters<Split::kGroups>();
    Consumer<Mma, Split>(args, barriers, shared, layout, threadIdx.x).Run();
  } else {
    Mma::template GiveRegisters<Split::kGroups>();
    const int thread = threadIdx.x - Split::kThreads;
    const auto& passes =
        *reinterpret_cast<const TensorCorePasses*>(shared + layout.passes);
    if (thread < Split::kCodeThreads) {
      ProduceCodes<Split>(args, passes, barriers, SharedAddress(shared + layout.codes),
                          reinterpret_cast<PixelOrigin*>(shared + layout.origins),
                          thread);
    } else if (thread < Split::kCodeThreads + 32) {
      ProduceWeights<Mma>(args, passes, barriers,
                          SharedAddress(shared + layout.weights), thread % 32);
    }
  }
}

// How the host starts it.
struct KernelLaunch {
  int blocks, shared_bytes;
  int shared_limit;  // of the device
  bool early;        // may start before the last kernel of the stream has finished
  cudaStream_t stream;
};

template <class Mma, class Split>
cudaError_t LaunchKernel(const KernelArgs& args, const KernelLaunch& launch) {
  const auto kernel = TensorCoreConv<Mma, Split>;
  // The device's limit, not what this launch takes: the attribute is the function's,
  // and another thread may set it for a launch of its own before this one.
  const cudaError_t error = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, launch.shared_limit);
  if (error != cudaSuccess) return error;
  cudaLaunchConfig_t config = {};
  config.gridDim = launch.blocks;
  config.blockDim = Split::kThreads + Mma::template kProducers<Split>;
  config.dynamicSmemBytes = launch.shared_bytes;
  config.stream = launch.stream;
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &attribute;
  config.numAttrs = launch.early ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, args);
}

// Each in a file of its own: they are compiled for different architectures.
cudaError_t LaunchWgmmaKernel(const TensorCoreChoice& choice, const KernelArgs& args,
                              const KernelLaunch& launch);
cudaError_t LaunchMmaSyncKernel(const TensorCoreChoice& choice, const KernelArgs& args,
                                const KernelLaunch& launch);

}  // namespace axjax
