// Every row of the table of errors (api.md sec. 3), through a server.
#include <fstream>

#include "src/proxy/api_error.h"
#include "tests/proxy/server_fixture.h"

namespace stet::proxy::testing {
namespace {

using Errors = ServerTest;

struct Row {
  int code;
  const char* reason;
  int status;
  const char* type;
  const char* api_code;
  const char* retry;        // "" = not sent
  const char* retry_after;  // with RetryInfo of 5 s where the row has one
};

constexpr const char* kInvalid = "invalid_request_error";
constexpr Row kRows[] = {
    {3, "malformed", 400, kInvalid, "invalid_type", "", ""},
    {3, "out_of_range", 400, kInvalid, "invalid_value", "", ""},
    {3, "unknown_field", 400, kInvalid, "unknown_parameter", "", ""},
    {3, "unsupported", 400, kInvalid, "unsupported_parameter", "", ""},
    {3, "context_length", 400, kInvalid, "context_length_exceeded", "", ""},
    {3, "template", 400, kInvalid, "invalid_messages", "", ""},
    {3, "constraint", 400, kInvalid, "invalid_schema", "", ""},
    {9, "fingerprint", 400, kInvalid, "fingerprint_mismatch", "", ""},
    {16, "unauthenticated", 401, "authentication_error", "invalid_api_key", "", ""},
    {7, "permission_denied", 403, "permission_error", "permission_denied", "", ""},
    {5, "model", 404, kInvalid, "model_not_found", "", ""},
    {6, "duplicate_request_id", 409, kInvalid, "duplicate_request_id", "false", ""},
    {8, "quota", 429, "rate_limit_error", "rate_limit_exceeded", "true", "5"},
    {8, "queue_full", 429, "rate_limit_error", "server_overloaded", "true", "5"},
    {8, "deadline_unattainable", 429, "rate_limit_error", "deadline_unattainable", "false", ""},
    {8, "too_large", 413, kInvalid, "request_too_large", "", ""},
    {4, "deadline_exceeded", 504, "timeout_error", "deadline_exceeded", "false", ""},
    {4, "queue_timeout", 504, "timeout_error", "queue_timeout", "", ""},
    {4, "slow_reader", 504, "timeout_error", "slow_reader", "false", ""},
    {14, "loading", 503, "server_error", "loading", "true", "5"},
    {14, "draining", 503, "server_error", "draining", "true", "5"},
    {14, "degraded", 503, "server_error", "degraded", "true", "5"},
    {14, "drain_timeout", 503, "server_error", "drain_timeout", "true", ""},
    {1, "cancelled", 503, "server_error", "cancelled", "false", ""},
    {10, "operator", 503, "server_error", "cancelled", "false", ""},
    {13, "internal", 500, "server_error", "internal_error", "false", ""},
    {13, "non_finite", 500, "server_error", "internal_error", "false", ""},
    {13, "poison_request", 500, "server_error", "internal_error", "false", ""},
    {2, "internal", 500, "server_error", "internal_error", "false", ""},
};

TEST_F(Errors, EveryRowHasItsStatusTypeCodeAndHeaders) {
  start();
  for (const Row& row : kRows) {
    SCOPED_TRACE(std::string(row.api_code) + " " + row.reason);
    client_.set_script([&](FakeCall& call) {
      call.fail(row.code, "what went wrong", row.reason, "", *row.retry_after != '\0' ? 5 : 0);
    });
    const HttpAnswer answer = chat(kHi, "X-Request-Id: req-1\r\n");
    EXPECT_EQ(answer.status, row.status);
    const auto error = json(answer)["error"];
    EXPECT_EQ(error["message"], "what went wrong");
    EXPECT_EQ(error["type"], row.type);
    EXPECT_EQ(error["code"], row.api_code);
    EXPECT_EQ(error["reason"], row.reason);
    EXPECT_TRUE(error["param"].is_null() || row.status == 404);
    EXPECT_EQ(answer.header("x-should-retry"), row.retry);
    EXPECT_EQ(answer.header("retry-after"), row.retry_after);
    EXPECT_EQ(answer.header("www-authenticate"), row.status == 401 ? "Bearer" : "");
    EXPECT_EQ(answer.header("x-request-id"), "req-1");
    EXPECT_EQ(answer.header("x-stet-version"), "1.2.3");
    EXPECT_EQ(answer.header("content-type"), "application/json");
  }
}

TEST_F(Errors, RetryAfterIsThereWithoutRetryInfo) {
  start();
  client_.set_script([](FakeCall& call) { call.fail(14, "loading", "loading"); });
  EXPECT_EQ(chat(kHi).header("retry-after"), "1");
}

TEST_F(Errors, ProtoPathsComeBackAsTheNamesThatTheClientWrote) {
  start();
  struct Case {
    const char* path;
    const char* members;
    const char* field;
    const char* param;
  };
  const Case cases[] = {
      {kChatPath, kHi, "sampling.top_p", "top_p"},
      {kChatPath, kHi, "sampling.logit_bias[7]", "logit_bias[7]"},
      {kChatPath, kHi, "messages[2].content", "messages[2].content"},
      {kChatPath, R"("messages":[{"role":"user","content":"x"}],"stop":["a","b"])",
       "stop.strings[1]", "stop[1]"},
      {kChatPath, R"("messages":[{"role":"user","content":"x"}],"max_tokens":1)",
       "sampling.max_tokens", "max_tokens"},
      {kChatPath, R"("messages":[{"role":"user","content":"x"}],"max_completion_tokens":1)",
       "sampling.max_tokens", "max_completion_tokens"},
      {kChatPath,
       R"("max_completion_tokens":1,"messages":[{"role":"user","content":"x"}],"max_tokens":1)",
       "sampling.max_tokens", "max_completion_tokens"},
      {kChatPath, R"("messages":[{"role":"user","content":"x"}],"logprobs":true,"top_logprobs":9)",
       "output.logprobs", "top_logprobs"},
      {kCompletionsPath, R"("prompt":"x","logprobs":9)", "output.logprobs", "logprobs"},
      {kCompletionsPath, R"("prompt":"x")", "text", "prompt"},
      {kCompletionsPath, R"("prompt":[1,2])", "tokens.ids[1]", "prompt[1]"},
      {kChatPath, kHi, "scheduling.priority_class", "priority"},
      {kChatPath, kHi, "template_kwargs_json.x", "chat_template_kwargs.x"},
      {kChatPath, kHi, "something.new", "something.new"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.field);
    client_.set_script([&](FakeCall& call) {
      call.fail(3, std::string(c.field) + " is 9: must be 0 to 1", "out_of_range", c.field);
    });
    const HttpAnswer answer = connect().request("POST", c.path, std::string("{") + c.members + "}");
    EXPECT_EQ(answer.status, 400);
    EXPECT_EQ(json(answer)["error"]["param"], c.param);
    EXPECT_EQ(json(answer)["error"]["message"], std::string(c.param) + " is 9: must be 0 to 1");
  }
}

// A status without our details comes from a library on the way: its text may name addresses and
// paths.
TEST_F(Errors, LibraryTextStaysInside) {
  start();
  for (const int code : {1, 2, 4, 8, 12, 13, 14, 15}) {
    client_.set_script([&](FakeCall& call) {
      call.fail(code, "failed to connect to ipv4:10.0.0.7:50051 /var/run/x");
    });
    const HttpAnswer answer = chat(kHi);
    EXPECT_GE(answer.status, 429);
    EXPECT_EQ(answer.body.find("10.0.0.7"), std::string::npos) << code;
    EXPECT_EQ(answer.body.find("/var"), std::string::npos) << code;
  }
}

}  // namespace
}  // namespace stet::proxy::testing
