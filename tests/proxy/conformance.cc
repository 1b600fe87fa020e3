#include "tests/proxy/conformance.h"

#include <gtest/gtest.h>

#include <cctype>
#include <map>
#include <nlohmann/json.hpp>

#include "stet/obs/metrics.h"
#include "stet/proxy/openai_server.h"
#include "tests/proxy/http_client.h"

namespace stet::proxy::testing {
namespace {

struct Exchange {
  const char* name;
  const char* path;
  const char* members;  // of the body, request_id and stream are added
  int status;
};

// Text prompts and parameters only, so that any model will do.
constexpr Exchange kExchanges[] = {
    {"chat", "/v1/chat/completions",
     R"("messages":[{"role":"user","content":"Say hello."}],"temperature":0,"max_tokens":8)", 200},
    {"chat parts", "/v1/chat/completions",
     R"("messages":[{"role":"user","content":[{"type":"text","text":"Say "},{"type":"text","text":"hello."}]}],"temperature":0,"max_tokens":8)",
     200},
    {"chat n seed", "/v1/chat/completions",
     R"("messages":[{"role":"user","content":"Name a colour."}],"n":2,"seed":-7,"temperature":0.9,"max_tokens":6)",
     200},
    {"chat logprobs", "/v1/chat/completions",
     R"("messages":[{"role":"user","content":"Count."}],"temperature":0,"max_tokens":4,"logprobs":true,"top_logprobs":3)",
     200},
    {"chat ids", "/v1/chat/completions",
     R"("messages":[{"role":"user","content":"Count."}],"temperature":0,"max_tokens":4,"return_token_ids":true)",
     200},
    {"completion", "/v1/completions",
     R"("prompt":"Once upon a time","temperature":0,"max_tokens":8)", 200},
    {"completion logprobs", "/v1/completions",
     R"("prompt":"Once upon","temperature":0,"max_tokens":4,"logprobs":2)", 200},
    {"completion stop", "/v1/completions",
     R"("prompt":"a b c","temperature":0,"max_tokens":8,"stop":[" ","e"])", 200},
    {"too hot", "/v1/chat/completions",
     R"("messages":[{"role":"user","content":"x"}],"temperature":3)", 400},
    {"no such model", "/v1/chat/completions",
     R"("messages":[{"role":"user","content":"x"}],"model":"no-such-model")", 404},
    {"too long", "/v1/completions", R"("prompt":"x","max_tokens":100000000)", 400},
    {"empty stop", "/v1/completions", R"("prompt":"x","stop":[""])", 400},
};

// Headers that differ from run to run or say nothing about the answer.
bool is_judged(const std::string& name) {
  return name == "content-type" || name == "x-request-id" || name == "x-should-retry" ||
         name == "transfer-encoding" || name == "stet-warning";
}

// `"created":123` -> `"created":0`.
std::string without_times(std::string body) {
  const std::string key = "\"created\":";
  for (size_t at = 0; (at = body.find(key, at)) != std::string::npos;) {
    at += key.size();
    size_t end = at;
    while (end < body.size() && std::isdigit(static_cast<unsigned char>(body[end]))) {
      ++end;
    }
    body.replace(at, end - at, "0");
  }
  return body;
}

// How many tokens share a chunk is a matter of timing: adjacent content of one choice is joined.
std::string joined_stream(const std::string& body) {
  std::string out;
  std::map<int, nlohmann::json> open;
  const auto flush = [&](int index) {
    if (const auto found = open.find(index); found != open.end()) {
      out += "choice " + std::to_string(index) + " " + found->second.dump() + "\n";
      open.erase(found);
    }
  };
  for (const std::string& frame : sse_frames(body)) {
    if (frame == "[DONE]") {
      out += "[DONE]\n";
      continue;
    }
    nlohmann::json chunk = nlohmann::json::parse(frame);
    if (!chunk.contains("choices") || chunk["choices"].empty()) {
      out += chunk.dump() + "\n";
      continue;
    }
    nlohmann::json& choice = chunk["choices"][0];
    const int index = choice["index"];
    const bool is_content = choice["finish_reason"].is_null() &&
                            !(choice.contains("delta") && choice["delta"].contains("role"));
    if (!is_content) {
      flush(index);
      out += chunk.dump() + "\n";
      continue;
    }
    nlohmann::json& sum = open.try_emplace(index, nlohmann::json::object()).first->second;
    sum["text"] =
        sum.value("text", "") + (choice.contains("delta") ? choice["delta"].value("content", "")
                                                          : choice.value("text", ""));
    if (choice.contains("token_ids")) {
      for (const auto& id : choice["token_ids"]) {
        sum["token_ids"].push_back(id);
      }
    }
    if (!choice["logprobs"].is_null()) {
      for (const auto& [name, list] : choice["logprobs"].items()) {
        for (const auto& item : list) {
          sum[name].push_back(item);
        }
      }
    }
  }
  return out;
}

// A choice of n may come before another or after it: its last chunk follows its own text, that is
// all.
std::string sorted_lines(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  std::sort(lines.begin(), lines.end());
  std::string out;
  for (const std::string& line : lines) {
    out += line + "\n";
  }
  return out;
}

std::string render(const HttpAnswer& answer) {
  std::string out = std::to_string(answer.status) + (answer.complete ? "" : " cut off") + "\n";
  for (const auto& [name, value] : answer.headers) {
    if (is_judged(name)) {
      out += name + ": " + value + "\n";
    }
  }
  const std::string body = without_times(answer.body);
  const bool is_stream = answer.header("content-type").starts_with("text/event-stream");
  return out + "\n" + (is_stream ? sorted_lines(joined_stream(body)) : body);
}

// The text of choice 0, from either form.
std::string text_of(const std::string& transcript) {
  const std::string body = transcript.substr(transcript.find("\n\n") + 2);
  if (body.starts_with('{') && !body.starts_with("{\"choices")) {
    const auto json = nlohmann::json::parse(body);
    const auto& choice = json["choices"][0];
    return choice.contains("message") ? choice["message"]["content"].get<std::string>()
                                      : choice["text"].get<std::string>();
  }
  const size_t at = body.find("choice 0 ");
  if (at == std::string::npos) {
    return "";
  }
  const size_t from = at + 9;
  return nlohmann::json::parse(body.substr(from, body.find('\n', from) - from))["text"];
}

}  // namespace

std::vector<Transcript> run_conformance(InferenceClient* client) {
  obs::Metrics metrics;
  HttpOptions options;
  options.port = 0;
  auto server = OpenAiServer::create(options, client, &metrics);
  EXPECT_TRUE(server.ok()) << server.status().to_string();
  (*server)->start();
  std::vector<Transcript> transcripts;
  int number = 0;
  for (const Exchange& exchange : kExchanges) {
    for (const char* form : {R"(,"stream":false})", R"(,"stream":true})",
                             R"(,"stream":true,"stream_options":{"include_usage":true}})"}) {
      const std::string body = "{\"request_id\":\"conformance-" + std::to_string(number++) + "\"," +
                               exchange.members + form;
      HttpConnection connection((*server)->port());
      const HttpAnswer answer = connection.request("POST", exchange.path, body);
      EXPECT_EQ(answer.status, exchange.status) << exchange.name << "\n" << answer.body;
      transcripts.push_back({std::string(exchange.name) + " " + form, render(answer)});
    }
  }
  HttpConnection connection((*server)->port());
  for (const char* path : {"/v1/models", "/v1/models/no/such", "/health", "/live", "/startupz"}) {
    HttpAnswer answer = connection.request("GET", path);
    answer.headers.erase("x-request-id");  // drawn
    transcripts.push_back({path, render(answer)});
  }
  (*server)->stop();
  return transcripts;
}

void expect_well_formed(const std::vector<Transcript>& transcripts) {
  for (size_t i = 0; i < std::size(kExchanges); ++i) {
    const Transcript& whole = transcripts[3 * i];
    const Transcript& streamed = transcripts[3 * i + 1];
    const Transcript& counted = transcripts[3 * i + 2];
    if (kExchanges[i].status != 200) {
      EXPECT_NE(whole.answer.find("\"error\":{"), std::string::npos) << whole.request << "\n"
                                                                     << whole.answer;
      continue;
    }
    EXPECT_EQ(text_of(whole.answer), text_of(streamed.answer)) << whole.request;
    EXPECT_EQ(text_of(whole.answer), text_of(counted.answer)) << whole.request;
    EXPECT_NE(streamed.answer.find("[DONE]"), std::string::npos) << streamed.request << "\n"
                                                                 << streamed.answer;
    EXPECT_EQ(streamed.answer.find("\"usage\""), std::string::npos) << streamed.request;
    EXPECT_NE(counted.answer.find("\"usage\":{"), std::string::npos) << counted.request;
  }
}

void expect_same(const std::string& name_a, const std::vector<Transcript>& a,
                 const std::string& name_b, const std::vector<Transcript>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].answer, b[i].answer) << a[i].request << ": " << name_a << " against " << name_b;
  }
}

void expect_conformance(const std::vector<ClientUnderTest>& clients) {
  std::vector<std::vector<Transcript>> results;
  for (const ClientUnderTest& under_test : clients) {
    SCOPED_TRACE(under_test.name);
    results.push_back(run_conformance(under_test.client.get()));
    expect_well_formed(results.back());
    expect_same(clients[0].name, results[0], under_test.name, results.back());
  }
}

}  // namespace stet::proxy::testing
