// Golden transcripts of streamed answers (api.md sec. 5.4).
#include "tests/proxy/server_fixture.h"

namespace stet::proxy::testing {
namespace {

using Stream = ServerTest;

// What every chunk of a chat stream begins with; the id comes from X-Request-Id: r1.
const std::string kHead =
    R"(data: {"id":"chatcmpl-r1","object":"chat.completion.chunk","created":1700000000,"model":"fake/model",)"
    R"("system_fingerprint":"stet-abc-01234567","choices":[)";
const std::string kTextHead =
    R"(data: {"id":"cmpl-r1","object":"text_completion","created":1700000000,"model":"fake/model",)"
    R"("system_fingerprint":"stet-abc-01234567","choices":[)";

std::string chunk(const std::string& choice, const std::string& after = "") {
  return kHead + choice + "]" + after + "}\n\n";
}
std::string text_chunk(const std::string& choice, const std::string& after = "") {
  return kTextHead + choice + "]" + after + "}\n\n";
}
std::string role(int index, const std::string& after = "") {
  return chunk(
      R"({"index":)" + std::to_string(index) +
          R"(,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null})",
      after);
}
std::string content(int index, const std::string& text, const std::string& after = "") {
  return chunk(R"({"index":)" + std::to_string(index) + R"(,"delta":{"content":")" + text +
                   R"("},"logprobs":null,"finish_reason":null})",
               after);
}
std::string last(int index, const std::string& reason = "stop", const std::string& matched = "null",
                 const std::string& after = "") {
  return chunk(R"({"index":)" + std::to_string(index) +
                   R"(,"delta":{},"logprobs":null,"finish_reason":")" + reason +
                   R"(","stop_reason":)" + matched + "}",
               after);
}

const std::string kDone = "data: [DONE]\n\n";
const std::string kStreamIds = "X-Request-Id: r1\r\n";

TEST_F(Stream, ChatIsRoleContentLastDone) {
  start();
  client_.set_script([](FakeCall& call) { call.answer({"Hel", "lo\n"}); });
  const HttpAnswer answer = chat(std::string(kHi) + R"(,"stream":true)", kStreamIds);
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(answer.complete);
  EXPECT_EQ(answer.header("content-type"), "text/event-stream; charset=utf-8");
  EXPECT_EQ(answer.header("cache-control"), "no-cache");
  EXPECT_EQ(answer.header("x-accel-buffering"), "no");
  EXPECT_EQ(answer.header("x-request-id"), "r1");
  EXPECT_EQ(answer.body, role(0) + content(0, "Hel") + content(0, "lo\\n") + last(0) + kDone);
}

TEST_F(Stream, RolesOfAllChoicesComeFirstInOrder) {
  start();
  client_.set_script([](FakeCall& call) {
    call.started();
    call.delta(2, "c", {1});
    call.delta(0, "a", {1});
    call.finished(2);
    call.delta(1, "b", {1});
    call.finished(1, v1::FINISH_REASON_LENGTH);
    call.finished(0);
    call.summary(3, 3);
    call.ok();
  });
  const HttpAnswer answer = chat(std::string(kHi) + R"(,"stream":true,"n":3)", kStreamIds);
  EXPECT_EQ(answer.body, role(0) + role(1) + role(2) + content(2, "c") + content(0, "a") + last(2) +
                             content(1, "b") + last(1, "length") + last(0) + kDone);
}

TEST_F(Stream, WithheldTextMakesNoEmptyDelta) {
  start();
  client_.set_script([](FakeCall& call) {
    call.started();
    call.delta(0, "", {1});
    call.delta(0, "ab", {2, 3});
    call.delta(0, "", {4});
    v1::Finished finished;
    finished.set_reason(v1::FINISH_REASON_STOP);
    finished.set_stop_string("END");
    call.finished(finished);
    call.summary(3, 4);
    call.ok();
  });
  const HttpAnswer answer = chat(std::string(kHi) + R"(,"stream":true,"stop":"END")", kStreamIds);
  EXPECT_EQ(answer.body, role(0) + content(0, "ab") + last(0, "stop", "\"END\"") + kDone);
}

