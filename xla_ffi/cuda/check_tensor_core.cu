// SPDX-License-Identifier: Apache-2.0
// Checks the tensor-core engine against a loop over the table, bit for bit, and times
// it.
//
//   check_tensor_core                checks, then the table of timings
//   check_tensor_core check|brief    checks only; brief: few and small, for a sanitizer
//   check_tensor_core time           timings of what the engine chooses
//   check_tensor_core variants       timings of every kernel variant
//   check_tensor_core once TERMS     two launches of the first shape, for a profiler
//   check_tensor_core steady TERMS   launches for two seconds: clocks settle
//
//   nvcc -O3 -std=c++17 -I xla_ffi -gencode=arch=compute_90a,code=sm_90a \
//     xla_ffi/cuda/{check_tensor_core,tensor_core,tensor_core_sm80,tensor_core_sm90}.cu
//
// and -DAXJAX_EVERY_LANE_ARRIVES for racecheck: tensor_core_kernel.cuh says why.
//
// Outputs are poisoned before each run. Exit code 1 if anything differs.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "conv_geometry.h"
#include "cuda/tensor_core.h"
#include "table.h"

namespace axjax {
namespace {

void Check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t size) : size_(size) {
    Check(cudaMalloc(&data_, std::max<size_t>(1, size) * sizeof(T)), "cudaMalloc");
  }
  explicit DeviceArray(const std::vector<T>& host) : DeviceArray(host.size()) {
    Check(cudaMemcpy(data_, host.data(), size_ * sizeof(T), cudaMemcpyHostToDevice),
          "copy to device");
  }
  DeviceArray(const DeviceArray&) = delete;
  ~DeviceArray() { cudaFree(data_); }
  T* get() const { return data_; }
  void Poison() { Check(cudaMemset(data_, 0xA5, size_ * sizeof(T)), "poison"); }

 private:
  T* data_ = nullptr;
  size_t size_;
};

// The specification: one thread an output, one table entry a product.
__global__ void LoopOverTable(ConvGeometry g, int64_t channels, const uint8_t* lhs,
                              const uint8_t* rhs, const uint32_t* table,
                              const uint8_t* pad, int32_t* out) {
  const int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (i >= g.pixels() * g.out_c) return;
  const int64_t o = i % g.out_c, group = o / g.out_c_per_group();
  int64_t pixel = i / g.out_c, at[3];
  for (int d = 2; d >= 0; --d) at[d] = pixel % g.out[d], pixel /= g.out[d];
  uint32_t sum = 0;
  int64_t k = 0;
  for (int64_t a = 0; a < g.kernel[0]; ++a)
    for (int64_t b = 0; b < g.kernel[1]; ++b)
      for (int64_t c = 0; c < g.kernel[2]; ++c) {
        const int64_t z = g.InputIndex(0, at[0], a), y = g.InputIndex(1, at[1], b),
                      x = g.InputIndex(2, at[2], c);
        const bool inside = z >= 0 && y >= 0 && x >= 0;
        const uint8_t* from =
            lhs + (((pixel * g.in[0] + z) * g.in[1] + y) * g.in[2] + x) * g.in_c +
            group * g.in_c_per_group();
        for (int64_t ch = 0; ch < channels; ++ch, ++k)
          sum += table[TableIndex(inside ? from[ch] : *pad, rhs[k * g.out_c + o])];
      }
  out[i] = static_cast<int32_t>(sum);
}

__global__ void CountDifferences(const int32_t* a, const int32_t* b, int64_t size,
                                 unsigned long long* count) {
  const int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (i < size && a[i] != b[i]) atomicAdd(count, 1ull);
}

std::mt19937 generator(20201);

template <typename T>
std::vector<T> Random(size_t size) {
  std::vector<T> values(size);
  for (T& v : values) v = static_cast<T>(generator() >> 7);
  return values;
}

// Random factors over the whole int8 range, and the table that they stand for.
struct Factored {
  TableFactors factors = {};
  std::vector<int8_t> u, v;
  std::vector<int32_t> beta, words;
  std::vector<uint32_t> table;

