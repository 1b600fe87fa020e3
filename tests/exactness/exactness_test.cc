// The exactness suite on tiny seeded models of every architecture (exactness.md, 'How it is
// shown').
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "stet/kernels/kernel_table.h"
#include "tests/exactness/harness.h"
#include "tests/exactness/models.h"

namespace stet::exactness {
namespace {

std::vector<const kernels::KernelTable*> supported_tables() {
  std::vector<const kernels::KernelTable*> supported;
  const kernels::TableList tables = kernels::all_tables();
  for (size_t i = 0; i < tables.num; ++i) {
    if (kernels::cpu_supports(*tables.tables[i])) {
      supported.push_back(tables.tables[i]);
    }
  }
  return supported;
}

// One case per model and not per table: ctest runs each case in a process of its own, and each
// would compute the scalar reference again.
class Exactness : public testing::TestWithParam<std::string> {};

TEST_P(Exactness, NoSettingShowsInTokensOrLogProbabilities) {
  const auto model = tiny_model(GetParam());
  const std::vector<Request> requests = mixed_requests(model->hyper.vocab_size, 1, 32);
  const RunResult reference = run(model, requests, reference_setting());
  for (const kernels::KernelTable* table : supported_tables()) {
    const bool every_setting = table == &kernels::best_table();
    for (const Setting& setting : all_settings(table)) {
      // The slow tables show equal bits in a crowd; the rest is the fast table's work.
      if (!every_setting && setting.name != "chunks of 7") {
        continue;
      }
      SCOPED_TRACE(std::string(table->name) + ": " + setting.name);
      const RunResult result = run(model, requests, setting);
      EXPECT_EQ(first_difference(reference.answers, result.answers), "");
      if (setting.policy == "aggressive" || setting.misleading_hints) {
        EXPECT_GT(result.preemptions, 0u) << "the setting must really preempt";
      }
      if (setting.kv_mode == executor::KvMode::kVirtual) {
        EXPECT_GT(result.kv.map_calls, 0u) << "the setting must really map";
        if (setting.kv_max_maps != 0) {
          EXPECT_GT(result.kv.paged_fallbacks, 0u) << "the setting must really mix";
        }
      }
      if (setting.twice) {
        EXPECT_GT(result.cached_prompt_tokens, 0u) << "the setting must really hit the cache";
      }
    }
  }
}

TEST_P(Exactness, AttendingOverASharedPrefixTogetherDoesNotShow) {
  const auto model = tiny_model(GetParam());
  const std::vector<Request> requests = shared_prefix_requests(model->hyper.vocab_size, 3);
  // Choices form groups even here; the scalar table attends member by member.
  const RunResult reference = run(model, requests, reference_setting());
  for (const kernels::KernelTable* table : supported_tables()) {
    for (const Setting& setting : group_settings(table)) {
      if (table != &kernels::best_table() &&
          (setting.num_threads != 2 || table == kernels::find_table("scalar"))) {
        continue;
      }
      SCOPED_TRACE(std::string(table->name) + ": " + setting.name);
      const RunResult result = run(model, requests, setting);
      EXPECT_EQ(first_difference(reference.answers, result.answers), "");
      EXPECT_GT(result.grouped_rows, 0u) << "the setting must really group";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tiny, Exactness, testing::ValuesIn(tiny_model_names()),
                         [](const auto& param_info) { return param_info.param; });

TEST(ExactnessHarness, AnswersAreNotConstant) {
  const std::string name = tiny_model_names().front();
  const auto model = tiny_model(name);
  const RunResult reference =
      run(model, mixed_requests(model->hyper.vocab_size, 1, 32), reference_setting());
  std::set<uint32_t> seen;
  for (const Answer& answer : reference.answers) {
    EXPECT_FALSE(answer.token_ids.empty());
    seen.insert(answer.token_ids.begin(), answer.token_ids.end());
  }
  EXPECT_GT(seen.size(), 32u) << "a model that always says the same would hide every mistake";
}

}  // namespace
}  // namespace stet::exactness
