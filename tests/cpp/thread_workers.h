// SPDX-License-Identifier: Apache-2.0
// Workers on threads of their own, for tests and measurements without XLA.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "cpu/workers.h"

namespace axjax {

class ThreadWorkers final : public Workers {
 public:
  explicit ThreadWorkers(int threads) {
    for (int i = 1; i < threads; ++i) helpers_.emplace_back([this] { Help(); });
  }

  ~ThreadWorkers() override {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    for (std::thread& helper : helpers_) helper.join();
  }

  int64_t threads() const override { return static_cast<int64_t>(helpers_.size()) + 1; }

  void ForEach(int64_t jobs, const std::function<void(int64_t)>& job) override {
    if (jobs <= 1 || helpers_.empty()) {
      for (int64_t i = 0; i < jobs; ++i) job(i);
      return;
    }
    {
      std::lock_guard<std::mutex> lock(mutex_);
      job_ = &job;
      jobs_ = jobs;
      next_ = 0;
      ++round_;
      busy_ = helpers_.size();
    }
    wake_.notify_all();
    TakeJobs();
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [&] { return busy_ == 0; });
  }

 private:
  void TakeJobs() {
    for (int64_t i; (i = next_.fetch_add(1)) < jobs_;) (*job_)(i);
  }

  void Help() {
    for (int64_t seen = 0;;) {
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return stop_ || round_ != seen; });
        if (stop_) return;
        seen = round_;
      }
      TakeJobs();
      std::lock_guard<std::mutex> lock(mutex_);
      if (--busy_ == 0) done_.notify_one();
    }
  }

  std::vector<std::thread> helpers_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  bool stop_ = false;
  int64_t round_ = 0;
  size_t busy_ = 0;
  const std::function<void(int64_t)>* job_ = nullptr;
  int64_t jobs_ = 0;
  std::atomic<int64_t> next_{0};
};

}  // namespace axjax
