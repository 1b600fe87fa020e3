// Compiled with NDEBUG in every build (CMakeLists.txt): debug checks cost nothing there.
#include <gtest/gtest.h>

#include "stet/base/check.h"

#ifndef NDEBUG
#error "this file is about release builds"
#endif

namespace stet {
namespace {

TEST(ReleaseCheck, ADebugCheckIsNotEvenEvaluated) {
  int num_evaluated = 0;
  [[maybe_unused]] const auto evaluated = [&] {
    num_evaluated += 1;
    return false;
  };
  STET_DCHECK(evaluated(), "never said");
  EXPECT_EQ(num_evaluated, 0);
}

TEST(ReleaseCheckDeathTest, ACheckStaysOn) {
  EXPECT_DEATH(STET_CHECK(false, "still on"), "broken invariant: still on");
}

}  // namespace
}  // namespace stet