  // `room`: terms that each plane has room for, at least.
  Factored(std::vector<int> terms, bool with_beta, int room = 4) {
    factors.planes = static_cast<int>(terms.size());
    factors.stride = room;
    for (int& t : terms) {
      words.push_back((t + 3) / 4);
      t = words.back() * 4;
      factors.stride = std::max(factors.stride, t);
    }
    const size_t stride = factors.stride;
    u = Random<int8_t>(terms.size() * 256 * stride);  // beyond `terms`: to be ignored
    v = Random<int8_t>(terms.size() * 256 * stride);
    beta = with_beta ? Random<int32_t>(256) : std::vector<int32_t>();
    table.assign(kTableSize, 0);
    for (int x = 0; x < 256; ++x)
      for (int w = 0; w < 256; ++w) {
        uint32_t entry = 0;
        for (size_t p = terms.size(); p-- > 0;) {
          entry *= 256;
          for (int r = 0; r < terms[p]; ++r)
            entry += static_cast<uint32_t>(u[(p * 256 + x) * stride + r] *
                                           v[(p * 256 + w) * stride + r]);
        }
        if (with_beta) entry += static_cast<uint32_t>(beta[w]);
        table[TableIndex(static_cast<uint8_t>(x), static_cast<uint8_t>(w))] = entry;
      }
  }
};

struct Shape {
  int64_t batch, in[3], in_c, kernel[3], out_c, stride[3], pad[3], in_dilation[3],
      kernel_dilation[3], groups;
};

Shape Conv2D(int64_t batch, int64_t h, int64_t w, int64_t c, int64_t k, int64_t o,
             int64_t stride = 1, int64_t pad = 0, int64_t groups = 1) {
  return {batch,         {1, h, w}, c,         {1, k, k}, o, {1, stride, stride},
          {0, pad, pad}, {1, 1, 1}, {1, 1, 1}, groups};
}

// As many outputs as the same padding on both sides gives.
ConvGeometry GeometryOf(const Shape& s) {
  ConvGeometry g = {};
  g.batch = s.batch;
  g.in_c = (s.in_c / s.groups + 3) / 4 * 4 * s.groups;  // whole words
  g.out_c = s.out_c;
  g.groups = s.groups;
  for (int d = 0; d < 3; ++d) {
    g.in[d] = s.in[d];
    g.kernel[d] = s.kernel[d];
    g.stride[d] = s.stride[d];
    g.pad_low[d] = s.pad[d];
    g.in_dilation[d] = s.in_dilation[d];
    g.kernel_dilation[d] = s.kernel_dilation[d];
    const int64_t input = (s.in[d] - 1) * s.in_dilation[d] + 1 + 2 * s.pad[d];
    const int64_t window = (s.kernel[d] - 1) * s.kernel_dilation[d] + 1;
    g.out[d] = input < window ? 0 : (input - window) / s.stride[d] + 1;
  }
  return g;
}

std::string Name(const ConvGeometry& g) {
  char text[256];
  std::snprintf(
      text, sizeof text,
      "%ldx(%ld,%ld,%ld)x%ld kernel (%ld,%ld,%ld) out (%ld,%ld,%ld)x%ld stride %ld "
      "pad %ld groups %ld",
      long(g.batch), long(g.in[0]), long(g.in[1]), long(g.in[2]), long(g.in_c),
      long(g.kernel[0]), long(g.kernel[1]), long(g.kernel[2]), long(g.out[0]),
      long(g.out[1]), long(g.out[2]), long(g.out_c), long(g.stride[2]),
      long(g.pad_low[2]), long(g.groups));
  return text;
}

std::string Name(const TensorCoreChoice& c) {
  char text[64];
  std::snprintf(text, sizeof text, "%s %d columns, %d x %d rows",
                c.warpgroup ? "wgmma" : "mma.sync", c.columns, c.groups,
                64 * c.row_blocks);
  return text;
}

// One convolution with its operands on the device.
struct Problem {
  ConvGeometry g;
  int64_t channels;  // of a group, that have weights
  std::vector<uint8_t> rhs_host;
  DeviceArray<uint8_t> lhs, rhs, pad;
  DeviceArray<int32_t> out;

  explicit Problem(const Shape& s)
      : g(GeometryOf(s)),
        channels(s.in_c / s.groups),
        lhs(Random<uint8_t>(g.batch * g.in[0] * g.in[1] * g.in[2] * g.in_c)),
        rhs(Random<uint8_t>(depth() * g.out_c)),
        pad(Random<uint8_t>(1)),
        out(g.pixels() * g.out_c) {}
  int64_t depth() const { return g.taps() * channels; }
};

// Factors on the device, and a workspace for one problem.
struct Engine {
  TableFactors factors;
  DeviceArray<int8_t> u, v;
  DeviceArray<int32_t> beta, words;
  DeviceArray<uint8_t> workspace;
  TensorCoreBuffers buffers;

