// What the table of ranges does not say: unknown fields, enums, presence, roles, template
// arguments, several mistakes at once.
#include <google/protobuf/unknown_field_set.h>
#include <gtest/gtest.h>

#include "src/server/validate.h"
#include "stet/base/check.h"
#include "tests/server/fakes.h"

namespace stet::server {
namespace {

const ChatMlTemplate kTemplate;
const ModelFacts kFacts{kVocab, kModelLen, &kTemplate};

template <class Request>
google::rpc::Status refusal(const Request& request, const Limits& limits = {}) {
  const Validated result = validate(request, limits, kFacts);
  const auto* status = std::get_if<google::rpc::Status>(&result);
  return status == nullptr ? google::rpc::Status() : *status;
}

template <class Request>
void expect_refused(const Request& request, const char* field, const char* reason) {
  const google::rpc::Status status = refusal(request);
  EXPECT_EQ(status.code(), 3) << field;
  EXPECT_EQ(reason_in(status), reason) << field << ": " << status.message();
  EXPECT_TRUE(names_field(status, field)) << field << ": " << status.ShortDebugString();
  EXPECT_NE(status.message().find(field), std::string::npos) << status.message();
}

template <class Message>
void add_unknown(Message* message) {
  message->GetReflection()->MutableUnknownFields(message)->AddVarint(99, 1);
}

TEST(Validation, GoodRequestsPass) {
  EXPECT_EQ(refusal(text_request("x")).code(), 0);
  EXPECT_EQ(refusal(chat_request("x")).code(), 0);
}

TEST(Validation, UnknownFieldsAreRefusedAtEveryLevel) {
  v1::GenerateRequest request = text_request("x");
  add_unknown(&request);
  expect_refused(request, "99", "unknown_field");
  request = text_request("x");
  add_unknown(request.mutable_sampling());
  expect_refused(request, "sampling.99", "unknown_field");
  request = text_request("x");
  add_unknown(request.mutable_scheduling()->mutable_expect_followup());
  expect_refused(request, "scheduling.expect_followup.99", "unknown_field");
  v1::ChatRequest chat = chat_request("x");
  add_unknown(chat.mutable_messages(0)->mutable_content(0));
  expect_refused(chat, "messages[0].content[0].99", "unknown_field");
}

TEST(Validation, UnknownEnumValuesAreRefused) {
  v1::GenerateRequest request = text_request("x");
  request.mutable_output()->set_mode(static_cast<v1::OutputMode>(7));
  expect_refused(request, "output.mode", "out_of_range");
  request = text_request("x");
  request.mutable_scheduling()->set_service_class(static_cast<v1::ServiceClass>(3));
  expect_refused(request, "scheduling.service_class", "out_of_range");
}

TEST(Validation, InvalidUtf8IsRefused) {
  expect_refused(text_request("a\xFF"), "text", "malformed");
  expect_refused(chat_request("\xC3"), "messages[0].content[0].text", "malformed");
  v1::GenerateRequest request = text_request("x");
  request.mutable_stop()->add_strings("\x80");
  expect_refused(request, "stop.strings[0]", "malformed");
}

TEST(Validation, FieldsOfLaterStagesAreRefusedByName) {
  const auto generate = [](const char* field,
                           const std::function<void(v1::GenerateRequest*)>& set) {
    v1::GenerateRequest request = text_request("x");
    set(&request);
    expect_refused(request, field, "unsupported");
  };
  generate("constraint", [](auto* r) { r->mutable_constraint()->set_regex("a"); });
  generate("constraint", [](auto* r) { r->mutable_constraint(); });
  generate("adapter", [](auto* r) { r->set_adapter("a"); });
  generate("resume", [](auto* r) { r->mutable_resume(); });
  generate("output.prompt_logprobs", [](auto* r) { r->mutable_output()->set_prompt_logprobs(0); });
  generate("output.logprob_token_ids",
           [](auto* r) { r->mutable_output()->add_logprob_token_ids(1); });
  generate("output.echo_prompt", [](auto* r) { r->mutable_output()->set_echo_prompt(true); });
  const auto chat = [](const char* field, const std::function<void(v1::ChatRequest*)>& set) {
    v1::ChatRequest request = chat_request("x");
    set(&request);
    expect_refused(request, field, "unsupported");
  };
  chat("tools_json", [](auto* r) { r->set_tools_json("[]"); });
  chat("tool_choice_json", [](auto* r) { r->set_tool_choice_json("\"auto\""); });
  chat("parallel_tool_calls", [](auto* r) { r->set_parallel_tool_calls(false); });
  chat("constraint", [](auto* r) { r->mutable_constraint(); });
}

TEST(Validation, HintsAreAcceptedAfterTheirRanges) {
  v1::GenerateRequest request = text_request("x");
  v1::SchedulingHints* hints = request.mutable_scheduling();
  hints->set_ttft_target_ms(1);
  hints->set_expected_output_tokens(UINT32_MAX);
  hints->set_program_id("p");
  hints->mutable_expect_followup()->set_tool_name("t");
  EXPECT_EQ(refusal(request).code(), 0);
  hints->set_program_id(std::string(129, 'p'));
  expect_refused(request, "scheduling.program_id", "out_of_range");
  hints->set_program_id("a/b");
  expect_refused(request, "scheduling.program_id", "out_of_range");
  hints->set_program_id("p");
  hints->set_end_of_program(true);
  expect_refused(request, "scheduling.expect_followup", "malformed");
}

TEST(Validation, APromptIsNeeded) {
  expect_refused(v1::GenerateRequest(), "prompt", "malformed");
  v1::GenerateRequest tokens;
  tokens.mutable_tokens();
  expect_refused(tokens, "tokens.ids", "out_of_range");
  tokens.mutable_tokens()->add_ids(kVocab);
  expect_refused(tokens, "tokens.ids[0]", "out_of_range");
  tokens.mutable_tokens()->set_ids(0, kVocab - 1);
  EXPECT_EQ(refusal(tokens).code(), 0);
  tokens.set_add_special_tokens(false);
  expect_refused(tokens, "add_special_tokens", "malformed");
}

TEST(Validation, DuplicateTokenIdsAreRefused) {
  v1::GenerateRequest request = text_request("x");
  request.mutable_stop()->add_token_ids(5);
  request.mutable_stop()->add_token_ids(5);
  expect_refused(request, "stop.token_ids", "out_of_range");
  request = text_request("x");
  for (const uint32_t id : {1u, 2u, 1u}) {
    request.mutable_sampling()->add_allowed_token_ids(id);
  }
  expect_refused(request, "sampling.allowed_token_ids", "out_of_range");
}

TEST(Validation, MinTokensIsAtMostMaxTokens) {
  v1::GenerateRequest request = text_request("x");
  request.mutable_sampling()->set_max_tokens(4);
  request.mutable_sampling()->set_min_tokens(5);
  expect_refused(request, "sampling.min_tokens", "out_of_range");
  request.mutable_sampling()->set_min_tokens(4);
  EXPECT_EQ(refusal(request).code(), 0);
}

TEST(Validation, CapsAreConfiguration) {
  Limits limits;
  limits.max_n = 2;
  limits.max_output_tokens = 10;
  v1::GenerateRequest request = text_request("x");
  request.mutable_sampling()->set_n(3);
  request.mutable_sampling()->set_max_tokens(11);
  const google::rpc::Status status = refusal(request, limits);
  EXPECT_TRUE(names_field(status, "sampling.n"));
  EXPECT_TRUE(names_field(status, "sampling.max_tokens"));
}

TEST(Validation, RequestIdsFollowTheirPattern) {
  for (const char* good : {"a", "A-Z_0.9:x"}) {
    v1::GenerateRequest request = text_request("x");
    request.set_request_id(good);
    EXPECT_EQ(refusal(request).code(), 0) << good;
  }
  for (const std::string& bad :
       {std::string("a b"), std::string("\xC3\xA9"), std::string("a/b"), std::string(129, 'a')}) {
    v1::GenerateRequest request = text_request("x");
    request.set_request_id(bad);
    expect_refused(request, "request_id", "out_of_range");
  }
}

TEST(Validation, MessagesFollowTheirRules) {
  expect_refused(v1::ChatRequest(), "messages", "out_of_range");
  v1::ChatRequest request = chat_request("x");
  request.mutable_messages(0)->set_role("wizard");
  expect_refused(request, "messages[0].role", "out_of_range");
  request = chat_request("x");
  request.mutable_messages(0)->clear_content();
  expect_refused(request, "messages[0].content", "malformed");
  request = chat_request("x");
  request.mutable_messages(0)->add_content();
  expect_refused(request, "messages[0].content[1]", "malformed");
  request = chat_request("x");
  request.mutable_messages(0)->set_tool_call_id("1");
  expect_refused(request, "messages[0].tool_call_id", "malformed");
  request = chat_request("x");
  request.mutable_messages(0)->add_tool_calls()->set_name("f");
  expect_refused(request, "messages[0].tool_calls", "malformed");
  Limits limits;
  limits.max_messages = 2;
  request = chat_request("x");
  *request.add_messages() = request.messages(0);
  *request.add_messages() = request.messages(0);
  EXPECT_TRUE(names_field(refusal(request, limits), "messages"));
}

TEST(Validation, ToolHistoryIsData) {
  v1::ChatRequest request = chat_request("x");
  v1::ChatMessage* assistant = request.add_messages();
  assistant->set_role("assistant");
  v1::ToolCall* tool_call = assistant->add_tool_calls();
  tool_call->set_name("f");
  tool_call->set_arguments_json("{\"a\":1}");
  v1::ChatMessage* result = request.add_messages();
  result->set_role("tool");
  result->set_tool_call_id("1");
  result->add_content()->set_text("2");
  EXPECT_EQ(refusal(request).code(), 0);
  tool_call->set_arguments_json("{a:1}");
  expect_refused(request, "messages[1].tool_calls[0].arguments_json", "malformed");
}

TEST(Validation, ContinueFinalMessageExcludesAGenerationPrompt) {
  v1::ChatRequest request = chat_request("x");
  request.set_continue_final_message(true);
  EXPECT_EQ(refusal(request).code(), 0);
  request.set_add_generation_prompt(true);
  expect_refused(request, "continue_final_message", "malformed");
}

TEST(Validation, TemplateArgumentsAreScalarsTheTemplateUses) {
  const auto kwargs = [](const char* json) {
    v1::ChatRequest request = chat_request("x");
    request.set_template_kwargs_json(json);
    return request;
  };
  EXPECT_EQ(refusal(kwargs("{\"style\":\"short\"}")).code(), 0);
  EXPECT_EQ(refusal(kwargs("{}")).code(), 0);
  expect_refused(kwargs("[1]"), "template_kwargs_json", "malformed");
  expect_refused(kwargs("{\"style\":"), "template_kwargs_json", "malformed");
  expect_refused(kwargs("{\"style\":1,\"style\":2}"), "template_kwargs_json", "malformed");
  expect_refused(kwargs("{\"style\":[1]}"), "template_kwargs_json.style", "out_of_range");
  expect_refused(kwargs("{\"colour\":1}"), "template_kwargs_json.colour", "unsupported");
  expect_refused(kwargs("{\"messages\":1}"), "template_kwargs_json.messages", "unsupported");
  const std::string deep =
      "{\"style\":" + std::string(30'000, '[') + std::string(30'000, ']') + "}";
  expect_refused(kwargs(deep.c_str()), "template_kwargs_json.style", "out_of_range");
}

TEST(Validation, AllMistakesAreNamedAtOnceUpToSixteen) {
  v1::GenerateRequest request = text_request("x");
  request.mutable_sampling()->set_temperature(3);
  request.mutable_sampling()->set_top_p(1.5f);
  request.mutable_sampling()->set_n(99);
  google::rpc::Status status = refusal(request);
  for (const char* field : {"sampling.temperature", "sampling.top_p", "sampling.n"}) {
    EXPECT_TRUE(names_field(status, field)) << field;
  }
  EXPECT_EQ(status.message(), "sampling.temperature: 3: must be in 0..2 (and 2 more)");
  for (uint32_t i = 0; i < 100; ++i) {
    request.mutable_sampling()->add_allowed_token_ids(kVocab + i);
  }
  status = refusal(request);
  EXPECT_EQ(detail_of<google::rpc::BadRequest>(status).field_violations_size(), 16);
}

TEST(Validation, DrawnIdsAreRequestIdsAndDiffer) {
  const std::string a = draw_request_id(), b = draw_request_id();
  EXPECT_EQ(a.size(), 32u);
  EXPECT_TRUE(is_request_id(a));
  EXPECT_NE(a, b);
}

}  // namespace
}  // namespace stet::server
