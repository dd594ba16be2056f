// SPDX-License-Identifier: Apache-2.0
// Texture objects over tables, made once per device, address and entry type.
//
// A texture object is a descriptor of an address, not a copy: when the memory behind it
// holds another table, the next launch reads that one. Making one takes microseconds on
// the host, hence the cache. One is never destroyed: a kernel that waits in a stream,
// or a CUDA graph that XLA keeps, may hold it for any length of time. The number of
// them is bounded instead, and whoever asks for one too many does without.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>
#include <map>
#include <mutex>
#include <tuple>

namespace axjax {

class TableTextures {
 public:
  // XLA gives the tables of a program the same few addresses again and again. A
  // descriptor takes 32 bytes of the driver's pool of about a million.
  static constexpr size_t kCapacity = 8192;

  explicit TableTextures(size_t capacity = kCapacity) : capacity_(capacity) {}

  // Sets `*texture` to a linear texture over the table's 65,536 entries, for the
  // current device, or to 0 if the cache is full. `table` is aligned to
  // cudaDevAttrTextureAlignment. Entry is uint16_t, int16_t or int32_t. Thread-safe.
  template <typename Entry>
  cudaError_t Find(const Entry* table, cudaTextureObject_t* texture);

  size_t size() const;

 private:
  // Device, address, bits of an entry (negative: signed).
  using Key = std::tuple<int, const void*, int>;

  const size_t capacity_;
  mutable std::mutex mutex_;
  std::map<Key, cudaTextureObject_t> textures_;
};

}  // namespace axjax