  Engine(const Factored& f, const Problem& p, int columns)
      : factors(f.factors),
        u(f.u),
        v(f.v),
        beta(f.beta),
        words(f.words),
        workspace(TensorCoreWorkspaceBytes(p.g, factors, columns)) {
    factors.u = u.get();
    factors.v = v.get();
    factors.words = words.get();
    factors.beta = f.beta.empty() ? nullptr : beta.get();
    buffers = {p.lhs.get(), p.rhs.get(),     p.pad.get(),
               p.out.get(), workspace.get(), p.channels};
  }
};

const TensorCoreChoice kAutomatic = {};

cudaError_t Launch(const TensorCoreChoice& choice, const Problem& p, const Engine& e) {
  if (choice.columns == 0) return LaunchTensorCore(p.g, e.factors, e.buffers, nullptr);
  return LaunchTensorCoreAs(choice, p.g, e.factors, e.buffers, nullptr);
}

// True if all outputs are equal to the specification's.
bool Equal(const TensorCoreChoice& choice, Problem& p, Engine& e, const Factored& f,
           const std::string& name) {
  const int64_t size = p.g.pixels() * p.g.out_c;
  DeviceArray<uint32_t> table(f.table);
  DeviceArray<int32_t> expected(size);
  DeviceArray<unsigned long long> count(std::vector<unsigned long long>(1, 0));
  const unsigned blocks = static_cast<unsigned>((size + 255) / 256);
  if (blocks > 0)
    LoopOverTable<<<blocks, 256>>>(p.g, p.channels, p.lhs.get(), p.rhs.get(),
                                   table.get(), p.pad.get(), expected.get());
  Check(cudaGetLastError(), "LoopOverTable");
  p.out.Poison();
  e.workspace.Poison();
  Check(Launch(choice, p, e), name.c_str());
  if (blocks > 0)
    CountDifferences<<<blocks, 256>>>(p.out.get(), expected.get(), size, count.get());
  Check(cudaDeviceSynchronize(), name.c_str());
  unsigned long long different = 0;
  Check(cudaMemcpy(&different, count.get(), sizeof different, cudaMemcpyDeviceToHost),
        "copy to host");
  if (different == 0) return true;
  std::vector<int32_t> got(size), want(size);
  Check(cudaMemcpy(got.data(), p.out.get(), size * 4, cudaMemcpyDeviceToHost), "copy");
  Check(cudaMemcpy(want.data(), expected.get(), size * 4, cudaMemcpyDeviceToHost),
        "copy");
  const auto at = std::mismatch(got.begin(), got.end(), want.begin());
  std::printf("DIFFERENT %s: %llu of %ld, first at pixel %ld output %ld: %d, not %d\n",
              name.c_str(), different, long(size),
              long((at.first - got.begin()) / p.g.out_c),
              long((at.first - got.begin()) % p.g.out_c), *at.first, *at.second);
  return false;
}

std::vector<TensorCoreChoice> Variants(bool wgmma) {
  std::vector<TensorCoreChoice> all;
  for (const int columns : {128, 64, 32})
    for (const int groups : {2, 4})
      for (const int row_blocks : {1, 2})
        all.push_back({wgmma, columns, groups, row_blocks});
  return all;
}

