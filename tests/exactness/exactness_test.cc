// The exactness suite on tiny seeded models of every architecture (exactness.md, 'How it is shown').
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "stet/kernels/kernel_table.h"
#include "tests/exactness/harness.h"
#include "tests/exactness/models.h"

namespace stet::exactness {
namespace {

struct Case {
  std::string model;
  std::string table;
};

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  const kernels::TableList tables = kernels::all_tables();
  for (const std::string& model : tiny_model_names()) {
    for (size_t i = 0; i < tables.num; ++i) {
      if (kernels::cpu_supports(*tables.tables[i])) {
        cases.push_back({model, tables.tables[i]->name});
      }
    }
  }
  return cases;
}

// The reference answers of a model, computed once.
const RunResult& reference_of(const std::string& name, const std::vector<Request>& requests) {
  static std::map<std::string, RunResult> cache;
  auto it = cache.find(name);
  if (it == cache.end()) {
    it = cache.emplace(name, run(tiny_model(name), requests, reference_setting())).first;
  }
  return it->second;
}

class Exactness : public testing::TestWithParam<Case> {};

TEST_P(Exactness, NoSettingShowsInTokensOrLogProbabilities) {
  const auto model = tiny_model(GetParam().model);
  const std::vector<Request> requests = mixed_requests(model->hyper.vocab_size, 1, 32);
  const RunResult& reference = reference_of(GetParam().model, requests);
  const kernels::KernelTable* table = kernels::find_table(GetParam().table.c_str());
  const bool every_setting = table == &kernels::best_table();
  for (const Setting& setting : all_settings(table)) {
    // The slow tables show equal bits alone and in a crowd; the rest is the fast table's work.
    if (!every_setting && setting.name != "alone" && setting.name != "chunks of 7") {
      continue;
    }
    SCOPED_TRACE(setting.name);
    const RunResult result = run(model, requests, setting);
    EXPECT_EQ(first_difference(reference.answers, result.answers), "");
    if (setting.policy == "aggressive") {
      EXPECT_GT(result.preemptions, 0u) << "the setting must really preempt";
    }
    if (setting.twice) {
      EXPECT_GT(result.cached_prompt_tokens, 0u) << "the setting must really hit the cache";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tiny, Exactness, testing::ValuesIn(all_cases()), [](const auto& param_info) {
  return param_info.param.model + "_" + param_info.param.table;
});

TEST(ExactnessHarness, AnswersAreNotConstant) {
  const std::string name = tiny_model_names().front();
  const auto model = tiny_model(name);
  const RunResult& reference = reference_of(name, mixed_requests(model->hyper.vocab_size, 1, 32));
  std::set<uint32_t> seen;
  for (const Answer& answer : reference.answers) {
    EXPECT_FALSE(answer.token_ids.empty());
    seen.insert(answer.token_ids.begin(), answer.token_ids.end());
  }
  EXPECT_GT(seen.size(), 32u) << "a model that always says the same would hide every mistake";
}

}  // namespace
}  // namespace stet::exactness
