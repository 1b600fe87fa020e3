#include "stet/base/clock.h"

#include <gtest/gtest.h>

#include <thread>

namespace stet {
namespace {

TEST(SteadyClock, NeverGoesBack) {
  const SteadyClock clock;
  uint64_t last_us = clock.now_us();
  EXPECT_GT(last_us, 0u);
  for (int i = 0; i < 10'000; ++i) {
    const uint64_t now_us = clock.now_us();
    ASSERT_GE(now_us, last_us);
    last_us = now_us;
  }
}

TEST(SteadyClock, MovesByItself) {
  const SteadyClock clock;
  const uint64_t start_us = clock.now_us();
  while (clock.now_us() == start_us) {  // the test's deadline ends this if it is not so
  }
}

TEST(ManualClock, MovesOnlyWhenTold) {
  ManualClock clock;
  EXPECT_EQ(clock.now_us(), 0u);
  clock.advance_us(5);
  clock.advance_us(0);
  clock.advance_us(37);
  EXPECT_EQ(clock.now_us(), 42u);
}

TEST(ManualClock, MayBeMovedByAnyThread) {
  ManualClock clock;
  const auto advance = [&] {
    for (int i = 0; i < 10'000; ++i) {
      clock.advance_us(1);
    }
  };
  std::thread a(advance), b(advance);
  a.join();
  b.join();
  EXPECT_EQ(clock.now_us(), 20'000u);
}

TEST(WallClock, IsInMillisecondsOfThisCentury) {
  EXPECT_GT(wall_clock_unix_ms(), INT64_C(1'700'000'000'000));  // 2023
  EXPECT_LT(wall_clock_unix_ms(), INT64_C(4'102'444'800'000));  // 2100
}

}  // namespace
}  // namespace stet
