#include "src/executor/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <ctime>
#include <mutex>
#include <numeric>
#include <set>
#include <vector>

#include "stet/kernels/kernel_table.h"

namespace stet::executor {
namespace {

TEST(ThreadPool, EveryItemIsComputedExactlyOnceForAllShapes) {
  for (uint32_t threads : {1u, 2u, 3u, 8u}) {
    ThreadPool pool(threads, nullptr);
    for (uint32_t items : {0u, 1u, 2u, 3u, 7u, 64u, 1000u}) {
      for (uint32_t chunk : {0u, 1u, 3u, 64u, 5000u, UINT32_MAX}) {
        std::vector<std::atomic<uint32_t>> counts(items);
        pool.run(items, chunk, [&](uint32_t thread, uint32_t begin, uint32_t end) {
          EXPECT_LT(thread, threads);
          EXPECT_LT(begin, end);
          EXPECT_LE(end - begin, std::max(chunk, 1u));
          for (uint32_t i = begin; i < end; ++i) {
            counts[i].fetch_add(1);
          }
        });
        for (const auto& count : counts) {
          ASSERT_EQ(count.load(), 1u)
              << threads << " threads, " << items << " items, chunk " << chunk;
        }
      }
    }
  }
}

// Plain memory: under the thread sanitizer this shows that regions order their accesses.
TEST(ThreadPool, WritesOfARegionAreSeenByTheNextOne) {
  ThreadPool pool(4, nullptr);
  std::vector<uint64_t> a(257), b(257);
  for (uint64_t round = 1; round <= 3000; ++round) {
    pool.run(257, 4, [&](uint32_t, uint32_t begin, uint32_t end) {
      for (uint32_t i = begin; i < end; ++i) {
        a[i] = b[256 - i] + 1;
      }
    });
    pool.run(257, 3, [&](uint32_t, uint32_t begin, uint32_t end) {
      for (uint32_t i = begin; i < end; ++i) {
        b[i] = a[256 - i];
      }
    });
  }
  EXPECT_EQ(b, std::vector<uint64_t>(257, 3000));
}

// A worker that sleeps when a region starts is woken, and one that is about to sleep does not miss
// it.
TEST(ThreadPool, NoWakeUpIsLostAtTheBorderBetweenSpinningAndSleeping) {
  ThreadPool pool(2, nullptr);
  const auto spin_limit = std::chrono::microseconds(20);
  for (int round = 0; round < 100; ++round) {
    // Pauses around the spin limit hit the moment at which the worker decides to sleep.
    const auto end = std::chrono::steady_clock::now() + spin_limit * (round % 5) / 2;
    while (std::chrono::steady_clock::now() < end) {
    }
    std::atomic<uint32_t> first_done{0};
    // Two items that wait for each other: the region ends only if the worker really comes.
    pool.run(2, 1, [&](uint32_t, uint32_t, uint32_t) {
      first_done.fetch_add(1);
      while (first_done.load() < 2) {
      }
    });
  }
}

// The worker hangs in its chunk of the first half until thread 0 has done everything else, its own
// half and the rest of the worker's.
TEST(ThreadPool, ThreadsTakeTheItemsOfOneThatIsStuck) {
  ThreadPool pool(2, nullptr);
  std::atomic<uint32_t> done_by_caller{0};
  std::atomic<bool> worker_started{false};
  pool.run(20, 1, [&](uint32_t thread, uint32_t, uint32_t) {
    if (thread == 1) {
      if (!worker_started.exchange(true)) {
        while (done_by_caller.load() < 19) {
        }
      }
      return;
    }
    while (!worker_started.load()) {
    }
    done_by_caller.fetch_add(1);
  });
  EXPECT_EQ(done_by_caller.load(), 19u);
}

TEST(ThreadPool, EachThreadStartsInItsOwnRange) {
  ThreadPool pool(2, nullptr);
  std::mutex mutex;
  std::set<uint32_t> firsts;
  std::atomic<uint32_t> arrived{0};
  pool.run(100, 1, [&](uint32_t, uint32_t begin, uint32_t) {
    if (arrived.fetch_add(1) < 2) {
      {
        std::lock_guard lock(mutex);
        firsts.insert(begin);
      }
      while (arrived.load() < 2) {  // both threads are in their first chunk
      }
    }
  });
  EXPECT_EQ(firsts, (std::set<uint32_t>{0, 50}));
}

TEST(ThreadPool, WorkersRunTheirInitialisationFirst) {
  ThreadPool pool(3, kernels::set_float_environment);
  kernels::set_float_environment();
  std::atomic<uint32_t> ok{0};
  pool.run(300, 1,
           [&](uint32_t, uint32_t, uint32_t) { ok += kernels::float_environment_ok() ? 1 : 0; });
  EXPECT_EQ(ok.load(), 300u);
}

TEST(ThreadPool, StopsWhetherItsWorkersSpinSleepOrNeverWorked) {
  for (int round = 0; round < 50; ++round) {
    ThreadPool pool(4, nullptr);
    if (round % 2 == 0) {
      pool.run(16, 1, [](uint32_t, uint32_t, uint32_t) {});
    }
  }
}

TEST(ThreadPool, AnIdlePoolUsesNoCpu) {
  ThreadPool pool(4, nullptr);
  pool.run(16, 1, [](uint32_t, uint32_t, uint32_t) {});
  auto process_cpu_ns = [] {
    timespec t{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
  };
  // The caller waits on a condition that never comes; what the process spends meanwhile is the
  // workers'.
  std::mutex mutex;
  std::condition_variable never;
  std::unique_lock lock(mutex);
  never.wait_for(lock, std::chrono::milliseconds(5), [] { return false; });  // their spin ends
  const int64_t before = process_cpu_ns();
  never.wait_for(lock, std::chrono::milliseconds(50), [] { return false; });
  // Four spinning workers would spend 100-200 ms on two cores; timers and faults stay far below 5.
  EXPECT_LT(process_cpu_ns() - before, 5'000'000);
}

}  // namespace
}  // namespace stet::executor
