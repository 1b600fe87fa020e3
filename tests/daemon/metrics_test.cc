// What GET /metrics of a whole daemon shows: api.md sec. 7. That docs/operations.md names every
// metric is held by tests/obs/documents_test.py; here are the labels and the values that matter.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <sstream>

#include "src/daemon/config_table.h"
#include "stet/sampling/parameter_rules.h"
#include "tests/daemon/testing.h"
#include "tests/proxy/http_client.h"

namespace stet::daemon {
namespace {

using proxy::testing::HttpConnection;
using ::testing::HasSubstr;

TEST(DaemonMetrics, AreThoseOfVllmWithTheServedModelsName) {
  testing::RunningDaemon daemon({"--set", "models[0].id=my-model"});
  HttpConnection connection(daemon.http_port());
  ASSERT_EQ(
      connection.request("POST", "/v1/completions", R"({"prompt":"a b","max_tokens":3})").status,
      200);
  // Gauges follow at the next step border: the answer may be here first.
  const std::string idle = "stet_running{engine=\"0\",model_name=\"my-model\"} 0\n";
  std::string text;
  for (int i = 0; i < 10'000 && text.find(idle) == std::string::npos; ++i) {
    text = connection.request("GET", "/metrics").body;
  }
  const std::string labels = "{engine=\"0\",model_name=\"my-model\"}";
  EXPECT_THAT(text, HasSubstr("vllm:num_requests_running" + labels + " 0\n"));
  EXPECT_THAT(text, HasSubstr("vllm:num_requests_waiting" + labels + " 0\n"));
  EXPECT_THAT(text, HasSubstr("vllm:kv_cache_usage_perc" + labels + " 0\n"));
  EXPECT_THAT(text, HasSubstr("vllm:generation_tokens_total" + labels + " "));
  EXPECT_THAT(text, HasSubstr("vllm:cache_config_info{block_size=\"64\",cache_dtype=\"bfloat16\","
                              "enable_prefix_caching=\"True\",engine=\"0\",model_name=\"my-model\","
                              "num_gpu_blocks=\""));
  // Three are the self-test's: one alone, two in company.
  EXPECT_THAT(text, HasSubstr("vllm:request_success_total{engine=\"0\",finished_reason=\"length\","
                              "model_name=\"my-model\"} 4\n"));
  EXPECT_THAT(text, HasSubstr("http_requests_total{handler=\"/v1/completions\",method=\"POST\","
                              "status=\"2xx\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("stet_build_info{commit=\""));
  for (const char* row :
       {"weights", "KV pool", "activations", "tokenizer", "connections", "queue", "process"}) {
    EXPECT_THAT(text, HasSubstr("stet_memory_plan_bytes{row=\"" + std::string(row) + "\"} "));
  }
}

TEST(DaemonMetrics, ShowWhichFormKvHas) {
  for (const bool is_virtual : {false, true}) {
    testing::RunningDaemon daemon(
        {"--kv", is_virtual ? "virtual" : "paged", "--set", "models[0].id=my-model"});
    HttpConnection connection(daemon.http_port());
    const std::string text = connection.request("GET", "/metrics").body;
    const std::string mapping = "stet_memory_plan_bytes{row=\"KV mapping\"} ";
    const std::string no_calls =
        "stet_kv_map_calls_total{engine=\"0\",model_name=\"my-model\"} 0\n";
    EXPECT_EQ(text.find(mapping) != std::string::npos, is_virtual);
    EXPECT_EQ(text.find(no_calls) == std::string::npos, is_virtual);
    EXPECT_THAT(text, HasSubstr("stet_kv_paged_fallbacks_total{engine=\"0\",model_name=\"my-model"
                                "\"} 0\n"));
  }
}

TEST(DaemonMetrics, EveryNameIsOfAKnownFamilyAndHasHelp) {
  testing::RunningDaemon daemon;
  HttpConnection connection(daemon.http_port());
  std::stringstream lines(connection.request("GET", "/metrics").body);
  std::set<std::string> helped;
  size_t num_types = 0;
  for (std::string line; std::getline(lines, line);) {
    std::stringstream words(line);
    std::string hash, kind, name, rest;
    words >> hash >> kind >> name;
    std::getline(words, rest);
    if (kind == "HELP" && hash == "#") {
      EXPECT_GT(rest.size(), 5u) << line;
      helped.insert(name);
    } else if (kind == "TYPE" && hash == "#") {
      EXPECT_TRUE(helped.contains(name)) << line;
      EXPECT_TRUE(name.starts_with("stet_") || name.starts_with("vllm:") ||
                  name.starts_with("http_"))
          << line;
      ++num_types;
    }
  }
  EXPECT_GT(num_types, 30u);
}

TEST(DaemonMetrics, MayBeTakenOffThePublicListener) {
  testing::RunningDaemon daemon({"--set", "metrics.public=false"});
  EXPECT_EQ(HttpConnection(daemon.http_port()).request("GET", "/metrics").status, 404);
}

TEST(DaemonVersion, NamesVersionCommitAndFingerprint) {
  testing::RunningDaemon daemon;
  const std::string body = HttpConnection(daemon.http_port()).request("GET", "/version").body;
  EXPECT_THAT(body, HasSubstr("\"version\":\"0.1.0\""));
  EXPECT_THAT(body, ::testing::Not(HasSubstr("\"commit\":\"\"")));
  EXPECT_THAT(body, HasSubstr("\"fingerprint\":\"stet-"));
}

// docs/parameters.md says how far a cap may be raised: configuration takes no more than that.
TEST(ConfigTable, RequestCapsHaveTheRangeOfTheParametersTheyBound) {
  size_t num_caps = 0;
  for (const sampling::ParameterRule& rule : sampling::parameter_rules()) {
    if (rule.cap == nullptr) {
      continue;
    }
    ++num_caps;
    const FieldRow* row = find_row(rule.cap);
    ASSERT_NE(row, nullptr) << rule.cap;
    EXPECT_EQ(static_cast<double>(row->max), rule.hard_max) << rule.cap;
    EXPECT_EQ(row->fallback, std::to_string(static_cast<uint64_t>(rule.max))) << rule.cap;
    EXPECT_GE(static_cast<double>(row->min), rule.min == 0 ? 0 : 1) << rule.cap;
  }
  EXPECT_GE(num_caps, 5u);
}

}  // namespace
}  // namespace stet::daemon
