// SPDX-License-Identifier: Apache-2.0
// Checks engine `cuda_texture` against the naive kernel, and that one against the CPU's
// specification, on random tables, codes and geometries; then times it at named layers.
//
//   nvcc -O3 -std=c++17 -I xla_ffi -gencode=arch=compute_90,code=sm_90 \
//     xla_ffi/cuda/{check_texture,texture,reference,table_textures}.cu \
//     xla_ffi/cpu/reference.cc -o check_texture
//
//   check_texture         checks and times
//   check_texture check   checks; `check 40` takes 40 random geometries in place of 400
//   check_texture time    times
//   check_texture tune    times other tilings
//
// Also for `compute-sanitizer --tool memcheck check_texture check 40`, and for
// racecheck. Exit status 1 if anything differs.
#include <cuda_runtime.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cpu/reference.h"
#include "cpu/workers.h"
#include "cuda/reference.h"
#include "cuda/texture.h"

namespace axjax {
namespace {

void Require(cudaError_t error, const char* doing) {
  if (error == cudaSuccess) return;
  std::printf("%s: %s\n", doing, cudaGetErrorString(error));
  std::exit(1);
}

void Require(const LaunchStatus& status) {
  if (status.ok()) return;
  std::printf("launch failed: %s\n", status.text.c_str());
  std::exit(1);
}

// Device memory whose contents begin `offset` bytes behind an allocation's beginning.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t size, size_t offset = 0) : size_(size), offset_(offset) {
    Require(cudaMalloc(&begin_, std::max<size_t>(1, size * sizeof(T) + offset)),
            "cudaMalloc");
  }
  explicit DeviceArray(const std::vector<T>& values, size_t offset = 0)
      : DeviceArray(values.size(), offset) {
    Write(values);
  }
  ~DeviceArray() { cudaFree(begin_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() const {
    return reinterpret_cast<T*>(static_cast<uint8_t*>(begin_) + offset_);
  }
  void Write(const std::vector<T>& values) {
    Require(cudaMemcpy(data(), values.data(), values.size() * sizeof(T),
                       cudaMemcpyHostToDevice),
            "copying to the device");
  }
  void Poison() { Require(cudaMemset(data(), 0xA5, size_ * sizeof(T)), "cudaMemset"); }
  std::vector<T> Read() const {
    std::vector<T> values(size_);
    Require(cudaDeviceSynchronize(), "running");
    Require(
        cudaMemcpy(values.data(), data(), size_ * sizeof(T), cudaMemcpyDeviceToHost),
        "copying from the device");
    return values;
  }

 private:
  size_t size_, offset_;
  void* begin_ = nullptr;
};

using Random = std::mt19937;

int64_t Between(Random& random, int64_t low, int64_t high) {
  return low + static_cast<int64_t>(random() % static_cast<uint32_t>(high - low + 1));
}

template <typename T>
std::vector<T> RandomValues(Random& random, size_t size) {
  std::vector<T> values(size);
  for (T& v : values) v = static_cast<T>(random());
  return values;
}

// A convolution by the sizes that people name; output sizes follow.
ConvGeometry Conv(int64_t batch, std::array<int64_t, 3> in, int64_t in_c,
                  std::array<int64_t, 3> kernel, int64_t out_c, int64_t groups = 1,
                  std::array<int64_t, 3> stride = {1, 1, 1},
                  std::array<int64_t, 3> pad_low = {0, 0, 0},
                  std::array<int64_t, 3> pad_high = {0, 0, 0},
                  std::array<int64_t, 3> in_dilation = {1, 1, 1},
                  std::array<int64_t, 3> kernel_dilation = {1, 1, 1}) {
  ConvGeometry g = {};
  g.batch = batch;
  g.in_c = in_c;
  g.out_c = out_c;
  g.groups = groups;
  for (int d = 0; d < 3; ++d) {
    g.in[d] = in[d];
    g.kernel[d] = kernel[d];
    g.stride[d] = stride[d];
    g.pad_low[d] = pad_low[d];
    g.in_dilation[d] = in_dilation[d];
    g.kernel_dilation[d] = kernel_dilation[d];
    const int64_t dilated = in[d] == 0 ? 0 : (in[d] - 1) * in_dilation[d] + 1;
    const int64_t padded = std::max<int64_t>(0, dilated + pad_low[d] + pad_high[d]);
    const int64_t window =
        kernel[d] == 0 ? 0 : (kernel[d] - 1) * kernel_dilation[d] + 1;
    g.out[d] = std::max<int64_t>(0, (padded - window) / stride[d] + 1);
    if (padded < window) g.out[d] = 0;
  }
  return g;
}

ConvGeometry Same2d(int64_t batch, int64_t size, int64_t in_c, int64_t kernel,
                    int64_t out_c, int64_t groups = 1, int64_t stride = 1) {
  const int64_t pad = kernel / 2;
  return Conv(batch, {1, size, size}, in_c, {1, kernel, kernel}, out_c, groups,
              {1, stride, stride}, {0, pad, pad}, {0, pad, pad});
}

ConvGeometry Dot(int64_t rows, int64_t depth, int64_t columns) {
  return Conv(rows, {1, 1, 1}, depth, {1, 1, 1}, columns);
}

// Odd on purpose: sizes one off a tile's, strides beyond the kernel, crops, holes.
ConvGeometry RandomConv(Random& random) {
  const auto pick = [&](std::initializer_list<int64_t> of) {
    return of.begin()[random() % of.size()];
  };
  const int64_t groups = pick({1, 1, 1, 2, 3, 5, 16, 33, 64, 80});
  const int64_t channels =
      groups > 5 ? pick({1, 1, 1, 2, 4}) : pick({0, 1, 2, 3, 4, 7, 16, 17, 32, 48, 65});
  const int64_t outputs = groups > 5 ? pick({1, 1, 2, 3, 4})
                                     : pick({1, 2, 3, 10, 16, 17, 33, 64, 65, 68, 130});
  std::array<int64_t, 3> in, kernel, stride, low, high, in_dilation, kernel_dilation;
  for (int d = 0; d < 3; ++d) {
    const bool flat = d == 0 && random() % 2;
    in[d] = flat ? 1 : Between(random, 1, 9);
    kernel[d] = flat ? 1 : Between(random, 1, 3);
    stride[d] = Between(random, 1, 3) * Between(random, 1, 2);
    low[d] = Between(random, -1, 3);
    high[d] = Between(random, -1, 3);
    in_dilation[d] = pick({1, 1, 2, 3});
    kernel_dilation[d] = pick({1, 1, 2, 3});
  }
  return Conv(Between(random, 0, 5), in, groups * channels, kernel, groups * outputs,
              groups, stride, low, high, in_dilation, kernel_dilation);
}

std::string Describe(const ConvGeometry& g) {
  const auto three = [](const int64_t (&v)[3]) {
    return "(" + std::to_string(v[0]) + " " + std::to_string(v[1]) + " " +
           std::to_string(v[2]) + ")";
  };
  return "batch " + std::to_string(g.batch) + " in " + three(g.in) + " channels " +
         std::to_string(g.in_c) + " kernel " + three(g.kernel) + " outputs " +
         std::to_string(g.out_c) + " groups " + std::to_string(g.groups) + " out " +
         three(g.out) + " stride " + three(g.stride) + " pad_low " + three(g.pad_low) +
         " in_dilation " + three(g.in_dilation) + " kernel_dilation " +
         three(g.kernel_dilation);
}

size_t LhsSize(const ConvGeometry& g) {
  return g.batch * g.in[0] * g.in[1] * g.in[2] * g.in_c;
}
size_t RhsSize(const ConvGeometry& g) { return g.depth() * g.out_c; }
size_t OutSize(const ConvGeometry& g) { return g.pixels() * g.out_c; }

int failures = 0;
int64_t compared = 0;

void Compare(const char* what, const ConvGeometry& g, const std::vector<int32_t>& got,
             const std::vector<int32_t>& want) {
  ++compared;
  for (size_t i = 0; i < want.size(); ++i) {
    if (got[i] == want[i]) continue;
    ++failures;
    std::printf("%s differs at pixel %lld, output %lld: %d, not %d; %s\n", what,
                static_cast<long long>(i / g.out_c),
                static_cast<long long>(i % g.out_c), got[i], want[i],
                Describe(g).c_str());
    return;
  }
}

// One geometry: CPU = naive kernel = texture kernel, the latter in several tilings,
// without a texture, and with every kind of load of the codes.
template <typename Entry>
void CheckConv(Random& random, const ConvGeometry& g, TableTextures& textures) {
  constexpr size_t kOffset = 64;  // of the workspace: as XLA may place it
  std::vector<Entry> entries = RandomValues<Entry>(random, kTableSize);
  const std::vector<uint8_t> lhs = RandomValues<uint8_t>(random, LhsSize(g));
  const std::vector<uint8_t> rhs = RandomValues<uint8_t>(random, RhsSize(g));
  const std::vector<uint8_t> pad = RandomValues<uint8_t>(random, 1);
  const DeviceArray<Entry> table(entries);
  const DeviceArray<uint8_t> codes(lhs), codes_by_4(lhs, 4), codes_by_1(lhs, 1);
  const DeviceArray<uint8_t> weights(rhs), weights_by_1(rhs, 1), pad_code(pad);
  DeviceArray<int32_t> out(OutSize(g));
  DeviceArray<uint8_t> workspace(TextureWorkspaceBytes(sizeof(Entry)), kOffset);
  LutConvOperands<Entry> a = {codes.data(),
                              weights.data(),
                              table.data(),
                              pad_code.data(),
                              out.data(),
                              workspace.data(),
                              TextureWorkspaceBytes(sizeof(Entry))};

  out.Poison();
  Require(LaunchReference(g, a, nullptr));
  const std::vector<int32_t> want = out.Read();
  if (g.depth() * static_cast<int64_t>(want.size()) < 2000000) {
    std::vector<int32_t> specified(want.size());
    SerialWorkers serial;
    LutConvReference(g, lhs.data(), rhs.data(), entries.data(), pad[0],
                     specified.data(), serial);
    Compare("naive kernel", g, want, specified);
  }
  const auto check = [&](const char* what, TableTextures& cache,
                         TileTuning tuning = TextureTuning<Entry>()) {
    out.Poison();
    Require(LaunchTextureAs(g, a, nullptr, cache, tuning));
    Compare(what, g, out.Read(), want);
  };
  check("texture", textures);
  TileTuning narrow;
  narrow.threads = 32;
  narrow.stage_bytes = 256;
  check("texture, one warp, short chunks", textures, narrow);
  TileTuning wide;
  wide.threads = 256;
  wide.columns = 64;
  check("texture, many threads and columns", textures, wide);
  TableTextures full(0);
  check("full cache", full);
  a.lhs = codes_by_4.data();
  check("texture, codes by words", textures);
  a.lhs = codes_by_1.data();
  a.rhs = weights_by_1.data();
  check("texture, codes and weights by bytes", textures);
}

std::vector<ConvGeometry> ChosenConvs() {
  return {
      Same2d(2, 8, 64, 3, 128),
      Same2d(3, 9, 3, 3, 16),
      Same2d(2, 7, 17, 3, 17),
      Same2d(2, 7, 16, 1, 10),
      Same2d(1, 12, 64, 3, 1),
      Same2d(2, 10, 96, 3, 96, 96),      // depthwise, two tiles of groups
      Same2d(2, 10, 96, 3, 192, 96, 2),  // with a multiplier
      Same2d(1, 6, 67, 5, 67, 67),
      Same2d(2, 6, 128, 3, 128, 32),  // ResNeXt
      Same2d(2, 6, 130, 3, 195, 65),  // two channels and three outputs a group
      Dot(77, 300, 65),
      Dot(1, 1000, 10),
      Dot(5, 0, 7),
      Dot(0, 5, 7),
      Dot(513, 1, 1),
      Conv(2, {5, 6, 7}, 5, {2, 3, 2}, 9, 1, {2, 1, 3}, {-1, 2, 0}, {3, -2, 1}),
      Conv(1, {1, 1, 40}, 6, {1, 1, 7}, 12, 3, {1, 1, 2}, {0, 0, 9}, {0, 0, 1},
           {1, 1, 3}, {1, 1, 2}),
      Conv(1, {0, 4, 4}, 3, {1, 1, 1}, 4, 1, {1, 1, 1}, {2, 0, 0}, {1, 0, 0}),
      Conv(1, {1, 2, 2}, 3, {1, 3, 3}, 4),  // no output
  };
}

// What XLA does with a handler that it may capture: record once, replay. The texture is
// made during the capture; a new table behind the same address must be seen.
void CheckGraph(Random& random, cudaStreamCaptureMode mode) {
  const ConvGeometry g = Same2d(2, 9, 16, 3, 24);
  const DeviceArray<uint8_t> lhs(RandomValues<uint8_t>(random, LhsSize(g)));
  const DeviceArray<uint8_t> rhs(RandomValues<uint8_t>(random, RhsSize(g)));
  const DeviceArray<uint8_t> pad(RandomValues<uint8_t>(random, 1));
  DeviceArray<uint16_t> table(RandomValues<uint16_t>(random, kTableSize), 256);
  DeviceArray<int32_t> out(OutSize(g));
  const DeviceArray<uint8_t> workspace(TextureWorkspaceBytes(2));
  const LutConvOperands<uint16_t> a = {lhs.data(),
                                       rhs.data(),
                                       table.data(),
                                       pad.data(),
                                       out.data(),
                                       workspace.data(),
                                       TextureWorkspaceBytes(2)};
  TableTextures textures;
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  Require(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream");
  Require(cudaStreamBeginCapture(stream, mode), "beginning a capture");
  const LaunchStatus status = LaunchTextureAs(g, a, stream, textures, TileTuning{});
  if (!status.ok() || textures.size() != 1) {
    ++failures;
    std::printf("capture: %s\n", status.text.c_str());
    cudaStreamEndCapture(stream, &graph);
    cudaGetLastError();
    return;
  }
  Require(cudaStreamEndCapture(stream, &graph), "ending a capture");
  Require(cudaGraphInstantiate(&executable, graph, 0), "instantiating");
  for (int i = 0; i < 3; ++i) {
    table.Write(RandomValues<uint16_t>(random, kTableSize));
    out.Poison();
    Require(LaunchReference(g, a, stream));
    Require(cudaStreamSynchronize(stream), "running");
    const std::vector<int32_t> want = out.Read();
    out.Poison();
    Require(cudaDeviceSynchronize(), "poisoning");
    Require(cudaGraphLaunch(executable, stream), "replaying");
    Compare("replayed graph", g, out.Read(), want);
  }
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

void CheckRefusals() {
  const auto expect = [](const char* what, const LaunchStatus& status) {
    ++compared;
    if (status.kind == LaunchStatus::kInvalidArgument) return;
    ++failures;
    std::printf("%s was not refused\n", what);
  };
  LutConvOperands<int32_t> a = {};
  expect("a missing workspace", LaunchTexture(Dot(4, 4, 4), a, nullptr));
  expect("a depth beyond 2**30",
         LaunchTexture(Dot(1, int64_t{1} << 31, 1), a, nullptr));
  expect("too many tiles",
         LaunchTexture(Conv(1 << 20, {1, 1 << 20, 1}, 1, {1, 1, 1}, 1), a, nullptr));
}

void CheckAll(int random_convs) {
  Random random(20260801);
  TableTextures textures;
  std::vector<ConvGeometry> convs = ChosenConvs();
  while (random_convs-- > 0) convs.push_back(RandomConv(random));
  int64_t with_output = 0;
  for (const ConvGeometry& g : convs) {
    with_output += OutSize(g) > 0;
    CheckConv<uint16_t>(random, g, textures);
    CheckConv<int16_t>(random, g, textures);
    CheckConv<int32_t>(random, g, textures);
  }
  CheckGraph(random, cudaStreamCaptureModeThreadLocal);
  CheckGraph(random, cudaStreamCaptureModeGlobal);
  CheckRefusals();
  std::printf("%zu geometries (%lld with outputs), %lld comparisons, %d failures\n",
              convs.size(), static_cast<long long>(with_output),
              static_cast<long long>(compared), failures);
}

// ---- timing

struct Layer {
  const char* name;
  ConvGeometry geometry;
};

std::vector<Layer> Layers() {
  return {
      {"(65536, 1152, 128) as a 3x3 conv", Same2d(64, 32, 128, 3, 128)},
      {"(65536, 1152, 128) as a product", Dot(65536, 1152, 128)},
      {"3x3, 64 to 64", Same2d(256, 32, 64, 3, 64)},
      {"3x3, 3 to 64", Same2d(1024, 32, 3, 3, 64)},
      {"ResNet-20: 3x3, 3 to 16", Same2d(2048, 32, 3, 3, 16)},
      {"ResNet-20: 3x3, 16 to 16", Same2d(1024, 32, 16, 3, 16)},
      {"ResNet-20: 3x3, 64 to 64", Same2d(1024, 8, 64, 3, 64)},
      {"3x3, 17 to 17", Same2d(512, 32, 17, 3, 17)},
      {"1x1, 64 to 10", Same2d(1024, 32, 64, 1, 10)},
      {"3x3, 64 to 1", Same2d(1024, 32, 64, 3, 1)},
      {"3x3, 513 to 1", Same2d(128, 32, 513, 3, 1)},
      {"MobileNet: 1x1, 512 to 512", Same2d(128, 14, 512, 1, 512)},
      {"MobileNet: depthwise 3x3, 512", Same2d(512, 14, 512, 3, 512, 512)},
      {"depthwise 3x3, 67", Same2d(512, 32, 67, 3, 67, 67)},
      {"32 groups of 4 to 4, 3x3", Same2d(256, 28, 128, 3, 128, 32)},
      {"fully connected, 256 x 4096 x 1000", Dot(256, 4096, 1000)},
      {"one image: 3x3, 64 to 64", Same2d(1, 32, 64, 3, 64)},
  };
}

__global__ void Spin(long long clocks) {
  const long long begin = clock64();
  while (clock64() - begin < clocks) {
  }
}

class Timer {
 public:
  Timer() {
    Require(cudaEventCreate(&begin_), "making an event");
    Require(cudaEventCreate(&end_), "making an event");
  }
  template <typename Run>
  double Milliseconds(const Run& run) {
    Require(cudaEventRecord(begin_), "recording");
    run();
    Require(cudaEventRecord(end_), "recording");
    Require(cudaEventSynchronize(end_), "running");
    float ms = 0;
    Require(cudaEventElapsedTime(&ms, begin_, end_), "reading a time");
    return ms;
  }

 private:
  cudaEvent_t begin_, end_;
};

struct Timing {
  double least, median;
};

class Bench {
 public:
  Bench() {
    int device = 0, l2 = 0;
    Require(cudaGetDevice(&device), "asking for the device");
    cudaDeviceProp properties;
    Require(cudaGetDeviceProperties(&properties, device), "asking for the device");
    multiprocessors_ = properties.multiProcessorCount;
    Require(cudaDeviceGetAttribute(&l2, cudaDevAttrL2CacheSize, device),
            "asking for L2");
    flush_ = std::make_unique<DeviceArray<uint8_t>>(2 * static_cast<size_t>(l2));
    constexpr long long kClocks = 50000000;
    Spin<<<1, 1>>>(kClocks);
    clock_hz_ = kClocks / timer_.Milliseconds([] { Spin<<<1, 1>>>(kClocks); }) * 1e3;
    std::printf("%s, %d multiprocessors at %.0f MHz: bound %.3f T fetches/s\n",
                properties.name, multiprocessors_, clock_hz_ / 1e6, Bound() / 1e12);
  }
  double Bound() const { return 4.0 * multiprocessors_ * clock_hz_; }

  // Every run begins with a cold L2 cache.
  template <typename Run>
  Timing Time(const Run& run, int runs) {
    run();
    std::vector<double> ms;
    for (int i = 0; i < runs; ++i) {
      flush_->Poison();
      ms.push_back(timer_.Milliseconds(run));
    }
    std::sort(ms.begin(), ms.end());
    return {ms.front(), ms[ms.size() / 2]};
  }

  template <typename Entry>
  void Row(const char* name, const ConvGeometry& g, const TileTuning& tuning,
           TableTextures& textures, bool naive = false) {
    Random random(1);
    const DeviceArray<uint8_t> lhs(RandomValues<uint8_t>(random, LhsSize(g)));
    const DeviceArray<uint8_t> rhs(RandomValues<uint8_t>(random, RhsSize(g)));
    const DeviceArray<uint8_t> pad(RandomValues<uint8_t>(random, 1));
    const DeviceArray<Entry> table(RandomValues<Entry>(random, kTableSize));
    DeviceArray<int32_t> out(OutSize(g));
    const DeviceArray<uint8_t> workspace(TextureWorkspaceBytes(sizeof(Entry)));
    const LutConvOperands<Entry> a = {lhs.data(),
                                      rhs.data(),
                                      table.data(),
                                      pad.data(),
                                      out.data(),
                                      workspace.data(),
                                      TextureWorkspaceBytes(sizeof(Entry))};
    out.Poison();
    Require(LaunchReference(g, a, nullptr));
    const std::vector<int32_t> want = out.Read();
    out.Poison();
    const auto run = [&] {
      Require(naive ? LaunchReference(g, a, nullptr)
                    : LaunchTextureAs(g, a, nullptr, textures, tuning));
    };
    run();
    Compare(name, g, out.Read(), want);
    const Timing t = Time(run, 9);
    const double products = static_cast<double>(g.depth()) * OutSize(g);
    const TilePlan p =
        MakeTilePlan(g, lhs.data(), rhs.data(), multiprocessors_, tuning);
    std::printf(
        "%-36s %2zu-bit %7.3f ms (least %7.3f) %6.3f T/s %5.1f %% | %3d threads, %3d "
        "pixels x %2d outputs, chunk %3d, %5d B, loads %d/%d\n",
        name, 8 * sizeof(Entry), t.median, t.least, products / t.median / 1e9,
        100 * products / t.median * 1e3 / Bound(), p.threads, p.pixels(), p.columns,
        p.chunk, p.shared_bytes(), p.code_step, p.weight_step);
    std::fflush(stdout);
  }

 private:
  int multiprocessors_ = 0;
  double clock_hz_ = 0;
  Timer timer_;
  std::unique_ptr<DeviceArray<uint8_t>> flush_;
};

void TimeAll() {
  Bench bench;
  TableTextures textures, none(0);
  const std::vector<Layer> layers = Layers();
  for (const Layer& layer : layers)
    bench.Row<uint16_t>(layer.name, layer.geometry, TextureTuning<uint16_t>(),
                        textures);
  const ConvGeometry& g = layers[0].geometry;
  bench.Row<int16_t>("the first, signed", g, TextureTuning<int16_t>(), textures);
  bench.Row<int32_t>("the first", g, TextureTuning<int32_t>(), textures);
  bench.Row<uint16_t>("the first, full cache of textures", g, {}, none);
  bench.Row<uint16_t>("the first, naive kernel", g, {}, none, true);
}

template <typename Entry>
void TuneLayer(Bench& bench, const Layer& layer) {
  TableTextures textures;
  for (const int threads : {64, 128, 192})
    for (const int columns : {8, 16, 32, 64})
      for (const int stage_bytes : {6144, 12288}) {
        TileTuning tuning;
        tuning.threads = threads;
        tuning.columns = columns;
        tuning.stage_bytes = stage_bytes;
        bench.Row<Entry>(layer.name, layer.geometry, tuning, textures);
      }
}

void Tune() {
  Bench bench;
  for (const size_t i : {0, 3, 8, 12}) TuneLayer<uint16_t>(bench, Layers()[i]);
  TuneLayer<int32_t>(bench, Layers()[0]);
}

}  // namespace
}  // namespace axjax

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what.empty() || what == "check")
    axjax::CheckAll(argc > 2 ? std::atoi(argv[2]) : 400);
  if (what.empty() || what == "time") axjax::TimeAll();
  if (what == "tune") axjax::Tune();
  return axjax::failures == 0 ? 0 : 1;
}
