#include "stet/base/check.h"

#include <gtest/gtest.h>

#include <csignal>

namespace stet {
namespace {

int g_num_evaluated = 0;
bool counted(bool value) {
  g_num_evaluated += 1;
  return value;
}

TEST(Check, AConditionThatHoldsIsEvaluatedOnceAndSaysNothing) {
  g_num_evaluated = 0;
  ::testing::internal::CaptureStderr();
  STET_CHECK(counted(true), "unused");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(g_num_evaluated, 1);
}

TEST(Check, IsOneStatement) {
  if (g_num_evaluated < 0)
    STET_CHECK(false, "never");
  else
    g_num_evaluated = 0;
  EXPECT_EQ(g_num_evaluated, 0);
}

TEST(CheckDeathTest, ABrokenInvariantPrintsPlaceMessageAndConditionAndAborts) {
  const int num_blocks = -1;
  EXPECT_EXIT(STET_CHECK(num_blocks >= 0, "blocks are counted from 0"),
              ::testing::KilledBySignal(SIGABRT),
              "check_test\\.cc:[0-9]+: broken invariant: blocks are counted from 0 "
              "\\(num_blocks >= 0\\)");
}

// The message is printed as it is: '%' in it is no format.
TEST(CheckDeathTest, AMessageIsNotAFormat) {
  EXPECT_DEATH(STET_CHECK(false, "100%s of it"), "broken invariant: 100%s of it");
}

}  // namespace
}  // namespace stet
