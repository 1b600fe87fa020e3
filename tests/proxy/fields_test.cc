// The table of request fields: what each row does with right and wrong values. The wrong ones are
// generated from the table.
#include "src/proxy/fields.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "src/proxy/request_mapper.h"

namespace stet::proxy {
namespace {

constexpr const char* kMessages = R"("messages":[{"role":"user","content":"hi"}])";
constexpr const char* kPrompt = R"("prompt":"hi")";

std::string required(ApiRoute route) {
  return route == ApiRoute::kChat ? kMessages : kPrompt;
}

MaybeError map(ApiRoute route, const std::string& body, ApiCall* call, MapOptions options = {}) {
  return map_request(route, body, options, call);
}
MaybeError map(ApiRoute route, const std::string& body) {
  ApiCall call;
  return map(route, body, &call);
}
// The call for required members plus `members`; fails the test on an error.
ApiCall mapped(ApiRoute route, const std::string& members) {
  ApiCall call;
  const auto error =
      map(route, "{" + required(route) + (members.empty() ? "" : ",") + members + "}", &call);
  EXPECT_FALSE(error) << error->message;
  return call;
}
v1::ChatRequest chat(const std::string& members) {
  return mapped(ApiRoute::kChat, members).chat;
}
v1::GenerateRequest generate(const std::string& members) {
  return mapped(ApiRoute::kCompletions, members).generate;
}

// Body with the one member under test; `messages` and `prompt` replace the required one.
std::string body_with(ApiRoute route, const Field& field, const std::string& name,
                      const std::string& value) {
  const bool is_required = field.name == "messages" || field.name == "prompt";
  return "{" + (is_required ? "" : required(route) + ",") + "\"" + name + "\":" + value + "}";
}

std::string name_of(const Field& field) {
  return field.name.ends_with('*')
             ? std::string(field.name.substr(0, field.name.size() - 1)) + "json"
             : std::string(field.name);
}

std::vector<std::string> wrong_types(FieldKind kind) {
  switch (kind) {
    case FieldKind::kBool: return {"0", "1.0", "\"true\"", "[]", "{}"};
    case FieldKind::kInteger: return {"true", "1.5", "\"1\"", "[]", "{}", "[1]"};
    case FieldKind::kNumber: return {"true", "\"1\"", "\"NaN\"", "[]", "{}", "[1]"};
    case FieldKind::kString: return {"true", "1", "[]", "{}", "[\"x\"]"};
    case FieldKind::kIntegers:
      return {"true", "1", "\"x\"", "{}", "[\"1\"]", "[1.5]", "[true]", "[null]", "[[1]]"};
    case FieldKind::kStringOrStrings: return {"true", "1", "{}", "[1]", "[null]", "[[\"x\"]]"};
    case FieldKind::kObject: return {"true", "1", "\"x\"", "[]"};
    case FieldKind::kMessages:
      return {"true", "1", "\"x\"", "{}", "[1]", "[null]", "[\"x\"]", "[[]]"};
    case FieldKind::kPrompt: return {"true", "1", "{}", "[true]", "[1.5]", "[{}]", "[null]"};
    case FieldKind::kAny: return {};
  }
  return {};
}

template <class Visit>
void for_each_row(const Visit& visit) {
  for (const Field& field : field_table()) {
    for (const ApiRoute route : {ApiRoute::kChat, ApiRoute::kCompletions}) {
      if ((field.routes & static_cast<uint8_t>(route)) != 0) {
        SCOPED_TRACE(std::string(field.name) +
                     (route == ApiRoute::kChat ? " (chat)" : " (completions)"));
        visit(route, field, name_of(field));
      }
    }
  }
}

TEST(FieldTable, HasEachNameOncePerRoute) {
  std::set<std::pair<std::string_view, int>> seen;
  for (const Field& field : field_table()) {
    EXPECT_NE(field.apply, nullptr) << field.name;
    for (const int bit : {1, 2}) {
      if ((field.routes & bit) != 0) {
        EXPECT_TRUE(seen.insert({field.name, bit}).second) << field.name;
      }
    }
  }
  EXPECT_EQ(find_field(ApiRoute::kChat, "prompt"),
            nullptr);  // negative control: not every name is found
  EXPECT_EQ(find_field(ApiRoute::kChat, "guided"), nullptr);
}

// After a change of the table: STET_UPDATE_DOCS=1 proxy_test --gtest_filter='*ReferencePage*'
// writes the page.
TEST(FieldTable, TheReferencePageIsThisTable) {
  const std::string path = std::string(STET_SOURCE_DIR) + "/docs/request_fields.md";
  if (std::getenv("STET_UPDATE_DOCS") != nullptr) {
    std::ofstream(path) << request_fields_markdown();
  }
  std::ifstream file(path);
  std::stringstream page;
  page << file.rdbuf();
  EXPECT_EQ(page.str(), request_fields_markdown());
}

TEST(FieldTable, WrongTypesAreRefusedWithTheFieldsName) {
  for_each_row([](ApiRoute route, const Field& field, const std::string& name) {
    for (const std::string& value : wrong_types(field.kind)) {
      const auto error = map(route, body_with(route, field, name, value));
      ASSERT_TRUE(error) << value;
      EXPECT_EQ(error->http_status, 400) << value;
      EXPECT_EQ(error->code, "invalid_type") << value << " " << error->message;
      EXPECT_TRUE(error->param.starts_with(name)) << value << " " << error->param;
      EXPECT_NE(error->message.find(name), std::string::npos) << error->message;
    }
  });
}

TEST(FieldTable, NullIsAbsent) {
  for_each_row([](ApiRoute route, const Field& field, const std::string& name) {
    ApiCall with_null;
    const auto error = map(route, body_with(route, field, name, "null"), &with_null);
    if (name == "messages" || name == "prompt") {
      ASSERT_TRUE(error);
      EXPECT_EQ(error->code, "missing_required_parameter");
      return;
    }
    ASSERT_FALSE(error) << error->message;
    const ApiCall without = mapped(route, "");
    EXPECT_EQ(with_null.chat.SerializeAsString(), without.chat.SerializeAsString());
    EXPECT_EQ(with_null.generate.SerializeAsString(), without.generate.SerializeAsString());
  });
}

TEST(FieldTable, DuplicatesNanHugeNumbersAndDeepNestingAreRefused) {
  for_each_row([](ApiRoute route, const Field& field, const std::string& name) {
    const bool is_required = name == "messages" || name == "prompt";
    const std::string start = "{" + (is_required ? "" : required(route) + ",");
    const auto expect = [&](const std::string& members, const std::string& code) {
      const auto error = map(route, start + members + "}");
      ASSERT_TRUE(error) << members;
      EXPECT_EQ(error->code, code) << members;
      EXPECT_TRUE(error->param.starts_with(name)) << members << " -> " << error->param;
    };
    const std::string key = "\"" + name + "\":";
    expect(key + "null," + key + "null", "invalid_type");
    expect(key + "NaN", "invalid_type");
    expect(key + "Infinity", "invalid_type");
    expect(key + "1e999", "invalid_value");
    expect(key + std::string(40, '[') + std::string(40, ']'), "invalid_value");
    if (field.kind == FieldKind::kInteger) {
      for (const char* huge :
           {"1e300", "99999999999999999999999", "18446744073709551615", "9007199254740994.0"}) {
        expect(key + huge, "invalid_value");
      }
    }
    if (field.kind == FieldKind::kNumber) {
      expect(key + "1e39", "invalid_value");
      expect(key + "-1e39", "invalid_value");
    }
  });
}

TEST(FieldTable, RefusedRowsRefuseAnyValueByName) {
  int num_refused = 0;
  for_each_row([&](ApiRoute route, const Field& field, const std::string& name) {
    if (field.use == FieldUse::kRefused) {
      ++num_refused;
      const auto error = map(route, body_with(route, field, name, "1"));
      ASSERT_TRUE(error);
      EXPECT_EQ(error->code, "unsupported_parameter");
      EXPECT_EQ(error->param, name);
    }
  });
  EXPECT_GT(num_refused, 20);
}

TEST(FieldTable, IgnoredRowsChangeNothing) {
  for_each_row([](ApiRoute route, const Field& field, const std::string& name) {
    if (field.use != FieldUse::kIgnored) {
      return;
    }
    for (const char* value : {"1", "\"x\"", "{\"a\":[1]}", "true"}) {
      const ApiCall with = mapped(route, "\"" + name + "\":" + value);
      const ApiCall without = mapped(route, "");
      EXPECT_EQ(with.chat.SerializeAsString(), without.chat.SerializeAsString());
      EXPECT_EQ(with.generate.SerializeAsString(), without.generate.SerializeAsString());
    }
  });
}

TEST(FieldTable, UnknownFieldsAreRefusedOrNamedInAWarning) {
  const std::string body = std::string("{") + kMessages + R"(,"temprature":1,"x":null})";
  const auto error = map(ApiRoute::kChat, body);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, "unknown_parameter");
  EXPECT_EQ(error->param, "temprature");
  MapOptions warn;
  warn.warn_unknown_fields = true;
  ApiCall call;
  EXPECT_FALSE(map(ApiRoute::kChat, body, &call, warn));
  EXPECT_EQ(call.unknown_fields, (std::vector<std::string>{"temprature", "x"}));
  // The other route's fields are unknown here.
  EXPECT_EQ(map(ApiRoute::kChat, std::string("{") + kMessages + R"(,"prompt":"x"})")->code,
            "unknown_parameter");
  EXPECT_EQ(map(ApiRoute::kCompletions, std::string("{") + kPrompt + R"(,"top_logprobs":1})")->code,
            "unknown_parameter");
}

TEST(Mapping, PlainFieldsReachTheProto) {
  const v1::ChatRequest request = chat(
      R"("model":"m","temperature":0.7,"top_p":0,"min_p":1e-2,"presence_penalty":-2,"frequency_penalty":2,)"
      R"("repetition_penalty":1.5,"min_tokens":3.0,"n":2,"ignore_eos":true,"allowed_token_ids":[1,2],)"
      R"("stop_token_ids":[9],"include_stop_str_in_output":true,"skip_special_tokens":false,"cache_salt":"s",)"
      R"("truncate_prompt_tokens":5,"add_generation_prompt":false,"continue_final_message":true,"request_id":"r.1:_-")");
  EXPECT_EQ(request.model(), "m");
  EXPECT_EQ(request.sampling().temperature(), 0.7F);
  EXPECT_TRUE(request.sampling().has_top_p());
  EXPECT_EQ(request.sampling().top_p(), 0.0F);
  EXPECT_EQ(request.sampling().min_p(), 0.01F);
  EXPECT_EQ(request.sampling().presence_penalty(), -2.0F);
  EXPECT_EQ(request.sampling().frequency_penalty(), 2.0F);
  EXPECT_EQ(request.sampling().repetition_penalty(), 1.5F);
  EXPECT_EQ(request.sampling().min_tokens(), 3U);
  EXPECT_EQ(request.sampling().n(), 2U);
  EXPECT_TRUE(request.sampling().ignore_eos());
  EXPECT_EQ(request.sampling().allowed_token_ids_size(), 2);
  EXPECT_EQ(request.stop().token_ids(0), 9U);
  EXPECT_TRUE(request.stop().include_in_output());
  EXPECT_FALSE(request.output().skip_special_tokens());
  EXPECT_EQ(request.scheduling().cache_salt(), "s");
  EXPECT_EQ(request.truncate_prompt_tokens(), 5U);
  EXPECT_TRUE(request.has_add_generation_prompt());
  EXPECT_FALSE(request.add_generation_prompt());
  EXPECT_TRUE(request.continue_final_message());
  EXPECT_EQ(request.request_id(), "r.1:_-");
  EXPECT_TRUE(generate(R"("add_special_tokens":false)").has_add_special_tokens());
}

TEST(Mapping, AbsentFieldsStayAbsent) {
  const v1::ChatRequest request = chat("");
  EXPECT_FALSE(request.sampling().has_temperature());
  EXPECT_FALSE(request.sampling().has_max_tokens());
  EXPECT_FALSE(request.sampling().has_seed());
  EXPECT_FALSE(request.sampling().has_n());
  EXPECT_FALSE(request.output().has_logprobs());
  EXPECT_FALSE(request.scheduling().has_priority_class());
}

TEST(Mapping, MaxTokens) {
  EXPECT_EQ(chat(R"("max_tokens":7)").sampling().max_tokens(), 7U);
  EXPECT_EQ(chat(R"("max_tokens":7,"max_completion_tokens":5)").sampling().max_tokens(), 5U);
  EXPECT_EQ(chat(R"("max_completion_tokens":5,"max_tokens":7)").sampling().max_tokens(), 5U);
  EXPECT_EQ(generate("").sampling().max_tokens(), 16U);
  EXPECT_EQ(generate(R"("max_tokens":0)").sampling().max_tokens(), 0U);
}

TEST(Mapping, SeedTopKAndPriority) {
  EXPECT_EQ(chat(R"("seed":-1)").sampling().seed(), UINT64_MAX);
  EXPECT_EQ(chat(R"("seed":-9223372036854775808)").sampling().seed(), uint64_t{1} << 63);
  EXPECT_EQ(chat(R"("seed":9223372036854775807)").sampling().seed(), uint64_t{INT64_MAX});
  EXPECT_EQ(chat(R"("top_k":-1)").sampling().top_k(), 0U);
  EXPECT_TRUE(chat(R"("top_k":0)").sampling().has_top_k());
  EXPECT_EQ(map(ApiRoute::kChat, std::string("{") + kMessages + R"(,"top_k":-2})")->code,
            "invalid_value");
  for (const auto& [priority, cls] :
       {std::pair{"0", 4U}, {"4", 0U}, {"100", 0U}, {"-3", 7U}, {"-2147483648", 7U}}) {
    EXPECT_EQ(chat(std::string(R"("priority":)") + priority).scheduling().priority_class(), cls)
        << priority;
  }
}

TEST(Mapping, StopIsAStringOrAnArray) {
  EXPECT_EQ(chat(R"("stop":"a")").stop().strings_size(), 1);
  EXPECT_EQ(chat(R"("stop":["a","b"])").stop().strings(1), "b");
  EXPECT_EQ(chat(R"("stop":[])").stop().strings_size(), 0);
  EXPECT_EQ(chat(R"("stop":"")").stop().strings_size(),
            1);  // the daemon refuses it, with the range
}

TEST(Mapping, LogitBiasNamesAreTokenIds) {
  const auto request = chat(R"("logit_bias":{"0":-100,"4294967295":1.5})");
  EXPECT_EQ(request.sampling().logit_bias().at(0), -100.0F);
  EXPECT_EQ(request.sampling().logit_bias().at(4294967295U), 1.5F);
  for (const char* name : {"", "-1", "01", "1 ", "x", "4294967296", "1.0", "+1"}) {
    const auto error = map(
        ApiRoute::kChat, std::string("{") + kMessages + R"(,"logit_bias":{")" + name + R"(":1}})");
    ASSERT_TRUE(error) << name;
    EXPECT_TRUE(error->param.starts_with("logit_bias")) << name;
  }
}

TEST(Mapping, Logprobs) {
  EXPECT_EQ(chat(R"("logprobs":true)").output().logprobs(), 0U);
  EXPECT_EQ(chat(R"("logprobs":true,"top_logprobs":5)").output().logprobs(), 5U);
  EXPECT_EQ(chat(R"("top_logprobs":5,"logprobs":true)").output().logprobs(), 5U);
  EXPECT_FALSE(chat(R"("logprobs":false)").output().has_logprobs());
  EXPECT_EQ(map(ApiRoute::kChat, std::string("{") + kMessages + R"(,"top_logprobs":5})")->param,
            "top_logprobs");
  EXPECT_TRUE(generate(R"("logprobs":0)").output().has_logprobs());
  EXPECT_EQ(generate(R"("logprobs":3)").output().logprobs(), 3U);
}

TEST(Mapping, StreamChoosesTheMode) {
  EXPECT_EQ(chat(R"("stream":true)").output().mode(), v1::OUTPUT_MODE_DELTA);
  EXPECT_EQ(chat("").output().mode(), v1::OUTPUT_MODE_FINAL);
  const auto error = map(ApiRoute::kChat, std::string("{") + kMessages +
                                              R"(,"stream_options":{"include_usage":true}})");
  ASSERT_TRUE(error);
  EXPECT_EQ(error->param, "stream_options");
  EXPECT_EQ(map(ApiRoute::kChat,
                std::string("{") + kMessages + R"(,"stream":true,"stream_options":{"x":1}})")
                ->param,
            "stream_options.x");
  EXPECT_EQ(map(ApiRoute::kChat, std::string("{") + kMessages +
                                     R"(,"stream":true,"stream_options":{"include_usage":1}})")
                ->param,
            "stream_options.include_usage");
  const ApiCall call = mapped(
      ApiRoute::kChat,
      R"("stream":true,"stream_options":{"include_usage":null,"include_obfuscation":"any"})");
  EXPECT_FALSE(call.shape.include_usage);
}

TEST(Mapping, Prompts) {
  const auto map_prompt = [](const std::string& prompt) {
    ApiCall call;
    auto error = map(ApiRoute::kCompletions, "{\"prompt\":" + prompt + "}", &call);
    return std::pair(error ? error->code : "", call.generate);
  };
  EXPECT_EQ(map_prompt("\"x\"").second.text(), "x");
  EXPECT_EQ(map_prompt("[\"x\"]").second.text(), "x");
  EXPECT_EQ(map_prompt("[1,2]").second.tokens().ids(1), 2U);
  EXPECT_EQ(map_prompt("[[1,2]]").second.tokens().ids(1), 2U);
  EXPECT_EQ(map_prompt("[]").first, "invalid_value");
  EXPECT_EQ(map_prompt("[[]]").first, "invalid_value");
  EXPECT_EQ(map_prompt("[\"x\",\"y\"]").first, "unsupported_parameter");
  EXPECT_EQ(map_prompt("[[1],[2]]").first, "unsupported_parameter");
  EXPECT_EQ(map_prompt("[[[1]]]").first, "invalid_type");
  EXPECT_EQ(map_prompt("[[\"x\"]]").first, "invalid_type");
  EXPECT_EQ(map_prompt("[1,\"x\"]").first, "invalid_type");
  EXPECT_EQ(map_prompt("[-1]").first, "invalid_value");
}

TEST(Mapping, Messages) {
  const auto map_messages = [](const std::string& messages) {
    ApiCall call;
    auto error = map(ApiRoute::kChat, "{\"messages\":" + messages + "}", &call);
    return std::tuple(error ? error->code : "", error ? error->param : "", call.chat);
  };
  const auto expect_error = [&](const std::string& messages, const std::string& code,
                                const std::string& param) {
    const auto [got_code, got_param, chat_request] = map_messages(messages);
    EXPECT_EQ(got_code, code) << messages;
    EXPECT_EQ(got_param, param) << messages;
  };
  const auto [code, param, request] = map_messages(
      R"([{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"a"},{"text":"b","type":"text"}],"name":"n"},)"
      R"({"role":"assistant","content":null,"refusal":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]},)"
      R"({"role":"tool","tool_call_id":"1","content":"r"}])");
  EXPECT_EQ(code, "");
  EXPECT_EQ(request.messages(1).content(1).text(), "b");
  EXPECT_EQ(request.messages(1).name(), "n");
  EXPECT_EQ(request.messages(2).content_size(), 0);
  EXPECT_EQ(request.messages(2).tool_calls(0).arguments_json(), "{}");
  EXPECT_EQ(request.messages(3).tool_call_id(), "1");
  expect_error("[]", "invalid_value", "messages");
  expect_error("[{}]", "missing_required_parameter", "messages[0].role");
  expect_error(R"([{"role":"user"}])", "missing_required_parameter", "messages[0].content");
  expect_error(R"([{"role":"user","content":null}])", "missing_required_parameter",
               "messages[0].content");
  expect_error(R"([{"role":"assistant","content":null}])", "missing_required_parameter",
               "messages[0].content");
  expect_error(R"([{"role":"user","content":"x"},{"role":1,"content":"x"}])", "invalid_type",
               "messages[1].role");
  expect_error(R"([{"role":"user","content":7}])", "invalid_type", "messages[0].content");
  expect_error(R"([{"role":"user","content":["x"]}])", "invalid_type", "messages[0].content[0]");
  expect_error(R"([{"role":"user","content":[{"text":"x"}]}])", "missing_required_parameter",
               "messages[0].content[0].type");
  expect_error(R"([{"role":"user","content":[{"type":"text"}]}])", "missing_required_parameter",
               "messages[0].content[0].text");
  expect_error(
      R"([{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://x"}}]}])",
      "unsupported_parameter", "messages[0].content[0].type");
  expect_error(R"([{"role":"user","content":"x","colour":1}])", "unknown_parameter",
               "messages[0].colour");
  expect_error(R"([{"role":"assistant","content":"x","refusal":"no"}])", "unsupported_parameter",
               "messages[0].refusal");
  expect_error(
      R"([{"role":"assistant","tool_calls":[{"id":"1","type":"custom","function":{"name":"f"}}]}])",
      "unsupported_parameter", "messages[0].tool_calls[0].type");
  expect_error(R"([{"role":"assistant","tool_calls":[{"id":"1","type":"function"}]}])",
               "missing_required_parameter", "messages[0].tool_calls[0].function");
  MapOptions two;
  two.max_messages = 2;
  ApiCall call;
  const std::string three =
      R"({"messages":[{"role":"u","content":"x"},{"role":"u","content":"x"},{"role":"u","content":"x"}]})";
  EXPECT_EQ(map(ApiRoute::kChat, three, &call, two)->param, "messages");
}

