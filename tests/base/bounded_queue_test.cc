#include "stet/base/bounded_queue.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>

namespace stet {
namespace {

using Items = std::vector<int>;

TEST(BoundedQueue, GivesBackWhatWasPushedInOrder) {
  BoundedQueue<int> queue(3);
  EXPECT_EQ(queue.capacity(), 3u);
  EXPECT_TRUE(queue.try_push(1));
  EXPECT_TRUE(queue.try_push(2));
  EXPECT_EQ(queue.size(), 2u);
  Items out = {9, 9, 9};
  queue.drain(&out);
  EXPECT_EQ(out, (Items{1, 2}));
  EXPECT_EQ(queue.size(), 0u);
  queue.drain(&out);
  EXPECT_EQ(out, Items{}) << "what was in `out` before is gone";
}

TEST(BoundedQueue, WhenFullRefusesAndLeavesTheValueWithItsOwner) {
  BoundedQueue<std::unique_ptr<int>> queue(1);
  EXPECT_TRUE(queue.try_push(std::make_unique<int>(1)));
  auto second = std::make_unique<int>(2);
  EXPECT_FALSE(queue.try_push(std::move(second)));
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(*second, 2);
  std::vector<std::unique_ptr<int>> out;
  queue.drain(&out);
  EXPECT_TRUE(queue.try_push(std::move(second))) << "draining makes room";
}

TEST(BoundedQueue, WithoutCapacityTakesNothing) {
  BoundedQueue<int> queue(0);
  EXPECT_FALSE(queue.try_push(1));
}

TEST(BoundedQueue, OnceClosedRefusesButStillGivesWhatItHolds) {
  BoundedQueue<int> queue(4);
  EXPECT_TRUE(queue.try_push(1));
  queue.close();
  queue.close();  // idempotent
  EXPECT_FALSE(queue.try_push(2));
  Items out;
  EXPECT_TRUE(queue.wait_drain(&out)) << "items come before the end";
  EXPECT_EQ(out, Items{1});
  EXPECT_FALSE(queue.wait_drain(&out)) << "closed and empty: no wait without limit";
  EXPECT_EQ(out, Items{});
}

TEST(BoundedQueue, WaitEndsWithTheTimeWhenNothingComes) {
  BoundedQueue<int> queue(1);
  Items out = {9};
  EXPECT_TRUE(queue.wait_drain(&out, 0)) << "open: there may be more";
  EXPECT_TRUE(queue.wait_drain(&out, 1000));
  EXPECT_EQ(out, Items{});
}

TEST(BoundedQueue, AWakeBeforeTheWaitIsNotLostAndCountsOnce) {
  BoundedQueue<int> queue(1);
  Items out;
  queue.wake();
  queue.wake();
  EXPECT_TRUE(queue.wait_drain(&out));  // would hang if the wake were lost
  EXPECT_EQ(out, Items{});
  EXPECT_TRUE(queue.try_push(5));
  EXPECT_TRUE(queue.wait_drain(&out));
  EXPECT_EQ(out, Items{5});
}

TEST(BoundedQueue, AWaitingThreadIsWokenByPushWakeAndClose) {
  BoundedQueue<int> pushed(1), woken(1), closed(1);
  Items from_push, from_wake, from_close;
  bool more_after_close = true;
  std::thread waiter([&] {
    pushed.wait_drain(&from_push);
    woken.wait_drain(&from_wake);
    more_after_close = closed.wait_drain(&from_close);
  });
  EXPECT_TRUE(pushed.try_push(3));
  woken.wake();
  closed.close();
  waiter.join();
  EXPECT_EQ(from_push, Items{3});
  EXPECT_EQ(from_wake, Items{});
  EXPECT_FALSE(more_after_close);
}

// Two producers that try again when full, one consumer: nothing is lost, nothing comes twice, each
// producer's items stay in order, and the queue never holds more than its capacity.
TEST(BoundedQueue, TwoProducersLoseNothingThroughAQueueThatIsOftenFull) {
  constexpr int kPerProducer = 20'000;
  constexpr size_t kCapacity = 7;
  BoundedQueue<int> queue(kCapacity);
  const auto produce = [&](int first) {
    for (int i = 0; i < kPerProducer; ++i) {
      while (!queue.try_push(first + i)) {
        std::this_thread::yield();
      }
    }
  };
  std::thread a(produce, 0), b(produce, kPerProducer);
  std::thread closer([&] {
    a.join();
    b.join();
    queue.close();
  });
  int next_a = 0, next_b = kPerProducer;
  Items out;
  while (queue.wait_drain(&out)) {
    EXPECT_LE(out.size(), kCapacity);
    for (const int item : out) {
      int& next = item < kPerProducer ? next_a : next_b;
      ASSERT_EQ(item, next++);
    }
  }
  closer.join();
  EXPECT_EQ(next_a, kPerProducer);
  EXPECT_EQ(next_b, 2 * kPerProducer);
}

}  // namespace
}  // namespace stet