TEST_F(Stream, LogprobsAndTokenIdsOfWithheldTextAreSent) {
  start();
  client_.set_script([](FakeCall& call) {
    call.started(2);
    call.delta(0, "", {7}, {make_logprob(7, -0.5F, "\xE2\x82")});
    call.finished(0);
    call.summary(2, 1);
    call.ok();
  });
  const HttpAnswer answer = chat(
      std::string(kHi) + R"(,"stream":true,"logprobs":true,"return_token_ids":true)", kStreamIds);
  EXPECT_EQ(
      answer.body,
      role(0, R"(,"prompt_token_ids":[100,101])") +
          chunk(
              R"({"index":0,"delta":{"content":""},"logprobs":{"content":[{"token":"�","logprob":-0.5,)"
              R"("bytes":[226,130],"top_logprobs":[]}],"refusal":null},"finish_reason":null,"token_ids":[7]})") +
          last(0) + kDone);
}

TEST_F(Stream, AStopTokenThatIsNotEosIsTheStopReason) {
  start();
  for (const auto& [id, shown] : {std::pair<uint32_t, std::string>{7, "7"}, {2, "null"}}) {
    client_.set_script([id = id](FakeCall& call) {
      call.started();
      v1::Finished finished;
      finished.set_reason(v1::FINISH_REASON_STOP);
      finished.set_stop_token_id(id);
      call.finished(finished);
      call.summary(3, 1);
      call.ok();
    });
    EXPECT_EQ(chat(std::string(kHi) + R"(,"stream":true)", kStreamIds).body,
              role(0) + last(0, "stop", shown) + kDone);
  }
}

TEST_F(Stream, UsageIsNullUntilItsOwnChunk) {
  start();
  client_.set_script([](FakeCall& call) { call.answer({"x"}); });
  const std::string null_usage = R"(,"usage":null)";
  const std::string usage =
      kHead +
      R"(],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4,"prompt_tokens_details":)"
      R"({"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}})"
      "\n\n";
  EXPECT_EQ(chat(std::string(kHi) + R"(,"stream":true,"stream_options":{"include_usage":true})",
                 kStreamIds)
                .body,
            role(0, null_usage) + content(0, "x", null_usage) +
                last(0, "stop", "null", null_usage) + usage + kDone);
  // Empty options: no usage key at all.
  EXPECT_EQ(chat(std::string(kHi) + R"(,"stream":true,"stream_options":{})", kStreamIds).body,
            role(0) + content(0, "x") + last(0) + kDone);
}

TEST_F(Stream, ContinuousUsageCountsOnEachChunk) {
  start();
  client_.set_script([](FakeCall& call) { call.answer({"x", "y"}); });
  const auto running = [](int completion) {
    return R"(,"usage":{"prompt_tokens":3,"completion_tokens":)" + std::to_string(completion) +
           R"(,"total_tokens":)" + std::to_string(3 + completion) + "}";
  };
  const HttpAnswer answer =
      chat(std::string(kHi) + R"(,"stream":true,"stream_options":{"continuous_usage_stats":true})",
           kStreamIds);
  EXPECT_EQ(answer.body, role(0, running(0)) + content(0, "x", running(1)) +
                             content(0, "y", running(2)) + last(0, "stop", "null", running(2)) +
                             kDone);
}

TEST_F(Stream, CompletionsHaveTextAndNoRole) {
  start();
  client_.set_script([](FakeCall& call) {
    call.started(1);
    call.delta(0, "é", {5}, {make_logprob(5, -1.25F, "é")});
    call.delta(0, "b", {6}, {make_logprob(6, -INFINITY, "b")});
    call.finished(0, v1::FINISH_REASON_LENGTH);
    call.summary(1, 2);
    call.ok();
  });
  const HttpAnswer answer = connect().request(
      "POST", kCompletionsPath,
      R"({"prompt":"a","stream":true,"logprobs":0,"return_token_ids":true})", kStreamIds);
  EXPECT_EQ(
      answer.body,
      text_chunk(
          R"({"index":0,"text":"é","logprobs":{"tokens":["é"],"token_logprobs":[-1.25],"top_logprobs":)"
          R"([{"é":-1.25}],"text_offset":[0]},"finish_reason":null,"prompt_token_ids":[100],"token_ids":[5]})") +
          text_chunk(
              R"({"index":0,"text":"b","logprobs":{"tokens":["b"],"token_logprobs":[-9999.0],"top_logprobs":)"
              R"([{"b":-9999.0}],"text_offset":[1]},"finish_reason":null,"token_ids":[6]})") +
          text_chunk(
              R"({"index":0,"text":"","logprobs":null,"finish_reason":"length","stop_reason":null})") +
          kDone);
}

