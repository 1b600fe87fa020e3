// Answers that are not streamed (api.md sec. 5.2), to the byte.
#include <cmath>

#include "tests/proxy/server_fixture.h"

namespace stet::proxy::testing {
namespace {

using Answer = ServerTest;
const std::string kIds = "X-Request-Id: r1\r\n";

void finish_with(FakeCall& call, uint32_t index, const std::string& text,
                 std::vector<v1::TokenLogprob> logprobs, v1::FinishReason reason) {
  v1::Finished finished;
  finished.set_index(index);
  finished.set_reason(reason);
  finished.mutable_output()->set_text(text);
  for (auto& token : logprobs) {
    finished.mutable_output()->add_token_ids(token.token_id());
    *finished.mutable_output()->add_logprobs() = std::move(token);
  }
  call.finished(std::move(finished));
}

TEST_F(Answer, ChatHasTheShapeOfTheContract) {
  start();
  client_.set_script([](FakeCall& call) {
    call.started(3);
    finish_with(call, 1, "b", {}, v1::FINISH_REASON_LENGTH);  // choices may finish in any order
    finish_with(call, 0, "a\"", {}, v1::FINISH_REASON_STOP);
    call.summary(3, 5, 2);
    call.ok();
  });
  const HttpAnswer answer = chat(std::string(kHi) + R"(,"n":2)", kIds);
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.header("content-type"), "application/json");
  EXPECT_EQ(answer.header("x-request-id"), "r1");
  EXPECT_FALSE(answer.header("openai-processing-ms").empty());
  EXPECT_EQ(
      answer.body,
      R"({"id":"chatcmpl-r1","object":"chat.completion","created":1700000000,"model":"fake/model",)"
      R"("system_fingerprint":"stet-abc-01234567","choices":[)"
      R"({"index":0,"message":{"role":"assistant","content":"a\"","refusal":null},"logprobs":null,"finish_reason":"stop","stop_reason":null},)"
      R"({"index":1,"message":{"role":"assistant","content":"b","refusal":null},"logprobs":null,"finish_reason":"length","stop_reason":null}],)"
      R"("usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8,"prompt_tokens_details":{"cached_tokens":2},)"
      R"("completion_tokens_details":{"reasoning_tokens":0}}})");
}

TEST_F(Answer, DeltasOfADaemonThatStreamsAllTheSameAreSummedUp) {
  start();
  client_.set_script([](FakeCall& call) { call.answer({"Hel", "lo"}); });
  EXPECT_EQ(json(chat(kHi))["choices"][0]["message"]["content"], "Hello");
}

TEST_F(Answer, ChatLogprobsHaveExactlyTheAlternativesAskedFor) {
  start();
  client_.set_script([](FakeCall& call) {
    call.started();
    v1::TokenLogprob token = make_logprob(5, -0.1F, "\xFF");
    for (uint32_t i = 0; i < 3; ++i) {
      auto* top = token.add_top();
      top->set_token_id(i);
      top->set_logprob(i == 2 ? -INFINITY : -0.25F);
      top->set_token_bytes("x");
    }
    finish_with(call, 0, "t", {token}, v1::FINISH_REASON_STOP);
    call.summary(3, 1);
    call.ok();
  });
  const HttpAnswer two = chat(std::string(kHi) + R"(,"logprobs":true,"top_logprobs":2)");
  EXPECT_EQ(
      json(two)["choices"][0]["logprobs"].dump(),
      R"({"content":[{"bytes":[255],"logprob":-0.1,"token":"�","top_logprobs":[)"
      R"({"bytes":[120],"logprob":-0.25,"token":"x"},{"bytes":[120],"logprob":-0.25,"token":"x"}]}],"refusal":null})");
  const HttpAnswer ids = chat(
      std::string(kHi) + R"(,"logprobs":true,"top_logprobs":3,"return_tokens_as_token_ids":true)");
  const auto item = json(ids)["choices"][0]["logprobs"]["content"][0];
  EXPECT_EQ(item["token"], "token_id:5");
  EXPECT_EQ(item["top_logprobs"][2]["token"], "token_id:2");
  EXPECT_EQ(item["top_logprobs"][2]["logprob"], -9999.0);
}

