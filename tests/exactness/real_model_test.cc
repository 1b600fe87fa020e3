// The exactness suite on SmolLM2: fewer requests, the fast kernels, the settings that matter most.
#include <gtest/gtest.h>

#include "stet/kernels/kernel_table.h"
#include "tests/exactness/harness.h"
#include "tests/exactness/models.h"

namespace stet::exactness {
namespace {

// Every kShares-th setting each, so that two run at once.
constexpr size_t kShares = 4;
class ExactnessRealModelShare : public testing::TestWithParam<size_t> {};

TEST_P(ExactnessRealModelShare, NoSettingShowsInTokensOrLogProbabilities) {
  std::string why;
  const auto model = real_model(&why);
  ASSERT_NE(model, nullptr) << why;
  const std::vector<Request> requests = mixed_requests(model->hyper.vocab_size, 2, 32);
  const std::vector<Setting> settings = all_settings(&kernels::best_table());
  const RunResult reference = run(model, requests, settings.front());
  for (size_t i = 1 + GetParam(); i < settings.size(); i += kShares) {
    SCOPED_TRACE(settings[i].name);
    const RunResult result = run(model, requests, settings[i]);
    EXPECT_EQ(first_difference(reference.answers, result.answers), "");
  }
}

INSTANTIATE_TEST_SUITE_P(Settings, ExactnessRealModelShare, testing::Range(size_t{0}, kShares));

TEST(ExactnessRealModel, EveryInstructionSetGivesTheBitsOfTheScalarTable) {
  std::string why;
  const auto model = real_model(&why);
  ASSERT_NE(model, nullptr) << why;
  std::vector<Request> requests = mixed_requests(model->hyper.vocab_size, 3, 8);
  for (Request& request : requests) {
    request.sampling.max_tokens = 4;
  }
  Setting setting = reference_setting();
  setting.num_threads = 2;
  const RunResult reference = run(model, requests, setting);
  const kernels::TableList tables = kernels::all_tables();
  for (size_t i = 0; i < tables.num; ++i) {
    if (!kernels::cpu_supports(*tables.tables[i])) {
      continue;
    }
    SCOPED_TRACE(tables.tables[i]->name);
    setting.table = tables.tables[i];
    EXPECT_EQ(first_difference(reference.answers, run(model, requests, setting).answers), "");
  }
}

}  // namespace
}  // namespace stet::exactness
