// Every series by its name and value: dashboards and endpoint pickers read exactly these.
#include <gtest/gtest.h>

#include "tests/engine/harness.h"

namespace stet::engine {
namespace {

TEST(EngineMetrics, CountWhatARunDid) {
  const std::unique_ptr<CoreHarness> h(CoreHarness::small({.model_name = "m"}));
  Request request = make_request(100, 5);
  h->core->submit(request);
  h->run();
  h->core->submit(request);
  h->run();
  const std::string text = h->metrics.serialise();
  for (const char* line : {
           "stet_requests_accepted_total{engine=\"0\",model_name=\"m\"} 2",
           "stet_requests_terminal_total{engine=\"0\",model_name=\"m\",reason=\"length\"} 2",
           "vllm:request_success_total{engine=\"0\",finished_reason=\"length\",model_name=\"m\"} 2",
           "vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 0",
           "vllm:num_requests_waiting{engine=\"0\",model_name=\"m\"} 0",
           "vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"m\"} 0",
           "vllm:cache_config_info{block_size=\"64\",cache_dtype=\"bfloat16\",enable_prefix_"
           "caching=\"True\","
           "engine=\"0\",model_name=\"m\",num_gpu_blocks=\"16\"} 1",
           "vllm:prompt_tokens_total{engine=\"0\",model_name=\"m\"} 200",
           "vllm:prompt_tokens_cached_total{engine=\"0\",model_name=\"m\"} 64",
           "vllm:prompt_tokens_by_source_total{engine=\"0\",model_name=\"m\",source=\"local_"
           "compute\"} 136",
           "vllm:generation_tokens_total{engine=\"0\",model_name=\"m\"} 10",
           "vllm:prefix_cache_queries_total{engine=\"0\",model_name=\"m\"} 200",
           "vllm:prefix_cache_hits_total{engine=\"0\",model_name=\"m\"} 64",
           "vllm:num_preemptions_total{engine=\"0\",model_name=\"m\"} 0",
           "vllm:iteration_tokens_total_count{engine=\"0\",model_name=\"m\"} 10",
           "vllm:iteration_tokens_total_sum{engine=\"0\",model_name=\"m\"} 144",
           "vllm:time_to_first_token_seconds_count{engine=\"0\",model_name=\"m\"} 2",
           "vllm:inter_token_latency_seconds_count{engine=\"0\",model_name=\"m\"} 8",
           "vllm:e2e_request_latency_seconds_count{engine=\"0\",model_name=\"m\"} 2",
           "vllm:request_queue_time_seconds_count{engine=\"0\",model_name=\"m\"} 2",
           "vllm:request_prefill_time_seconds_count{engine=\"0\",model_name=\"m\"} 2",
           "vllm:request_decode_time_seconds_count{engine=\"0\",model_name=\"m\"} 2",
           "vllm:request_inference_time_seconds_count{engine=\"0\",model_name=\"m\"} 2",
           "vllm:request_time_per_output_token_seconds_count{engine=\"0\",model_name=\"m\"} 2",
           "vllm:request_prompt_tokens_sum{engine=\"0\",model_name=\"m\"} 200",
           "vllm:request_generation_tokens_sum{engine=\"0\",model_name=\"m\"} 10",
           "vllm:request_max_num_generation_tokens_sum{engine=\"0\",model_name=\"m\"} 10",
           "vllm:request_params_max_tokens_sum{engine=\"0\",model_name=\"m\"} 10",
           "vllm:request_params_n_sum{engine=\"0\",model_name=\"m\"} 2",
           "vllm:request_prefill_kv_computed_tokens_sum{engine=\"0\",model_name=\"m\"} 136",
           "stet_step_seconds_count{engine=\"0\",model_name=\"m\"} 10",
           "stet_kv_blocks{engine=\"0\",model_name=\"m\",state=\"cached\"} 1",
           "stet_kv_blocks{engine=\"0\",model_name=\"m\",state=\"free\"} 15",
       }) {
    EXPECT_NE(text.find(std::string("\n") + line + "\n"), std::string::npos) << line << "\n"
                                                                             << text;
  }
}

TEST(EngineMetrics, GaugesFollowTheBatch) {
  const std::unique_ptr<CoreHarness> h(CoreHarness::small({.max_running = 1}));
  h->core->submit(make_request(100, 5));
  h->core->submit(make_request(100, 5, 1));
  h->core->step();
  const std::string text = h->metrics.serialise();
  EXPECT_NE(text.find("vllm:num_requests_running{engine=\"0\",model_name=\"default\"} 1"),
            std::string::npos);
  EXPECT_NE(text.find("vllm:num_requests_waiting{engine=\"0\",model_name=\"default\"} 1"),
            std::string::npos);
  EXPECT_NE(text.find("vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"default\"} 0.125"),
            std::string::npos);
  EXPECT_NE(text.find("stet_queue_tokens{engine=\"0\",model_name=\"default\"} 100"),
            std::string::npos);
}

}  // namespace
}  // namespace stet::engine