TEST_F(Answer, CompletionLogprobsAreParallelArrays) {
  start();
  client_.set_script([](FakeCall& call) {
    call.started(1);
    // "é" in two tokens: the second begins no new character.
    std::vector<v1::TokenLogprob> tokens = {make_logprob(1, -1, "ab"), make_logprob(2, -2, "\xC3"),
                                            make_logprob(3, -3, "\xA9"), make_logprob(4, -4, "c")};
    auto* top = tokens[0].add_top();
    top->set_token_id(9);
    top->set_logprob(-0.5F);
    top->set_token_bytes("z");
    top = tokens[3].add_top();  // the chosen token is the best one: listed once
    top->set_token_id(4);
    top->set_logprob(-4);
    top->set_token_bytes("c");
    finish_with(call, 0, "abéc", tokens, v1::FINISH_REASON_LENGTH);
    call.summary(1, 4);
    call.ok();
  });
  const HttpAnswer answer = connect().request(
      "POST", kCompletionsPath, R"({"prompt":"x","logprobs":1,"return_token_ids":true})", kIds);
  EXPECT_EQ(
      answer.body,
      R"({"id":"cmpl-r1","object":"text_completion","created":1700000000,"model":"fake/model",)"
      R"("system_fingerprint":"stet-abc-01234567","choices":[{"index":0,"text":"abéc","logprobs":{"tokens":["ab","�","�","c"],)"
      R"("token_logprobs":[-1.0,-2.0,-3.0,-4.0],"top_logprobs":[{"z":-0.5,"ab":-1.0},{"�":-2.0},{"�":-3.0},{"c":-4.0}],)"
      R"("text_offset":[0,2,3,3]},"finish_reason":"length","stop_reason":null,"prompt_token_ids":[100],"token_ids":[1,2,3,4]}],)"
      R"("usage":{"prompt_tokens":1,"completion_tokens":4,"total_tokens":5,"prompt_tokens_details":{"cached_tokens":0},)"
      R"("completion_tokens_details":{"reasoning_tokens":0}}})");
}

TEST_F(Answer, TokenIdsOfChatStandWhereVllmHasThem) {
  start();
  client_.set_script([](FakeCall& call) { call.answer({"x"}); });
  const auto answer = json(chat(std::string(kHi) + R"(,"return_token_ids":true)"));
  EXPECT_EQ(answer["prompt_token_ids"].dump(), "[100,101,102]");
  EXPECT_EQ(answer["choices"][0]["token_ids"].dump(), "[10]");
}

TEST_F(Answer, CallOptionsReachTheClient) {
  start();
  HttpConnection connection = connect();
  connection.send(
      post_text(kChatPath, "{" + std::string(kHi) + "}",
                "x-request-timeout-ms: 1500\r\ntraceparent: 00-ab-cd-01\r\nX-Request-Id: abc\r\n"));
  const auto call = client_.wait_call();
  ASSERT_NE(call, nullptr);
  EXPECT_EQ(call->call_options.timeout_us, 1'500'000U);
  EXPECT_EQ(call->call_options.traceparent, "00-ab-cd-01");
  EXPECT_TRUE(call->call_options.peer.starts_with("127.0.0.1:"));
  EXPECT_EQ(call->chat.request_id(), "abc");
  call->answer({"x"});
  EXPECT_EQ(json(connection.read_answer())["id"], "chatcmpl-abc");
}

TEST_F(Answer, RequestIdsAreDrawnTakenFromTheBodyOrRefused) {
  start();
  client_.set_script([](FakeCall& call) { call.answer({"x"}); });
  const HttpAnswer drawn = chat(kHi);
  EXPECT_EQ(drawn.header("x-request-id").size(), 32U);
  EXPECT_EQ(json(drawn)["id"], "chatcmpl-" + drawn.header("x-request-id"));
  const HttpAnswer body =
      chat(std::string(kHi) + R"(,"request_id":"mine")", "X-Request-Id: other\r\n");
  EXPECT_EQ(body.header("x-request-id"), "mine");
  const HttpAnswer refused = chat(kHi, "X-Request-Id: a b\r\n");
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(refused.header("x-request-id").size(), 32U);
  EXPECT_EQ(chat(kHi, "x-request-timeout-ms: 0\r\n").status, 400);
  EXPECT_EQ(chat(kHi, "x-request-timeout-ms: soon\r\n").status, 400);
  EXPECT_EQ(chat(kHi, "x-request-timeout-ms: 99999999999\r\n").status, 400);
}

}  // namespace
}  // namespace stet::proxy::testing
