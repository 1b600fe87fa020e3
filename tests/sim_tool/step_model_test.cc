#include "src/sim/step_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

namespace stet::sim {
namespace {

using ::testing::HasSubstr;

// a + max(w, c*tokens) + r*sum(decode context) + q*sum(chunk * context)
TEST(StepTime, IsTheSumOfSection2) {
  const StepTime time = {.a_us = 10, .w_us = 20, .c_us = 1, .r_us = 0.5, .q_us = 0.25};
  StepBatch batch;
  EXPECT_EQ(time.step_us(batch), 0u) << "operations alone take no time";
  batch.rows = {{.first_pos = 100, .n_pos = 1}};
  EXPECT_EQ(time.step_us(batch), 10u + 20 + 50);
  batch.rows.push_back({.first_pos = 64, .n_pos = 36});
  EXPECT_EQ(time.step_us(batch), 10u + 37 + 50 + 576);
  batch.rows.push_back({.first_pos = 0, .n_pos = 64});
  EXPECT_EQ(time.step_us(batch), 10u + 101 + 50 + 576);
  batch.rows = {{.first_pos = 101, .n_pos = 1}};
  EXPECT_EQ(time.step_us(batch), 81u) << "80.5, to whole microseconds";
}

TEST(MachineModel, EveryConfigurationLoadsAndSaysWhereItIsFrom) {
  size_t num_models = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::string(STET_SOURCE_DIR) + "/configs/sim")) {
    const Result<MachineModel> machine = load_machine(entry.path().string());
    ASSERT_TRUE(machine.ok()) << machine.status().message();
    EXPECT_GT(machine->source.size(), 20u) << entry.path();
    if (entry.path().string().find("assumed") != std::string::npos) {
      EXPECT_THAT(machine->source, HasSubstr("Assumed")) << entry.path();
    }
    ++num_models;
  }
  EXPECT_GE(num_models, 2u);
}

TEST(MachineModel, H200IsAsSection10Assumes) {
  const MachineModel m =
      load_machine(std::string(STET_SOURCE_DIR) + "/configs/sim/70b-h200-assumed.json").value();
  EXPECT_EQ(m.num_blocks(), 196'000u / 64);
  EXPECT_EQ(m.max_step_tokens, 2048u);
  StepBatch batch;
  batch.rows = {{.first_pos = 10'000, .n_pos = 1}, {.first_pos = 1000, .n_pos = 1000}};
  EXPECT_EQ(m.step.step_us(batch), 2000u + 140'140 + 800 + 5200);
}

TEST(MachineModel, WrongFilesAreRefusedByField) {
  const std::string good = R"({"name": "m", "source": "a test", "pool_tokens": 640,
      "block_tokens": 64, "max_step_tokens": 64,
      "step_time": {"a_us": 10, "w_us": 20, "c_us": 1, "r_us": 0.5, "q_us": 0.25}})";
  ASSERT_TRUE(parse_machine(good, "m.json").ok());
  const struct {
    const char *found, *replaced;
    const char* error;
  } cases[] = {
      {"{", "", "m.json: not JSON"},
      {"\"name\": \"m\"", "\"name\": 3", "m.json: name is 3; expected a text that is not empty"},
      {"\"a test\"", "\"\"", "m.json: source is \"\"; expected a text that is not empty"},
      {"640", "-640", "m.json: pool_tokens is -640; expected a whole number"},
      {"640", "6.5", "m.json: pool_tokens is 6.5; expected a whole number"},
      {"640", "63", "m.json: pool_tokens is 63; expected at least block_tokens"},
      {"\"max_step_tokens\": 64", "\"max_step_tokens\": 0", "max_step_tokens is 0; expected"},
      {"\"max_step_tokens\": 64,", "", "m.json: field 'max_step_tokens' is missing"},
      {"\"c_us\": 1,", "\"c_ms\": 1,", "m.json: step_time: field 'c_ms' is unknown"},
      {"\"c_us\": 1,", "", "m.json: step_time: field 'c_us' is missing"},
      {"\"c_us\": 1,", "\"c_us\": -1,", "step_time: c_us is -1; expected microseconds in 0..1e9"},
      {"{\"a_us\": 10, \"w_us\": 20, \"c_us\": 1, \"r_us\": 0.5, \"q_us\": 0.25}", "[]",
       "m.json: step_time: expected an object"},
  };
  for (const auto& c : cases) {
    std::string text = good;
    text.replace(text.find(c.found), std::string(c.found).size(), c.replaced);
    const Result<MachineModel> machine = parse_machine(text, "m.json");
    ASSERT_FALSE(machine.ok()) << text;
    EXPECT_THAT(machine.status().message(), HasSubstr(c.error));
  }
  EXPECT_THAT(load_machine("no/such.json").status().message(), HasSubstr("no/such.json"));
}

}  // namespace
}  // namespace stet::sim