int CheckAll(bool brief, bool hopper) {
  std::vector<Shape> shapes = {
      Conv2D(2, 9, 7, 16, 3, 20, 1, 1),   // half of the last chunk
      Conv2D(1, 12, 11, 3, 3, 33, 2, 1),  // bytes; odd outputs
      Conv2D(3, 5, 6, 4, 3, 8, 1, 2),     // four bytes at a time
      {2, {5, 6, 7}, 6, {2, 3, 2}, 10, {2, 1, 3}, {1, -1, 2}, {2, 1, 3}, {1, 2, 1}, 2},
  };
  if (!brief) {
    const std::vector<Shape> more = {
        Conv2D(5, 1, 1, 100, 1, 10),             // a matrix product of 5 rows
        Conv2D(1, 1, 1, 1, 1, 1),                // one product
        Conv2D(1, 3, 3, 17, 3, 129, 1, 1),       // one beyond a tile
        Conv2D(4, 16, 16, 32, 3, 64, 1, 1),      // one chunk a tap
        Conv2D(4, 33, 31, 48, 3, 96, 2, 1),      // chunks across taps
        Conv2D(2, 40, 40, 64, 5, 200, 1, 2),     // several tiles, O not of a tile
        Conv2D(2, 14, 14, 24, 1, 40, 3, 0),      // stride > kernel; 24 channels
        Conv2D(2, 14, 14, 64, 3, 128, 1, 1, 4),  // groups of 16 channels
        Conv2D(2, 14, 14, 12, 3, 12, 1, 1, 12),  // depthwise
        Conv2D(1, 64, 64, 128, 3, 256, 1, 1),    // more tiles than blocks at 32 columns
        Conv2D(9, 64, 64, 16, 3, 16, 1, 1),      // more tiles than blocks
        Conv2D(2, 20, 20, 2, 7, 7, 1, 3),        // two channels
        Conv2D(1, 8, 8, 16, 3, 16, 1, -1),       // cropped
        Conv2D(0, 8, 8, 16, 3, 16, 1, 1),        // empty
        {1,
         {1, 20, 20},
         32,
         {1, 3, 3},
         64,
         {1, 1, 1},
         {0, 2, 2},
         {1, 2, 2},
         {1, 1, 1},
         1},  // transposed convolution
        {1,
         {1, 20, 20},
         32,
         {1, 3, 3},
         64,
         {1, 1, 1},
         {0, 4, 4},
         {1, 1, 1},
         {1, 4, 4},
         1},  // dilated kernel
        {2,
         {6, 10, 8},
         32,
         {3, 3, 3},
         48,
         {1, 2, 1},
         {1, 1, 1},
         {1, 1, 1},
         {1, 1, 1},
         1},  // three dimensions
    };
    shapes.insert(shapes.end(), more.begin(), more.end());
  }
  std::vector<Factored> tables;
  tables.emplace_back(std::vector<int>{3}, false, 16);
  tables.emplace_back(std::vector<int>{27, 6}, true);
  if (!brief) {
    tables.emplace_back(std::vector<int>{8}, true, 64);
    tables.emplace_back(std::vector<int>{12}, true, 16);
    tables.emplace_back(std::vector<int>{60, 12}, true, 64);
    tables.emplace_back(std::vector<int>{0}, true, 16);
    tables.emplace_back(std::vector<int>{1, 0, 2}, false);
    tables.emplace_back(std::vector<int>{0, 5, 1, 9}, true);
    tables.emplace_back(std::vector<int>{57}, false);
    tables.emplace_back(std::vector<int>{64, 64}, false);
    tables.emplace_back(std::vector<int>{130}, true);
    tables.emplace_back(std::vector<int>{512, 100}, false);
  }
  int different = 0, run = 0, absent = 0;
  for (const Shape& shape : shapes) {
    Problem p(shape);
    for (const Factored& f : tables) {
      std::vector<TensorCoreChoice> choices = {kAutomatic};
      for (const bool wgmma : {true, false})
        if (!wgmma || hopper)
          for (const TensorCoreChoice& c : Variants(wgmma)) choices.push_back(c);
      for (const TensorCoreChoice& c : choices) {
        Engine e(f, p, c.columns);
        if (Launch(c, p, e) == cudaErrorInvalidValue) {  // not a variant, or too large
          ++absent;
          if (c.columns == 0) std::printf("DIFFERENT: refused\n"), ++different;
          continue;
        }
        std::string name = c.columns ? Name(c) : "automatic";
        name += ", terms";
        for (int i = 0; i < f.factors.planes; ++i)
          name += " " + std::to_string(4 * f.words[i]);
        name += ", " + Name(p.g);
        different += !Equal(c, p, e, f, name);
        ++run;
      }
    }
  }
  std::printf("checked %d runs (%d absent variants): %d differ\n", run, absent,
              different);
  return different;
}

