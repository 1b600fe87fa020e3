// Compiled without NDEBUG in every build (CMakeLists.txt): what debug builds check.
#include <gtest/gtest.h>

#include <thread>

#include "stet/base/check.h"
#include "stet/base/thread_checker.h"

#ifdef NDEBUG
#error "this file is about debug checks"
#endif

namespace stet {
namespace {

TEST(DebugCheckDeathTest, AbortsLikeCheck) {
  EXPECT_DEATH(STET_DCHECK(1 + 1 == 3, "arithmetic"), "broken invariant: arithmetic");
  STET_DCHECK(true, "unused");
}

TEST(ThreadChecker, BindsToTheFirstThreadThatAsks) {
  ThreadChecker checker;
  std::thread([&] { checker.check(); }).join();  // not the thread that made it
  ThreadChecker mine;
  mine.check();
  mine.check();
}

TEST(ThreadChecker, MayBeHandedOver) {
  ThreadChecker checker;
  checker.check();
  checker.detach();
  std::thread([&] {
    checker.check();
    checker.check();
  }).join();
}

TEST(ThreadCheckerDeathTest, AnotherThreadAborts) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(
      {
        ThreadChecker checker;
        checker.check();
        std::thread([&] { checker.check(); }).join();
      },
      "broken invariant: state used by a thread that does not own it");
}

}  // namespace
}  // namespace stet
