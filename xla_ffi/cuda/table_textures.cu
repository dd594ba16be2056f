// SPDX-License-Identifier: Apache-2.0
#include "cuda/table_textures.h"

#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "table.h"

namespace axjax {

template <typename Entry>
cudaError_t TableTextures::Find(const Entry* table, cudaTextureObject_t* texture) {
  constexpr int kBits = 8 * sizeof(Entry);
  *texture = 0;
  int device = 0;
  if (cudaError_t error = cudaGetDevice(&device); error != cudaSuccess) return error;
  const Key key{device, table, std::is_signed_v<Entry> ? -kBits : kBits};
  const std::lock_guard<std::mutex> lock(mutex_);
  if (const auto found = textures_.find(key); found != textures_.end()) {
    *texture = found->second;
    return cudaSuccess;
  }
  if (textures_.size() >= capacity_) return cudaSuccess;
  cudaResourceDesc resource = {};
  resource.resType = cudaResourceTypeLinear;
  resource.res.linear.devPtr = const_cast<Entry*>(table);
  resource.res.linear.desc = cudaCreateChannelDesc<Entry>();
  resource.res.linear.sizeInBytes = kTableSize * sizeof(Entry);
  cudaTextureDesc reading = {};
  reading.readMode = cudaReadModeElementType;
  // CUDA refuses to make a texture while this thread captures a graph, as XLA does with
  // handlers like ours, unless told that nothing of it belongs into the graph.
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  cudaError_t error = cudaThreadExchangeStreamCaptureMode(&mode);
  if (error != cudaSuccess) return error;
  error = cudaCreateTextureObject(texture, &resource, &reading, nullptr);
  cudaThreadExchangeStreamCaptureMode(&mode);
  if (error == cudaSuccess) textures_.emplace(key, *texture);
  return error;
}

size_t TableTextures::size() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return textures_.size();
}

template cudaError_t TableTextures::Find(const uint16_t*, cudaTextureObject_t*);
template cudaError_t TableTextures::Find(const int16_t*, cudaTextureObject_t*);
template cudaError_t TableTextures::Find(const int32_t*, cudaTextureObject_t*);

}  // namespace axjax