double MedianMs(const TensorCoreChoice& choice, const Problem& p, const Engine& e,
                int repeats) {
  cudaEvent_t begin, end;
  Check(cudaEventCreate(&begin), "event");
  Check(cudaEventCreate(&end), "event");
  for (int i = 0; i < 3; ++i) Check(Launch(choice, p, e), "launch");
  std::vector<float> times;
  for (int i = 0; i < repeats; ++i) {
    Check(cudaEventRecord(begin), "record");
    Check(Launch(choice, p, e), "launch");
    Check(cudaEventRecord(end), "record");
    Check(cudaEventSynchronize(end), "synchronize");
    float ms = 0;
    Check(cudaEventElapsedTime(&ms, begin, end), "elapsed");
    times.push_back(ms);
  }
  Check(cudaEventDestroy(begin), "event");
  Check(cudaEventDestroy(end), "event");
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

// Dense int8 multiply-accumulates a second at the top clock: 4096 a cycle and
// multiprocessor on compute capability 9.0.
double PeakMacs(const cudaDeviceProp& device) {
  int khz = 0;
  Check(cudaDeviceGetAttribute(&khz, cudaDevAttrClockRate, 0), "clock");
  return 4096.0 * device.multiProcessorCount * khz * 1e3;
}

// As axjax.PackedFactors gives it.
int Room(const std::vector<int>& terms) {
  const int most = *std::max_element(terms.begin(), terms.end());
  for (const int room : {16, 64, 256})
    if (most <= room) return room;
  return 512;
}

// Times one problem for several tables. Every table's first result is checked.
int Time(const Shape& shape, const std::vector<std::vector<int>>& term_lists,
         const std::vector<TensorCoreChoice>& choices, double peak) {
  Problem p(shape);
  const double products = double(p.g.pixels()) * p.g.out_c * p.depth();
  std::printf("%s: (M, K, N) = (%ld, %ld, %ld)\n", Name(p.g).c_str(),
              long(p.g.pixels()), long(p.depth()), long(p.g.out_c));
  int different = 0;
  for (const std::vector<int>& terms : term_lists) {
    const Factored f(terms, false, Room(terms));
    int total = 0;
    for (const int t : terms) total += t;
    for (const TensorCoreChoice& c : choices) {
      Engine e(f, p, c.columns);
      if (Launch(c, p, e) != cudaSuccess) continue;
      different += !Equal(c, p, e, f, Name(c));
      const double ms = MedianMs(c, p, e, 15);
      std::printf(
          "  terms %3d  %9.4f ms  %7.2f T products/s  %5.1f %% of int8 peak  %s\n",
          total, ms, products / ms / 1e9, 1e5 * products * total / ms / peak,
          c.columns ? Name(c).c_str() : "");
    }
  }
  return different;
}

int Main(const std::string& mode, int terms) {
  cudaDeviceProp device;
  Check(cudaGetDeviceProperties(&device, 0), "properties");
  const bool hopper = device.major == 9 && device.minor == 0;
  const double peak = PeakMacs(device);
  std::printf("%s, %d multiprocessors, int8 peak %.0f T multiply-accumulates/s\n",
              device.name, device.multiProcessorCount, peak / 1e12);
  int different = 0;
  if (mode == "check" || mode == "brief" || mode.empty())
    different += CheckAll(mode == "brief", hopper);
  const std::vector<std::vector<int>> term_lists = {
      {1}, {2}, {3}, {4}, {5}, {8}, {12}, {16}, {24}, {32}, {64}, {128}, {256}};
  if (mode == "time" || mode.empty()) {
    different +=
        Time(Conv2D(64, 32, 32, 128, 3, 128, 1, 1), term_lists, {kAutomatic}, peak);
    different += Time(Conv2D(64, 32, 32, 128, 3, 128, 1, 1), {{4, 4}, {16, 4}},
                      {kAutomatic}, peak);
    for (const Shape& shape :
         {Conv2D(64, 56, 56, 64, 3, 64, 1, 1), Conv2D(64, 14, 14, 256, 3, 256, 1, 1),
          Conv2D(256, 32, 32, 16, 3, 16, 1, 1), Conv2D(64, 224, 224, 3, 7, 64, 2, 3),
          Conv2D(1024, 16, 16, 32, 3, 32, 1, 1), Conv2D(1024, 8, 8, 64, 3, 64, 1, 1),
          Conv2D(64, 56, 56, 64, 1, 256), Conv2D(64, 14, 14, 1024, 1, 256)})
      different += Time(shape, {{4}, {16}, {64}}, {kAutomatic}, peak);
  }
  if (mode == "variants") {
    std::vector<TensorCoreChoice> choices;
    for (const bool wgmma : {true, false})
      if (!wgmma || hopper)
        for (const TensorCoreChoice& c : Variants(wgmma)) choices.push_back(c);
    for (const Shape& shape :
         {Conv2D(64, 32, 32, 128, 3, 128, 1, 1), Conv2D(64, 56, 56, 64, 3, 64, 1, 1),
          Conv2D(256, 32, 32, 16, 3, 16, 1, 1)})
      different += Time(shape, {{4}, {8}, {16}, {64}}, choices, peak);
  }
  if (mode == "once" || mode == "steady") {
    Problem p(Conv2D(64, 32, 32, 128, 3, 128, 1, 1));
    const Factored f({terms}, false, Room({terms}));
    Engine e(f, p, 0);
    const double ms = MedianMs(kAutomatic, p, e, 1);
    const int repeats = mode == "once" ? 1 : static_cast<int>(2000 / ms);
    std::printf("terms %d: %.4f ms, median of %d\n", terms,
                MedianMs(kAutomatic, p, e, repeats), repeats);
  }
  return different == 0 ? 0 : 1;
}

}  // namespace
}  // namespace axjax

int main(int argc, char** argv) {
  return axjax::Main(argc > 1 ? argv[1] : "", argc > 2 ? std::atoi(argv[2]) : 16);
}
