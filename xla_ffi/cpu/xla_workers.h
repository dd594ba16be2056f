// SPDX-License-Identifier: Apache-2.0
// Workers on XLA's own thread pool: no second pool that would fight over the cores.
//
// It cannot dead-lock, even if the handler itself runs on a thread of the pool and all
// others are busy: the caller takes jobs from the same counter, and waits only for jobs
// that some thread has begun.
#pragma once
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "workers.h"
#include "xla/ffi/api/ffi.h"

namespace axjax {

class XlaWorkers final : public Workers {
 public:
  explicit XlaWorkers(xla::ffi::ThreadPool& pool) : pool_(pool) {}

  int64_t threads() const override { return std::max<int64_t>(1, pool_.num_threads()); }

  void ForEach(int64_t jobs, const std::function<void(int64_t)>& job) override {
    const int64_t helpers = std::min(threads(), jobs) - 1;
    if (helpers < 1) {
      for (int64_t i = 0; i < jobs; ++i) job(i);
      return;
    }
    // Owned by all tasks: one that starts late finds the counter used up, long after
    // this call has returned, and must not touch `job` then.
    struct Shared {
      std::atomic<int64_t> next{0};
      std::mutex mutex;
      std::condition_variable all_done;
      std::atomic<int64_t> done{0};
    };
    auto shared = std::make_shared<Shared>();
    auto work = [shared, jobs, job = &job] {
      int64_t mine = 0;
      for (int64_t i; (i = shared->next.fetch_add(1)) < jobs; ++mine) (*job)(i);
      if (mine == 0) return;
      if (shared->done.fetch_add(mine) + mine < jobs) return;
      std::lock_guard<std::mutex> lock(shared->mutex);
      shared->all_done.notify_all();
    };
    for (int64_t i = 0; i < helpers; ++i) pool_.Schedule(decltype(work)(work));
    work();
    // Jobs are alike, so that others mostly end soon: sooner than a thread wakes up.
    constexpr int kYields = 200;
    for (int i = 0; i < kYields && shared->done < jobs; ++i) std::this_thread::yield();
    std::unique_lock<std::mutex> lock(shared->mutex);
    shared->all_done.wait(lock, [&] { return shared->done == jobs; });
  }

 private:
  xla::ffi::ThreadPool& pool_;
};

}  // namespace axjax
