// Frames of `stet top`, from messages that are written down here.
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>

#include "src/cli/commands.h"
#include "src/cli/top_frame.h"
#include "stet/v1/admin.pb.h"

namespace stet::cli {
namespace {

v1::Stats stats(const char* text) {
  v1::Stats out;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &out));
  return out;
}

constexpr const char* kBefore = R"(
  unix_ms: 1000 engine_steps: 100 prompt_tokens: 1000 cached_prompt_tokens: 200
  generated_tokens: 500 requests_ended: 10 requests_with_targets: 8 requests_met_targets: 6)";
constexpr const char* kNow = R"(
  unix_ms: 3000 engine_steps: 180 running: 12 waiting: 5 waiting_prompt_tokens: 4321 parked: 1
  waiting_by_reason { memory: 5 }
  kv_blocks_total: 400 kv_blocks_used: 250 kv_blocks_cached: 100 kv_block_tokens: 64
  predicted_peak_kv_blocks: 380 preemptions: 3 prompt_tokens: 3000 cached_prompt_tokens: 1200
  generated_tokens: 1301 since_last_step_ms: 4 requests_ended: 14 requests_with_targets: 12
  requests_met_targets: 9 step_error_p50: 0.031 step_error_p99: 0.4
  last_step { predicted_us: 48200 actual_us: 50100 tokens: 140 token_budget: 160 decodes: 12
              prefill_tokens: 128 itl_limit_us: 80000 })";

TEST(TopFrame, ShowsWhatTheMessagesSay) {
  EXPECT_EQ(top_frame("127.0.0.1:50052", stats(kBefore), stats(kNow)),
            R"(stet top  127.0.0.1:50052  step 180, 40.0/s, last 4 ms ago
running   12, parked 1
waiting   5 (4321 prompt tokens)
          memory 5, running limit 0, step budget 0, sibling 0
kv        [###################++++++++++.] 63 % of 400 blocks of 64
          cached 25 %, forecast peak (+) 95 %, preemptions 3
prompt    1000.0 tokens/s, hit rate 50 %; 40 % in all
output    400.5 tokens/s, 2.00 requests/s ended
goodput   1.50 of 2.00 requests/s met their targets; 9 of 12 in all
step      50.1 ms, predicted 48.2; error p50 3 %, p99 40 %
budget    140 of 160 tokens: 12 decodes, 128 prefill; limit 80.0 ms
)");
}

TEST(TopFrame, ADaemonWithoutTargetsForecastOrStepsSaysSo) {
  EXPECT_EQ(top_frame("a", stats("unix_ms: 1"), stats("unix_ms: 2")),
            R"(stet top  a  step 0, 0.0/s, last 0 ms ago
running   0, parked 0
waiting   0 (0 prompt tokens)
          memory 0, running limit 0, step budget 0, sibling 0
kv        [..............................] 0 % of 0 blocks of 0
          cached 0 %, no forecast, preemptions 0
prompt    0.0 tokens/s, hit rate 0 %; 0 % in all
output    0.0 tokens/s, 0.00 requests/s ended
goodput   no request had a target (scheduler.ttft_target_ms, itl_target_ms)
step      0.0 ms, predicted 0.0; error p50 0 %, p99 0 %
budget    0 of 0 tokens: 0 decodes, 0 prefill
)");
}

TEST(TopFrame, ARestartedDaemonHasNoRatesYet) {
  const std::string frame = top_frame("a", stats(kNow), stats(kBefore));
  EXPECT_NE(frame.find("step 100, 0.0/s"), std::string::npos) << frame;
  EXPECT_NE(frame.find("output    0.0 tokens/s, 0.00"), std::string::npos) << frame;
}

TEST(TopFrame, FitsEightyColumns) {
  v1::Stats now = stats(kNow);
  now.set_engine_steps(UINT64_MAX);
  now.set_waiting_prompt_tokens(UINT64_MAX);
  now.set_requests_met_targets(UINT64_MAX);
  now.set_generated_tokens(UINT64_MAX);
  std::istringstream lines(top_frame(std::string(100, 'a'), stats(kBefore), now));
  for (std::string line; std::getline(lines, line);) {
    EXPECT_LE(line.size(), 80u) << line;
  }
}

TEST(TopAddress, TheAdminListenerBelongsToTheAddress) {
  EXPECT_EQ(admin_address_of("127.0.0.1:50051"), "127.0.0.1:50052");
  EXPECT_EQ(admin_address_of("[::1]:7"), "[::1]:8");
  EXPECT_EQ(admin_address_of("unix:/run/stet.sock"), "unix:/run/stet.sock.admin");
}

}  // namespace
}  // namespace stet::cli
