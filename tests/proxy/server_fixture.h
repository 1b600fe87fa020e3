// A server on a free port over a FakeClient, for tests.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "stet/proxy/openai_server.h"
#include "tests/proxy/fake_client.h"
#include "tests/proxy/http_client.h"

namespace stet::proxy::testing {

inline constexpr const char* kChatPath = "/v1/chat/completions";
inline constexpr const char* kCompletionsPath = "/v1/completions";
inline constexpr const char* kHi = R"("messages":[{"role":"user","content":"hi"}])";

class ServerTest : public ::testing::Test {
 protected:
  void start(HttpOptions options = {}) {
    options.port = 0;
    auto server = OpenAiServer::create(options, &client_, &metrics_);
    ASSERT_TRUE(server.ok()) << server.status().to_string();
    server_ = std::move(*server);
    server_->start();
  }
  HttpConnection connect() { return HttpConnection(server_->port()); }
  HttpAnswer chat(const std::string& members, const std::string& headers = "") {
    return connect().request("POST", kChatPath, members.empty() ? "{}" : "{" + members + "}",
                             headers);
  }
  static nlohmann::json json(const HttpAnswer& answer) {
    return nlohmann::json::parse(answer.body);
  }

  FakeClient client_;
  obs::Metrics metrics_;
  std::unique_ptr<OpenAiServer> server_;
};

}  // namespace stet::proxy::testing
