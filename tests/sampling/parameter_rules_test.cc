#include "stet/sampling/parameter_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <set>
#include <sstream>

#include "stet/engine_types/sampling_params.h"

namespace stet::sampling {
namespace {

TEST(ParameterRules, EveryFieldIsListedOnce) {
  std::set<std::string> seen;
  for (const ParameterRule& rule : parameter_rules()) {
    EXPECT_TRUE(seen.insert(rule.field).second) << rule.field;
    EXPECT_EQ(find_parameter_rule(rule.field), &rule);
  }
  EXPECT_EQ(find_parameter_rule("sampling.temperatur"), nullptr);
}

TEST(ParameterRules, BoundsAreInclusiveUnlessMarked) {
  const ParameterRule& temperature = *find_parameter_rule("sampling.temperature");
  EXPECT_TRUE(in_range(temperature, 0.0));
  EXPECT_TRUE(in_range(temperature, 2.0));
  EXPECT_FALSE(in_range(temperature, std::nextafter(2.0, 3.0)));
  EXPECT_FALSE(in_range(temperature, -0x1p-1000));
  const ParameterRule& repetition = *find_parameter_rule("sampling.repetition_penalty");
  EXPECT_FALSE(in_range(repetition, 0.0));
  EXPECT_TRUE(in_range(repetition, 0x1p-1000));
  EXPECT_TRUE(in_range(repetition, 10.0));
  EXPECT_EQ(range_text(repetition), "> 0, <= 10");
}

TEST(ParameterRules, NothingThatIsNotFiniteIsInRange) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const ParameterRule& rule : parameter_rules()) {
    EXPECT_FALSE(in_range(rule, std::nan(""), kInfinity)) << rule.field;
    EXPECT_FALSE(in_range(rule, kInfinity, kInfinity)) << rule.field;
    EXPECT_FALSE(in_range(rule, -kInfinity, kInfinity)) << rule.field;
  }
}

TEST(ParameterRules, BoundsThatTheCallerKnowsAreGivenByTheCaller) {
  const ParameterRule& top_k = *find_parameter_rule("sampling.top_k");
  EXPECT_TRUE(in_range(top_k, 49152, 49152));
  EXPECT_FALSE(in_range(top_k, 49153, 49152));
  EXPECT_EQ(range_text(top_k, 49152), "0..49152");
  EXPECT_EQ(range_text(top_k), "0..vocabulary");
}

TEST(ParameterRules, CapsStayBelowWhatTheyMayBeRaisedTo) {
  for (const ParameterRule& rule : parameter_rules()) {
    EXPECT_EQ(rule.cap != nullptr, rule.max_from == ParameterMax::kCap) << rule.field;
    if (rule.cap != nullptr) {
      EXPECT_LE(rule.max, rule.hard_max) << rule.field;
    }
  }
}

TEST(ParameterRules, DefaultsOfSamplingParamsAreThoseOfTheTable) {
  const SamplingParams defaults;
  EXPECT_STREQ(find_parameter_rule("sampling.temperature")->default_text, "1");
  EXPECT_EQ(defaults.temperature, 1.0f);
  EXPECT_STREQ(find_parameter_rule("sampling.repetition_penalty")->default_text, "1");
  EXPECT_EQ(defaults.repetition_penalty, 1.0f);
  EXPECT_STREQ(find_parameter_rule("sampling.top_p")->default_text, "1");
  EXPECT_EQ(defaults.top_p, 1.0f);
  EXPECT_STREQ(find_parameter_rule("sampling.top_k")->default_text, "0");
  EXPECT_EQ(defaults.top_k, 0u);
}

// After a change of the table: STET_UPDATE_DOCS=1 sampling_test --gtest_filter='*ReferencePage*'
// writes the page.
TEST(ParameterRules, TheReferencePageIsThisTable) {
  const std::string path = std::string(STET_SOURCE_DIR) + "/docs/parameters.md";
  if (std::getenv("STET_UPDATE_DOCS") != nullptr) {
    std::ofstream(path) << parameters_markdown();
  }
  std::ifstream file(path);
  std::stringstream page;
  page << file.rdbuf();
  EXPECT_EQ(page.str(), parameters_markdown());
}

}  // namespace
}  // namespace stet::sampling