TEST(Mapping, TemplateKwargsAreScalars) {
  EXPECT_EQ(chat(R"("chat_template_kwargs":{"a":true,"b":"x\"y","c":1.0,"d":-5,"e":null})")
                .template_kwargs_json(),
            R"({"a":true,"b":"x\"y","c":1.0,"d":-5,"e":null})");
  EXPECT_EQ(chat(R"("chat_template_kwargs":{})").template_kwargs_json(), "");
  EXPECT_EQ(
      map(ApiRoute::kChat, std::string("{") + kMessages + R"(,"chat_template_kwargs":{"a":[1]}})")
          ->param,
      "chat_template_kwargs.a");
}

TEST(Mapping, FieldsOfLaterStagesAreServedForTheirOneValue) {
  EXPECT_TRUE(
      chat(R"("tools":[],"tool_choice":"none","response_format":{"type":"text"},"store":false,)"
           R"("modalities":["text"],"n":2,"best_of":2,"add_special_tokens":false)")
          .tools_json()
          .empty());
  generate(R"("echo":false,"best_of":1)");
  const std::pair<const char*, const char*> refused[] = {
      {"tools", R"([{"type":"function","function":{"name":"f"}}])"},
      {"tool_choice", R"("auto")"},
      {"tool_choice", R"({"type":"function"})"},
      {"response_format", R"({"type":"json_object"})"},
      {"response_format", R"({"type":"json_schema","json_schema":{}})"},
      {"store", "true"},
      {"modalities", R"(["text","audio"])"},
      {"best_of", "3"},
      {"add_special_tokens", "true"},
      {"logprob_token_ids", "[1]"},
  };
  for (const auto& [name, value] : refused) {
    const auto error =
        map(ApiRoute::kChat, std::string("{") + kMessages + ",\"" + name + "\":" + value + "}");
    ASSERT_TRUE(error) << name;
    EXPECT_EQ(error->code, "unsupported_parameter") << name;
    EXPECT_EQ(error->param, name);
  }
  EXPECT_EQ(map(ApiRoute::kCompletions, std::string("{") + kPrompt + R"(,"echo":true})")->code,
            "unsupported_parameter");
}

TEST(Mapping, RequestIdsFollowTheirRule) {
  for (const std::string& id :
       {std::string(), std::string(129, 'a'), std::string("a b"), std::string("a/b")}) {
    const auto error =
        map(ApiRoute::kChat, std::string("{") + kMessages + R"(,"request_id":")" + id + "\"}");
    ASSERT_TRUE(error) << id;
    EXPECT_EQ(error->param, "request_id");
  }
  EXPECT_EQ(chat(R"("request_id":")" + std::string(128, 'a') + "\"").request_id().size(), 128U);
}

TEST(Mapping, BodiesThatAreNoObject) {
  for (const char* body : {"", "[]", "1", "\"x\"", "null", "true"}) {
    const auto error = map(ApiRoute::kChat, body);
    ASSERT_TRUE(error) << body;
    EXPECT_EQ(error->code, "invalid_type") << body;
  }
  EXPECT_EQ(map(ApiRoute::kChat, "{}")->param, "messages");
  EXPECT_EQ(map(ApiRoute::kCompletions, "{}")->param, "prompt");
}

}  // namespace
}  // namespace stet::proxy
