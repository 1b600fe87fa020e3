// Lines of batch files: to a request, and from events to the line of an answer, to the byte.
#include "stet/proxy/batch_file.h"

#include <gtest/gtest.h>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "stet/v1/inference.pb.h"
#include "stet/v1/model.pb.h"

namespace stet::proxy::testing {
namespace {

std::shared_ptr<const std::vector<v1::Model>> one_model() {
  v1::Model model;
  model.set_id("fake/model");
  model.add_eos_token_ids(2);
  return std::make_shared<const std::vector<v1::Model>>(1, model);
}

std::unique_ptr<BatchFileRequest> parse(const std::string& url, const std::string& body) {
  auto parsed = BatchFileRequest::parse(
      R"({"custom_id":"a\"","method":"POST","url":")" + url + R"(","body":)" + body + "}",
      one_model());
  EXPECT_TRUE(parsed.ok()) << parsed.status().to_string();
  return std::move(parsed).value();
}

const std::string kChat = "/v1/chat/completions", kCompletions = "/v1/completions";

bool give(BatchFileRequest& request, const v1::GenerateResponse& event) {
  v1::GenerateBatchResponse response;
  response.set_custom_id(request.custom_id());
  *response.mutable_event() = event;
  return request.add(std::move(response));
}

TEST(BatchFile, ALineIsTheRequestThatPostWouldSend) {
  const auto chat = parse(kChat, R"({"messages":[{"role":"user","content":"hi"}],"top_p":0.5})");
  EXPECT_EQ(chat->custom_id(), "a\"");
  ASSERT_FALSE(chat->refused());
  const v1::GenerateBatchRequest request = chat->take_request();
  EXPECT_EQ(request.custom_id(), "a\"");
  EXPECT_EQ(request.chat().messages(0).content(0).text(), "hi");
  EXPECT_EQ(request.chat().sampling().top_p(), 0.5f);
  EXPECT_EQ(request.chat().output().mode(), v1::OUTPUT_MODE_FINAL);
  const auto text = parse(kCompletions, R"({"prompt":[1,2]})")->take_request();
  EXPECT_EQ(text.generate().tokens().ids_size(), 2);
  EXPECT_EQ(text.generate().sampling().max_tokens(), 16u) << "the default of /v1/completions";
}

TEST(BatchFile, AnAnswerHasThePostsBody) {
  const auto request = parse(kCompletions, R"({"prompt":"x"})");
  v1::GenerateResponse event;
  event.mutable_started()->set_request_id("r1");
  event.mutable_started()->set_model("fake/model");
  event.mutable_started()->set_fingerprint("stet-abc-01234567");
  event.mutable_started()->set_created_unix_ms(1'700'000'000'000);
  EXPECT_FALSE(give(*request, event));
  event.mutable_finished()->set_reason(v1::FINISH_REASON_STOP);
  event.mutable_finished()->set_stop_token_id(2);
  event.mutable_finished()->mutable_output()->set_text("yes");
  EXPECT_FALSE(give(*request, event));
  event.mutable_summary()->mutable_usage()->set_prompt_tokens(3);
  event.mutable_summary()->mutable_usage()->set_completion_tokens(2);
  EXPECT_TRUE(give(*request, event));
  const BatchAnswer answer = request->take_answer();
  EXPECT_EQ(answer.http_status, 200);
  EXPECT_EQ(
      answer.line,
      R"({"id":"batch_req_r1","custom_id":"a\"","response":{"status_code":200,"request_id":"r1","body":)"
      R"({"id":"cmpl-r1","object":"text_completion","created":1700000000,"model":"fake/model",)"
      R"("system_fingerprint":"stet-abc-01234567","choices":[)"
      R"({"index":0,"text":"yes","logprobs":null,"finish_reason":"stop","stop_reason":null}],)"
      R"("usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,"prompt_tokens_details":{"cached_tokens":0},)"
      R"("completion_tokens_details":{"reasoning_tokens":0}}}},"error":null})"
      "\n");
  EXPECT_EQ(answered_custom_id(answer.line.substr(0, answer.line.size() - 1)).value(), "a\"");
}

TEST(BatchFile, AnErrorOfTheDaemonIsThePostsError) {
  const auto request = parse(kChat, R"({"messages":[{"role":"user","content":"hi"}],"top_p":2})");
  google::rpc::Status status;
  status.set_code(3);
  status.set_message("sampling.top_p: 2: must be in 0..1");
  google::rpc::ErrorInfo info;
  info.set_reason("out_of_range");
  info.set_domain("stet");
  status.add_details()->PackFrom(info);
  google::rpc::BadRequest bad;
  bad.add_field_violations()->set_field("sampling.top_p");
  status.add_details()->PackFrom(bad);
  google::rpc::RequestInfo id;
  id.set_request_id("r2");
  status.add_details()->PackFrom(id);
  v1::GenerateBatchResponse response;
  response.mutable_error()->set_code(3);
  response.mutable_error()->set_details(status.SerializeAsString());
  EXPECT_TRUE(request->add(std::move(response)));
  const BatchAnswer answer = request->take_answer();
  EXPECT_EQ(answer.http_status, 400);
  EXPECT_EQ(
      answer.line,
      R"({"id":"batch_req_r2","custom_id":"a\"","response":{"status_code":400,"request_id":"r2","body":)"
      R"({"error":{"message":"top_p: 2: must be in 0..1","type":"invalid_request_error","param":"top_p",)"
      R"("code":"invalid_value","reason":"out_of_range"}}},"error":null})"
      "\n");
}

TEST(BatchFile, ABodyThatCannotBeSentIsAnsweredHere) {
  for (const char* body : {"[]", "{}", R"({"prompt":"x","colour":1})", R"({"prompt":["x","y"]})",
                           R"({"prompt":"x","stream":true})"}) {
    const auto request = parse(kCompletions, body);
    ASSERT_TRUE(request->refused()) << body;
    const BatchAnswer answer = request->take_answer();
    EXPECT_EQ(answer.http_status, 400);
    EXPECT_NE(answer.line.find(R"("error":{"message":)"), std::string::npos) << answer.line;
  }
}

TEST(BatchFile, EventsOutOfOrderAreAnError) {
  const auto request = parse(kCompletions, R"({"prompt":"x"})");
  v1::GenerateResponse event;
  event.mutable_summary();
  EXPECT_TRUE(give(*request, event));
  EXPECT_EQ(request->take_answer().http_status, 500);
}

TEST(BatchFile, ALineWithoutItsPartsIsNone) {
  for (const char* line :
       {"", "{", "[]", "{}", R"({"custom_id":"a","method":"POST","url":"/v1/completions"})",
        R"({"custom_id":"a","method":"PUT","url":"/v1/completions","body":{}})",
        R"({"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{}})",
        R"({"custom_id":7,"method":"POST","url":"/v1/completions","body":{}})",
        R"({"custom_id":"","method":"POST","url":"/v1/completions","body":{}})",
        R"({"custom_id":"a","custom_id":"b","method":"POST","url":"/v1/completions","body":{}})",
        R"({"custom_id":"a","method":"POST","url":"/v1/completions","body":{},"x":1})"}) {
    EXPECT_FALSE(BatchFileRequest::parse(line, one_model()).ok()) << line;
  }
  for (const char* line : {"", "{", "[]", "{}", R"({"custom_id":7})"}) {
    EXPECT_FALSE(answered_custom_id(line).ok()) << line;
  }
}

}  // namespace
}  // namespace stet::proxy::testing
