// SPDX-License-Identifier: Apache-2.0
// The inner loops, compiled once per instruction set from one source, kernels.inc.
//
// Plain data only: the files that are compiled for a newer instruction set must not
// emit an inline function that the linker could then pick for all of the library.
#pragma once
#include <stdint.h>

namespace axjax {

// Channels that lie together in packed codes.
constexpr int kChannelBlock = 16;

// Kernels read up to this many bytes beyond the last code that they use.
constexpr int kReadBeyond = 7;

// A table block holds, for each of up to kMaxBlockDepth depth positions, 256 rows of
// lanes, one row for each code. The tables of consecutive positions are skewed by kSkew
// rows: at a distance of exactly 256 rows, rows of equal codes (zeros, pads) would fall
// into one cache set and evict each other, at half the speed.
constexpr int kMaxBlockDepth = 24;
constexpr int kSkew = 4;
constexpr int kRowStride = 256 + kSkew;

// Widths of a row: 16, 32 and 64 bytes, a whole cache line.
constexpr int kWidths = 3;
constexpr int kMaxRowBytes = 64;
constexpr int RowBytes(int width) { return 16 << width; }
constexpr int kMaxLanes = 32;

// How many rows are added in lanes of 16 bits, which hold their sum, before it is
// widened to 32 bits. Lanes that are 32 bits wide are just added.
enum LaneMode { kWide, kSingles, kPairs, kFours, kLaneModes };
constexpr int RowsTogether(int mode) { return mode == kWide ? 4 : 1 << (mode - 1); }

// Sums of 16-bit lanes are kept in two accumulators of 16 bits: `low` has them modulo
// 2^16, `high` in units of 2^kHighShift, rounded. The rows of a block are cut into runs
// of 16, 8, 4, 2 and 1, and a run adds to `high` the upper bits of its mean, which is
// made of means of two: no carry is ever lost, and a row costs two instructions.
//
// Of n rows in r runs, `high` is too small by at most r units, and too large by at most
// 2n: a mean of two is rounded up. So the exact sum is known as long as
// 2n + r * 2^kHighShift < 2^16 and n < 2^kHighShift; kMaxRuns runs, of up to 16 rows
// each, stay below both.
constexpr int kHighShift = 10;
constexpr int kMaxRuns = 62;
constexpr int kMaxRun = 16;
constexpr uint32_t kMaxTooHigh = 2 * kMaxRuns * kMaxRun;
static_assert(kMaxTooHigh + (kMaxRuns << kHighShift) < 1 << 16, "sums are exact");
static_assert(kMaxRuns * kMaxRun < 1 << kHighShift, "`high` does not overflow");
constexpr int Runs(int depth) {
  return depth / 16 + depth / 8 % 2 + depth / 4 % 2 + depth / 2 % 2 + depth % 2;
}

// 32-bit words of the accumulators per walker.
constexpr int Accumulators(int mode, int row_bytes) {
  return mode == kWide ? row_bytes / 4 : row_bytes / 2;
}

struct RowsArgs {
  const char* table;              // first block position
  const uint8_t* codes;           // of the first depth position
  const int64_t* walker_offsets;  // bytes from `codes`, one per walker
  const int64_t* depth_offsets;   // bytes, one per depth position
  int64_t walkers;
  int depth;   // positions, up to kMaxBlockDepth
  bool first;  // the accumulators start from zero
  uint32_t* accumulators;
};

// For lanes that are consecutive positions (shared_taps.h): each walker adds, for each
// depth position k, `vectors` vectors at tables[k] + codes[k][walker] * row_bytes,
// which need no alignment. Registers do not suffice for means here: two 16-bit lanes
// are a 32-bit word, the accumulators of a walker are `all`, which adds the words of
// each vector, and `odd`, which adds their upper halves, so that the sum of the lower
// halves is all - (odd << 16), modulo 2^32. But where Kernels::signed_halves, they are
// sums of the even lanes, then of the odd lanes, read as signed: kSignedBias too small
// for every RowsTogether rows. The bias is taken in equal parts from all rows.
constexpr uint32_t kSignedBias = 1 << 15;
constexpr int kMaxShiftVectors = 7;
struct ShiftedRowsArgs {
  const char* const* tables;
  const uint8_t* const* codes;
  int64_t row_bytes;
  int depth;
  int vectors;  // 1 to shift_vectors
  int64_t walkers;
  bool first;
  uint32_t* accumulators;
};

struct FinishArgs {
  const uint32_t* accumulators;
  int64_t walkers;
  const uint32_t* lane_bias;    // kMaxLanes
  const uint32_t* walker_bias;  // one per walker, or null
  int lanes;
  bool add;            // to what `out` holds
  int32_t* out;        // of the first walker and lane
  int64_t out_stride;  // elements from walker to walker
};

// Types of table entries, in the order in which kernels are listed.
enum EntryKind { kUint16, kInt16, kInt32, kEntryKinds };

// Adds to `sums` the entries that a few rows of the table hold for a few rows of codes:
// sums[i] += sum_j rows[j][codes[j][i]].
constexpr int kDirectDepth = 4;
struct DirectArgs {
  const void* rows[kDirectDepth];  // of 256 entries
  const uint8_t* codes[kDirectDepth];
  int depth;  // up to kDirectDepth
  int64_t count;
  uint32_t* sums;
};

// One output channel of a convolution with few outputs per group:
// sums[p * sums_stride] (+)= sum_k columns[k][codes[walker_offsets[p] +
// depth_offsets[k]]].
struct ColumnsArgs {
  const int32_t* columns;  // depth x 256
  const uint8_t* codes;
  const int64_t* walker_offsets;
  const int64_t* depth_offsets;
  int64_t walkers;
  int depth;
  bool first;
  uint32_t* sums;
  int64_t sums_stride;
};

// One output channel where a machine looks bytes up in registers, 64 at once
// (permuted_columns.h): for each of `vectors` times 64 lanes i,
// sums[i] (+)= bias + sum_k sum_b columns[k][256 * b + codes[k][i]] << 8 * b.
constexpr int kPermutedLanes = 64;
struct PermutedArgs {
  const uint8_t* const* columns;  // entries' bytes, the lowest first; aligned to 64
  const uint8_t* const* codes;    // may be read for all lanes
  int depth;                      // up to kMaxPermutedDepth
  int entry_bytes;                // 1 to 4
  int64_t vectors;
  bool first;
  uint32_t bias;
  uint32_t* sums;
};
// Columns of so many 16-bit entries stay in the first-level cache. Of up to 128, sums
// of bytes are signed 16-bit numbers.
constexpr int kMaxPermutedDepth = 64;

// From such sums of up to 16 channels to outputs: out[i * out_stride + c] =
// sums[c * sum_stride + i].
struct PermutedSumsArgs {
  const uint32_t* sums;  // may be read for 16 channels and lanes
  int64_t sum_stride;
  int64_t lanes;
  int channels;
  int32_t* out;
  int64_t out_stride;
};

// Primitives on columns of 256 entries. `bases` are subtracted first, modulo 2^32.
struct ColumnSpan {
  int32_t low;
  uint32_t span;
};

struct Kernels {
  // Bytes of the machine's vectors that the kernels use.
  int vector_bytes;
  bool signed_halves;
  // [mode][width][codes of the depth positions are consecutive bytes]
  void (*rows[kLaneModes][kWidths][2])(const RowsArgs&);
  // [mode]; as many vectors at once as registers hold.
  void (*shifted_rows[kLaneModes])(const ShiftedRowsArgs&);
  int shift_vectors;
  // [mode is kWide][width]
  void (*finish[2][kWidths])(const FinishArgs&);
  // [entries are 32 bits][width]. Rows first, ..., last - 1, both multiples of 8, of
  // one depth position, `stride` bytes apart; each lane's column has 256 entries.
  // `flip` is exclusive-or'ed to every word.
  void (*expand[2][kWidths])(const void* const* columns, int first, int last,
                             uint32_t less, int64_t stride, char* table);
  void (*direct[kEntryKinds])(const DirectArgs&);
  // Least and greatest code of each of `channels` channels, at least 16, of `pixels`
  // consecutive pixels: lowers low[c] and raises high[c].
  void (*ranges)(const uint8_t* codes, int64_t pixels, int64_t channels, uint8_t* low,
                 uint8_t* high);
  void (*columns)(const ColumnsArgs&);
  // Null where the machine cannot.
  void (*permuted)(const PermutedArgs&);
  void (*write_permuted)(const PermutedSumsArgs&);
  // Least entry and span of entries first, ..., last.
  ColumnSpan (*column_span)(const int32_t* column, const int32_t* bases, int first,
                            int last);
  // to[i] = column[i] - bases[i] - base, of 32 bits, or cut to 16.
  void (*narrow_column)(const int32_t* column, const int32_t* bases, uint32_t base,
                        uint16_t* to);
  void (*wide_column)(const int32_t* column, const int32_t* bases, uint32_t base,
                      uint32_t* to);
  // sums[i] += weight * column[i].
  void (*add_column)(const int32_t* column, float weight, float* sums);
};

namespace baseline {
extern const Kernels kKernels;
}
namespace avx2 {
extern const Kernels kKernels;
}
namespace avx2vnni {
extern const Kernels kKernels;
}
namespace avx512 {
extern const Kernels kKernels;
}
namespace avx512vnni {
extern const Kernels kKernels;
}
namespace avx512vbmi {
extern const Kernels kKernels;
}

}  // namespace axjax
