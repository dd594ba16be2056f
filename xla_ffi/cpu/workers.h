// SPDX-License-Identifier: Apache-2.0
// What a kernel needs to know of threads: how many there are, and how to give them
// jobs. Kernels take this instead of a thread pool, so that they build and run without
// XLA.
#pragma once
#include <cstdint>
#include <functional>

namespace axjax {

class Workers {
 public:
  virtual ~Workers() = default;
  // Jobs that can run at the same time, the caller's thread counted in; at least one.
  virtual int64_t threads() const = 0;
  // Calls job(0), ..., job(jobs - 1), each once, in any order and on any thread, and
  // returns when all are done.
  virtual void ForEach(int64_t jobs, const std::function<void(int64_t)>& job) = 0;
};

class SerialWorkers final : public Workers {
 public:
  int64_t threads() const override { return 1; }
  void ForEach(int64_t jobs, const std::function<void(int64_t)>& job) override {
    for (int64_t i = 0; i < jobs; ++i) job(i);
  }
};

}  // namespace axjax