TEST_F(Stream, AnErrorBeforeTheFirstTokenHasAStatus) {
  start();
  client_.set_script([](FakeCall& call) {
    call.started();
    call.fail(14, "draining", "draining", "", 7);
  });
  const HttpAnswer answer = chat(std::string(kHi) + R"(,"stream":true)");
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.header("retry-after"), "7");
  EXPECT_EQ(answer.header("x-should-retry"), "true");
  EXPECT_EQ(
      answer.body,
      R"({"error":{"message":"draining","type":"server_error","param":null,"code":"draining","reason":"draining"}})");
}

TEST_F(Stream, AnErrorAfterTheFirstTokenIsAFrameWithoutDone) {
  start();
  client_.set_script([](FakeCall& call) {
    call.started();
    call.delta(0, "x", {1});
    call.fail(13, "row 3 is not finite", "non_finite");
  });
  const HttpAnswer answer = chat(std::string(kHi) + R"(,"stream":true)", kStreamIds);
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(answer.complete);
  EXPECT_EQ(
      answer.body,
      role(0) + content(0, "x") +
          R"(data: {"error":{"message":"row 3 is not finite","type":"server_error","param":null,)"
          R"("code":"internal_error","reason":"non_finite"}})"
          "\n\n");
}

TEST_F(Stream, TheStatusLineWaitsForTheFirstToken) {
  start();
  HttpConnection connection = connect();
  connection.send(post_text(kChatPath, "{" + std::string(kHi) + R"(,"stream":true})"));
  const auto call = client_.wait_call();
  ASSERT_NE(call, nullptr);
  call->started();
  call->fail(8, "full", "queue_full", "",
             3);  // had the status line been sent, this could be no 429
  EXPECT_EQ(connection.read_answer().status, 429);
}

TEST_F(Stream, TheStatusLineWaitsNoLongerThanItsTime) {
  HttpOptions options;
  options.first_byte_wait_us = 1'000;
  options.keep_alive_comment_us = 1'000;
  start(options);
  HttpConnection connection = connect();
  connection.send(post_text(kChatPath, "{" + std::string(kHi) + R"(,"stream":true})"));
  const auto call = client_.wait_call();
  ASSERT_NE(call, nullptr);
  connection.read_until("text/event-stream");
  connection.read_until(": keep-alive\n\n");
  call->fail(14, "gone", "drain_timeout");
  const HttpAnswer answer = connection.read_answer();
  EXPECT_EQ(answer.status, 200);
  const auto frames = sse_frames(answer.body);
  ASSERT_EQ(frames.size(), 1U);
  EXPECT_EQ(nlohmann::json::parse(frames[0])["error"]["code"], "drain_timeout");
}

TEST_F(Stream, WarnedFieldsStandInAHeader) {
  HttpOptions options;
  options.warn_unknown_fields = true;
  start(options);
  client_.set_script([](FakeCall& call) { call.answer({"x"}); });
  for (const char* stream : {"true", "false"}) {
    const HttpAnswer answer =
        chat(std::string(kHi) + R"(,"frobnicate":1,"a\r\nb: c":2,"stream":)" + stream);
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.header("stet-warning"), "unknown-fields: frobnicate a??b??c");
  }
}

// A daemon that breaks the order of events gives an error, never a stream that looks right.
TEST_F(Stream, BrokenEventOrderIsAnInternalError) {
  start();
  const std::vector<std::function<void(FakeCall&)>> scripts = {
      [](FakeCall& call) { call.delta(0, "x", {1}); },  // no Started
      [](FakeCall& call) { call.started(), call.started(); },
      [](FakeCall& call) { call.started(), call.delta(1, "x", {1}); },  // no such choice
      [](FakeCall& call) { call.started(), call.finished(0), call.delta(0, "x", {1}); },
      [](FakeCall& call) { call.started(), call.finished(0), call.finished(0); },
      [](FakeCall& call) { call.started(), call.summary(1, 1); },
      [](FakeCall& call) { call.started(), call.finished(0), call.ok(); },  // no Summary
      [](FakeCall& call) { call.ok(); },
  };
  for (size_t i = 0; i < scripts.size(); ++i) {
    client_.set_script(scripts[i]);
    for (const char* stream : {"true", "false"}) {
      const HttpAnswer answer = chat(std::string(kHi) + R"(,"stream":)" + stream);
      EXPECT_TRUE(answer.complete);
      EXPECT_EQ(answer.body.find("[DONE]"), std::string::npos) << i;
      EXPECT_NE(answer.body.find("internal_error"), std::string::npos) << i << answer.body;
      if (std::string(stream) == "false") {
        EXPECT_EQ(answer.status, 500) << i;
      }
    }
  }
}

}  // namespace
}  // namespace stet::proxy::testing
