// Parallel regions for the forward pass: a few hundred per step, some of them a few microseconds
// long.
//
// A region is over when its items are done, not when all workers have arrived: a worker that lost
// its core to another process costs at most the chunk it had claimed. Each thread starts in a range
// of its own (its data stays in its caches) and takes chunks of the other ranges when that is
// empty; who computes an item cannot show (C1, C5).
//
//   pool.run(num_items, chunk, [&](uint32_t thread, uint32_t begin, uint32_t end) { ... });
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace stet::executor {

inline constexpr uint32_t kMaxThreads = 256;

// run() is called by one thread at a time; that thread computes as thread 0. Functions must not
// throw.
class ThreadPool {
 public:
  // `init` runs on every worker before its first item (the float environment of C4).
  ThreadPool(uint32_t num_threads, void (*init)());
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  uint32_t num_threads() const { return num_threads_; }

  // Calls f(thread, begin, end) for disjoint ranges that cover [0, num_items), each at most `chunk`
  // long; returns when all calls have returned. All writes before run() are visible to f, all
  // writes of f to what follows run().
  template <class F>
  void run(uint32_t num_items, uint32_t chunk, F&& f) {
    using Function = std::remove_reference_t<F>;
    run_region(num_items, chunk, const_cast<void*>(static_cast<const void*>(&f)),
               [](void* context, uint32_t thread, uint32_t begin, uint32_t end) {
                 (*static_cast<Function*>(context))(thread, begin, end);
               });
  }

  // The range thread `t` starts with in a region of that many chunks: where its data should be
  // prefetched.
  static uint32_t range_begin(uint32_t num_chunks, uint32_t t, uint32_t num_threads) {
    return static_cast<uint32_t>(uint64_t{num_chunks} * t / num_threads);
  }

 private:
  using Body = void (*)(void* context, uint32_t thread, uint32_t begin, uint32_t end);
  // One per thread: chunks of its range that nobody has claimed. High half: number of the region,
  // so that a claim by a late worker cannot hit the next region; low half: chunks left.
  struct alignas(64) Range {
    std::atomic<uint64_t> left{0};
  };

  void run_region(uint32_t num_items, uint32_t chunk, void* context, Body body);
  void work(uint32_t thread, uint32_t region);
  bool claim_and_run(uint32_t thread, uint32_t range, uint32_t region);
  void worker_main(uint32_t thread);
  uint32_t wait_for_region(uint32_t last_region);

  const uint32_t num_threads_;
  void (*const init_)();
  std::unique_ptr<Range[]> ranges_;
  // Written by run() before the ranges are filled, constant while a chunk of the region is
  // unfinished.
  Body body_ = nullptr;
  void* context_ = nullptr;
  uint32_t num_items_ = 0, chunk_ = 0, num_chunks_ = 0;

  alignas(64) std::atomic<uint32_t> region_{0};      // workers wait for it to change
  alignas(64) std::atomic<uint32_t> unfinished_{0};  // chunks of the region that are not done
  alignas(64) std::atomic<uint32_t> num_sleeping_{0};
  std::atomic<uint32_t> caller_sleeps_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::jthread> workers_;
};

}  // namespace stet::executor
