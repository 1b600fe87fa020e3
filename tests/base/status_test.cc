#include "stet/base/status.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>

namespace stet {
namespace {

TEST(Status, IsOkUntilToldOtherwise) {
  const Status status;
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(status.code(), StatusCode::kOk);
  EXPECT_EQ(status.message(), "");
  EXPECT_EQ(status.to_string(), "OK");
}

TEST(Status, EveryCodeHasTheNameAndNumberOfGoogleRpcCode) {
  const char* const names[] = {"OK",
                               "CANCELLED",
                               "UNKNOWN",
                               "INVALID_ARGUMENT",
                               "DEADLINE_EXCEEDED",
                               "NOT_FOUND",
                               "ALREADY_EXISTS",
                               "PERMISSION_DENIED",
                               "RESOURCE_EXHAUSTED",
                               "FAILED_PRECONDITION",
                               "ABORTED",
                               "OUT_OF_RANGE",
                               "UNIMPLEMENTED",
                               "INTERNAL",
                               "UNAVAILABLE",
                               "DATA_LOSS",
                               "UNAUTHENTICATED"};
  for (int i = 0; i < static_cast<int>(std::size(names)); ++i) {
    EXPECT_EQ(status_code_name(static_cast<StatusCode>(i)), names[i]) << i;
  }
  // A number that came over a wire may be any.
  EXPECT_EQ(status_code_name(static_cast<StatusCode>(99)), "UNKNOWN");
  EXPECT_EQ(status_code_name(static_cast<StatusCode>(-1)), "UNKNOWN");
}

TEST(Status, EveryMakerGivesItsOwnCodeAndKeepsTheMessage) {
  const std::pair<Status, StatusCode> made[] = {
      {invalid_argument("m"), StatusCode::kInvalidArgument},
      {not_found("m"), StatusCode::kNotFound},
      {data_loss("m"), StatusCode::kDataLoss},
      {resource_exhausted("m"), StatusCode::kResourceExhausted},
      {failed_precondition("m"), StatusCode::kFailedPrecondition},
      {unavailable("m"), StatusCode::kUnavailable},
      {unimplemented("m"), StatusCode::kUnimplemented},
      {internal_error("m"), StatusCode::kInternal},
  };
  for (const auto& [status, code] : made) {
    EXPECT_EQ(status, Status(code, "m"));
    EXPECT_EQ(status.to_string(), std::string(status_code_name(code)) + ": m");
    EXPECT_FALSE(status.ok());
  }
}

TEST(Status, ContextStandsInFrontOfAnErrorAndNeverMakesOne) {
  const Status status = data_loss("offset 8: expected 3").with_context("a.gguf");
  EXPECT_EQ(status.to_string(), "DATA_LOSS: a.gguf: offset 8: expected 3");
  EXPECT_EQ(status.with_context("x").message(), "x: a.gguf: offset 8: expected 3");
  EXPECT_EQ(Status().with_context("x"), Status());
}

TEST(Result, HoldsAValueOrTheReasonThatThereIsNone) {
  const Result<int> value = 7;
  ASSERT_TRUE(value.ok());
  EXPECT_EQ(*value, 7);
  EXPECT_EQ(value.value(), 7);
  EXPECT_TRUE(value.status().ok());
  const Result<int> error = not_found("no");
  EXPECT_FALSE(error.ok());
  EXPECT_EQ(error.status(), not_found("no"));
}

TEST(Result, MovesValuesThatCannotBeCopied) {
  Result<std::unique_ptr<int>> result = std::make_unique<int>(3);
  **result = 4;
  EXPECT_EQ(*result->get(), 4);
  const std::unique_ptr<int> taken = std::move(result).value();
  EXPECT_EQ(*taken, 4);
}

TEST(ResultDeathTest, AValueThatIsNotThereAbortsWithItsError) {
  Result<int> error = not_found("no such block");
  EXPECT_DEATH(static_cast<void>(error.value()), "broken invariant: no such block");
  EXPECT_DEATH(static_cast<void>(*std::as_const(error)), "no such block");
}

TEST(ResultDeathTest, OkIsNoReasonForAMissingValue) {
  EXPECT_DEATH(static_cast<void>(Result<int>(Status())), "a Result without a value needs an error");
}

Status fail_if(bool fail) {
  return fail ? unavailable("failed") : Status();
}
Result<std::string> text_if(bool have) {
  if (!have) {
    return not_found("none");
  }
  return std::string("text");
}

Result<size_t> length_of_two(bool first, bool second, int* num_reached) {
  STET_RETURN_IF_ERROR(fail_if(!first));
  *num_reached += 1;
  STET_ASSIGN_OR_RETURN(const std::string a, text_if(first));
  STET_ASSIGN_OR_RETURN(const std::string b, text_if(second));
  *num_reached += 1;
  return a.size() + b.size();
}

TEST(Result, TheMacrosReturnTheFirstErrorAndRunNothingAfterIt) {
  int num_reached = 0;
  EXPECT_EQ(*length_of_two(true, true, &num_reached), 8u);
  EXPECT_EQ(num_reached, 2);
  num_reached = 0;
  EXPECT_EQ(length_of_two(false, true, &num_reached).status(), unavailable("failed"));
  EXPECT_EQ(num_reached, 0);
  EXPECT_EQ(length_of_two(true, false, &num_reached).status(), not_found("none"));
  EXPECT_EQ(num_reached, 1);
}

TEST(Result, TheMacrosEvaluateTheirExpressionOnce) {
  int calls = 0;
  const auto counted = [&]() -> Result<int> { return ++calls; };
  const auto use = [&]() -> Status {
    STET_ASSIGN_OR_RETURN(const int value, counted());
    STET_RETURN_IF_ERROR(fail_if(value != 1));
    return {};
  };
  EXPECT_TRUE(use().ok());
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace stet
