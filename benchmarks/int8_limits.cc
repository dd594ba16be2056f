// SPDX-License-Identifier: Apache-2.0
// What one core's int8 units reach by themselves: the limits in docs/cpu_factored.md.
//
//   c++ -std=c++17 -O2 -march=sapphirerapids benchmarks/int8_limits.cc -o int8_limits
//   taskset -c 0 ./int8_limits
//
// Prints T multiply-adds a second: from registers, and of AMX in blocks of two by two
// tiles with operands from either cache; and what a store of tiles costs.
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

constexpr int kTile = 1024, kRow = 64;
constexpr double kTileProducts = 16384;

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
const TileConfig kConfig;

// Least seconds of a call, of twenty tries of `calls`.
template <class Run>
double Seconds(int calls, Run run) {
  double least = 1e9;
  for (int i = 0; i < 20; ++i) {
    const auto start = std::chrono::steady_clock::now();
    for (int j = 0; j < calls; ++j) run();
    const std::chrono::duration<double> taken =
        std::chrono::steady_clock::now() - start;
    least = std::min(least, taken.count() / calls);
  }
  return least;
}

// Sums of two by two tiles over steps, from operands that wrap around after so many
// bytes; stored if `store`.
void Multiply(const char* codes, size_t codes_bytes, const char* weights,
              size_t weights_bytes, int steps, bool store, char* sums) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int s = 0; s < steps; ++s) {
    const char* const x = codes + s * size_t{2 * kTile} % codes_bytes;
    const char* const w = weights + s * size_t{2 * kTile} % weights_bytes;
    _tile_loadd(6, w, kRow);
    _tile_loadd(4, x, kRow);
    _tile_dpbssd(0, 4, 6);
    _tile_loadd(5, x + kTile, kRow);
    _tile_dpbssd(2, 5, 6);
    _tile_loadd(7, w + kTile, kRow);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(3, 5, 7);
  }
  if (!store) return;
  _tile_stored(0, sums, kRow);
  _tile_stored(1, sums + kTile, kRow);
  _tile_stored(2, sums + 2 * kTile, kRow);
  _tile_stored(3, sums + 3 * kTile, kRow);
}

// Seconds of twelve independent products of vectors, in registers whatever the compiler
// thinks of it.
double Vnni512() {
  return Seconds(100000, [] {
    asm volatile(
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11\n"
        "vpdpbusd %%zmm15, %%zmm15, %%zmm\\n\n"
        ".endr" ::
            : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
              "xmm9", "xmm10", "xmm11");
  });
}
double Vnni256() {
  return Seconds(100000, [] {
    asm volatile(
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11\n"
        "%{vex%} vpdpbusd %%ymm15, %%ymm15, %%ymm\\n\n"
        ".endr" ::
            : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
              "xmm9", "xmm10", "xmm11");
  });
}

}  // namespace

int main() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  if (syscall(SYS_arch_prctl, kRequestPermission, kTileData) != 0) {
    std::puts("this machine lends no AMX registers");
    return 1;
  }
  _tile_loadconfig(&kConfig);
  constexpr size_t kBytes = 1 << 19;
  char* const memory = static_cast<char*>(std::aligned_alloc(4096, 2 * kBytes + 4096));
  std::memset(memory, 1, 2 * kBytes + 4096);
  char *const codes = memory, *const weights = memory + kBytes,
              *const sums = memory + 2 * kBytes;

  constexpr int kCalls = 100000;
  const double registers = Seconds(kCalls, [] {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  });
  std::printf("AMX, registers: %.2f\n", 4 * kTileProducts / registers * 1e-12);
  const auto rate = [&](size_t codes_bytes, size_t weights_bytes) {
    constexpr int kSteps = 4096;
    const double taken = Seconds(20, [&] {
      Multiply(codes, codes_bytes, weights, weights_bytes, kSteps, false, sums);
    });
    return kSteps * 4 * kTileProducts / taken * 1e-12;
  };
  std::printf("AMX, both operands from the first-level cache: %.2f\n",
              rate(8 << 10, 8 << 10));
  std::printf("AMX, weights from the second-level cache: %.2f\n",
              rate(8 << 10, kBytes));
  std::printf("AMX, both from the second-level cache: %.2f\n", rate(kBytes, kBytes));
  for (int steps : {16, 24, 28, 32, 36, 48, 64}) {
    const auto nanoseconds = [&](bool store) {
      return 1e9 * Seconds(2000, [&] {
               Multiply(codes, 8 << 10, weights, 8 << 10, steps, store, sums);
             });
    };
    std::printf("AMX, %d steps: %.0f ns, and %.0f to store the sums\n", steps,
                nanoseconds(false), nanoseconds(true) - nanoseconds(false));
  }

  std::printf("AVX-512 VNNI, registers: %.3f\n", 12 * 64 / Vnni512() * 1e-12);
  std::printf("AVX-VNNI, registers: %.3f\n", 12 * 32 / Vnni256() * 1e-12);
  std::free(memory);
}
