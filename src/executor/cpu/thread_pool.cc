#include "src/executor/cpu/thread_pool.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "stet/base/check.h"

namespace stet::executor {
namespace {

// Regions of a step follow each other within microseconds, so a short spin catches them; between
// steps a worker sleeps.
constexpr auto kSpin = std::chrono::microseconds(20);
constexpr int kPausesPerClockRead = 16;

void futex_wait(std::atomic<uint32_t>* word, uint32_t expected) {
  static_assert(sizeof(*word) == sizeof(uint32_t) && std::atomic<uint32_t>::is_always_lock_free);
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}

void futex_wake_all(std::atomic<uint32_t>* word) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
}

void cpu_pause() {
  __builtin_ia32_pause();
}

// True when `ready()` became true within kSpin.
template <class Ready>
bool spin_until(const Ready& ready) {
  if (ready()) {
    return true;
  }
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < kPausesPerClockRead; ++i) {
      cpu_pause();
      if (ready()) {
        return true;
      }
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

constexpr uint64_t pack(uint32_t region, uint32_t left) {
  return uint64_t{region} << 32 | left;
}

}  // namespace

ThreadPool::ThreadPool(uint32_t num_threads, void (*init)())
    : num_threads_(num_threads), init_(init), ranges_(new Range[num_threads]) {
  STET_CHECK(num_threads >= 1 && num_threads <= kMaxThreads, "1 .. kMaxThreads threads");
  workers_.reserve(num_threads - 1);
  for (uint32_t thread = 1; thread < num_threads; ++thread) {
    workers_.emplace_back([this, thread] { worker_main(thread); });
  }
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  region_.fetch_add(1);
  futex_wake_all(&region_);
  // jthreads join
}

void ThreadPool::run_region(uint32_t num_items, uint32_t chunk, void* context, Body body) {
  if (num_items == 0) {
    return;
  }
  chunk = std::max(chunk, 1u);
  const uint32_t num_chunks = (num_items - 1) / chunk + 1;
  if (num_threads_ == 1 || num_chunks == 1) {
    for (uint32_t begin = 0; begin < num_items; begin += std::min(chunk, num_items - begin)) {
      body(context, 0, begin, begin + std::min(chunk, num_items - begin));
    }
    return;
  }
  body_ = body;
  context_ = context;
  num_items_ = num_items;
  chunk_ = chunk;
  num_chunks_ = num_chunks;
  unfinished_.store(num_chunks, std::memory_order_relaxed);
  const uint32_t region = region_.load(std::memory_order_relaxed) + 1;
  for (uint32_t t = 0; t < num_threads_; ++t) {
    const uint32_t size =
        range_begin(num_chunks, t + 1, num_threads_) - range_begin(num_chunks, t, num_threads_);
    ranges_[t].left.store(pack(region, size), std::memory_order_release);
  }
  // Sequentially consistent with num_sleeping_: either the sleeper sees the new region or we see
  // the sleeper.
  region_.store(region, std::memory_order_seq_cst);
  if (num_sleeping_.load(std::memory_order_seq_cst) > 0) {
    futex_wake_all(&region_);
  }
  work(0, region);
  auto done = [this] { return unfinished_.load(std::memory_order_acquire) == 0; };
  while (!spin_until(done)) {
    // A worker was descheduled inside its chunk: give this core away instead of burning it.
    caller_sleeps_.store(1, std::memory_order_seq_cst);
    const uint32_t left = unfinished_.load(std::memory_order_seq_cst);
    if (left != 0) {
      futex_wait(&unfinished_, left);
    }
    caller_sleeps_.store(0, std::memory_order_relaxed);
  }
}

void ThreadPool::work(uint32_t thread, uint32_t region) {
  for (uint32_t i = 0; i < num_threads_; ++i) {
    const uint32_t range = thread + i < num_threads_ ? thread + i : thread + i - num_threads_;
    while (claim_and_run(thread, range, region)) {
    }
  }
}

bool ThreadPool::claim_and_run(uint32_t thread, uint32_t range, uint32_t region) {
  std::atomic<uint64_t>& word = ranges_[range].left;
  uint64_t seen = word.load(std::memory_order_relaxed);
  do {
    if (static_cast<uint32_t>(seen >> 32) != region || static_cast<uint32_t>(seen) == 0) {
      return false;
    }
  } while (!word.compare_exchange_weak(seen, seen - 1, std::memory_order_acquire,
                                       std::memory_order_relaxed));
  // The claimed chunk keeps the region, hence body_ and the other fields, alive.
  const uint32_t index =
      range_begin(num_chunks_, range + 1, num_threads_) - static_cast<uint32_t>(seen);
  const uint32_t begin = index * chunk_;
  body_(context_, thread, begin, begin + std::min(chunk_, num_items_ - begin));
  if (unfinished_.fetch_sub(1, std::memory_order_seq_cst) == 1 && thread != 0 &&
      caller_sleeps_.load(std::memory_order_seq_cst) != 0) {
    futex_wake_all(&unfinished_);
  }
  return true;
}

uint32_t ThreadPool::wait_for_region(uint32_t last_region) {
  auto changed = [&] { return region_.load(std::memory_order_acquire) != last_region; };
  while (!spin_until(changed)) {
    num_sleeping_.fetch_add(1, std::memory_order_seq_cst);
    if (region_.load(std::memory_order_seq_cst) == last_region) {
      futex_wait(&region_, last_region);
    }
    num_sleeping_.fetch_sub(1, std::memory_order_relaxed);
  }
  return region_.load(std::memory_order_acquire);
}

void ThreadPool::worker_main(uint32_t thread) {
  if (init_ != nullptr) {
    init_();
  }
  uint32_t region = 0;
  while (true) {
    region = wait_for_region(region);
    if (stop_.load()) {
      return;
    }
    work(thread, region);
  }
}

}  // namespace stet::executor
