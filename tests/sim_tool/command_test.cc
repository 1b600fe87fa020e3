// The binary: its commands, its help, its errors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "stet/sched/policy.h"

namespace stet::sim {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

struct Ended {
  int code = -1;
  std::string text;  // both streams
};
Ended run(const std::string& args) {
  Ended ended;
  FILE* pipe = popen((std::string(STET_SIM_BINARY) + " " + args + " 2>&1").c_str(), "r");
  char buffer[4096];
  for (size_t n = 0; pipe != nullptr && (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) {
    ended.text.append(buffer, n);
  }
  const int status = pipe == nullptr ? -1 : pclose(pipe);
  ended.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return ended;
}
std::string read(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

class Command : public ::testing::Test {
 protected:
  Command()
      : dir_(std::filesystem::temp_directory_path() /
             ("stet-sim-" + std::to_string(getpid()) + "-" +
              ::testing::UnitTest::GetInstance()->current_test_info()->name())) {
    std::filesystem::create_directories(dir_);
  }
  ~Command() override { std::filesystem::remove_all(dir_); }
  std::string file(const std::string& name) const { return (dir_ / name).string(); }
  static std::string model() {
    return " --model " STET_SOURCE_DIR "/configs/sim/70b-h200-assumed.json ";
  }
  std::filesystem::path dir_;
};

TEST_F(Command, HelpNamesEveryFlag) {
  const std::vector<std::pair<std::string, std::vector<const char*>>> commands = {
      {"", {"gen", "run", "score", "experiments"}},
      {"gen long-output", {"--requests", "--rate", "--seed"}},
      {"gen agents", {"--programs", "--rate", "--seed"}},
      {"agents", {"--model", "--policy", "--programs", "--rate", "--seeds", "--pool"}},
      {"run",
       {"trace", "--rate", "--requests", "--model", "--policy", "--max-tokens", "--ttft", "--gap",
        "--true-lengths", "--late-last", "--prefix-cache", "--seed", "--batch", "--json",
        "--plan-log"}},
      {"score", {"trace", "--policy", "--every", "--json", "--svg", "--rate", "--true-lengths"}},
      {"experiments", {"--data", "--out", "--model", "--requests", "--ttft", "--gap"}}};
  for (const auto& [command, names] : commands) {
    const Ended help = run(command + " --help");
    EXPECT_EQ(help.code, 0);
    for (const char* name : names) {
      EXPECT_THAT(help.text, HasSubstr(name)) << command;
    }
  }
}

TEST_F(Command, GeneratesAndRunsEveryPolicy) {
  ASSERT_EQ(run("gen long-output --requests 60 --rate 3 --seed 1 > " + file("t.csv")).code, 0);
  const Ended ended = run("run " + file("t.csv") + model() + "--json " + file("out.json") +
                          " --plan-log " + file("plans.txt"));
  ASSERT_EQ(ended.code, 0) << ended.text;
  const nlohmann::json report = nlohmann::json::parse(read(file("out.json")));
  ASSERT_EQ(report["runs"].size(), sched::policy_names().size());
  for (size_t i = 0; i < report["runs"].size(); ++i) {
    const std::string name(sched::policy_names()[i]);
    EXPECT_EQ(report["runs"][i]["policy"], name);
    EXPECT_EQ(report["runs"][i]["num_requests"], 60);
    EXPECT_THAT(ended.text, HasSubstr("| " + name + " | "));
    EXPECT_THAT(read(file("plans.txt")), HasSubstr("policy " + name + "\n"));
  }
  EXPECT_THAT(ended.text, HasSubstr("requests/s of wall time"));
}

TEST_F(Command, AgentsComparesPinsAtEveryPoolSize) {
  EXPECT_THAT(run("gen agents --programs 2").text, HasSubstr("\n2,1,"));
  const Ended ended = run("agents --programs 6 --seeds 1 --pool 60000 --pool 90000" + model());
  ASSERT_EQ(ended.code, 0) << ended.text;
  for (const char* part : {"Pool of 60000 tokens", "Pool of 90000 tokens", "| by request, lru | ",
                           "| by program, lru, pins | ", "| by program, future, pins | "}) {
    EXPECT_THAT(ended.text, HasSubstr(part));
  }
  EXPECT_THAT(run("agents --programs 2 --seeds 1 --policy none" + model()).text,
              HasSubstr("policy 'none' does not exist"));
}

TEST_F(Command, ErrorsGoToStandardErrorWithACode) {
  EXPECT_THAT(run("run no/such.csv" + model()).text, HasSubstr("stet-sim: no/such.csv:"));
  EXPECT_EQ(run("run no/such.csv" + model()).code, 65);
  std::ofstream(file("bad.csv")) << "arrival_s,prompt_tokens,output_tokens\n0,0,1\n";
  EXPECT_THAT(run("run " + file("bad.csv") + model()).text,
              HasSubstr("bad.csv:2: prompt_tokens is '0'"));
  std::ofstream(file("good.csv")) << "arrival_s,prompt_tokens,output_tokens\n0,10,1\n";
  EXPECT_THAT(run("run " + file("good.csv") + model() + "--policy none").text,
              HasSubstr("policy 'none' does not exist"));
  EXPECT_THAT(run("run " + file("good.csv") + " --model no/such.json").text,
              HasSubstr("no/such.json"));
  EXPECT_NE(run("run " + file("good.csv") + model() + "--rate -1").code, 0);
}

TEST_F(Command, ScoreWritesTableJsonAndChart) {
  ASSERT_EQ(run("gen long-output --requests 60 --rate 3 > " + file("t.csv")).code, 0);
  const Ended ended = run("score " + file("t.csv") + model() + "--json " + file("s.json") +
                          " --svg " + file("s.svg"));
  ASSERT_EQ(ended.code, 0) << ended.text;
  EXPECT_THAT(ended.text, HasSubstr("| moments | "));
  EXPECT_THAT(ended.text, HasSubstr("| sampled | "));
  EXPECT_FALSE(nlohmann::json::parse(read(file("s.json")))["batches"].empty());
  EXPECT_THAT(read(file("s.svg")), HasSubstr("forecast peak"));
}

TEST_F(Command, ExperimentsRunWhatThereIsAndNameWhatIsMissing) {
  std::string csv = "arrival_s,prompt_tokens,output_tokens\n";
  for (int i = 0; i < 60; ++i) {
    csv += std::to_string(i) + ",2000,300\n";
  }
  std::filesystem::create_directories(file("data"));
  std::ofstream(file("data/azure_llm_code_2023_first.csv")) << csv;
  const Ended ended = run("experiments --long-output-requests 40 --requests 50 --data " +
                          file("data") + " --out " + file("out/deep") + model());
  ASSERT_EQ(ended.code, 0) << ended.text;
  EXPECT_THAT(ended.text, HasSubstr("left out: azure conv, for want of azure_llm_conv_2023"));
  EXPECT_THAT(ended.text, Not(HasSubstr("left out: azure code")));
  const std::string page = read(file("out/deep/experiments.md"));
  EXPECT_THAT(page, HasSubstr("Left out: mooncake synthetic, for want of"));
  for (const char* load : {"0.7", "0.9", "1.1"}) {
    EXPECT_THAT(page, HasSubstr(std::string("### azure code at ") + load + " of capacity"));
    EXPECT_THAT(page, HasSubstr(std::string("### long-output at ") + load + " of capacity"));
  }
  const nlohmann::json report = nlohmann::json::parse(read(file("out/deep/experiments.json")));
  ASSERT_EQ(report["experiments"].size(), 2u);
  EXPECT_EQ(report["experiments"][1]["loads"].size(), 5u);
  EXPECT_THAT(read(file("out/deep/goodput-azure-code.svg")),
              HasSubstr("past_future, true lengths"));
  EXPECT_THAT(read(file("out/deep/forecast-long-output.svg")), HasSubstr("in use"));
}

}  // namespace
}  // namespace stet::sim
