// Facts (a)-(d) of scheduler.md sec. 4 against a scan over every future step. Each has a wrong
// variant beside it, which must be told apart: a comparison that cannot fail shows nothing.
#include "src/sched/estimator/peak_profile.h"

#include <gtest/gtest.h>

#include "tests/sched/estimator_cases.h"

namespace stet::sched {
namespace {

constexpr uint64_t kNumCases = 5000;

PeakProfile profile_of(const std::vector<TestSeq>& batch) {
  PeakProfile profile;
  profile.clear(kNumBlocks, kBlockTokens);
  for (const TestSeq& s : batch) {
    profile.add({s.held_tokens, s.last_step, s.table});
  }
  profile.finish();
  return profile;
}

TEST(PeakProfile, EqualsAScanOverEveryFutureStep) {
  uint64_t wrong_differs = 0;
  for (uint64_t seed = 0; seed < kNumCases; ++seed) {
    TestRandom random(seed);
    const std::vector<TestSeq> batch = random_batch(&random, nullptr, kBlockTokens);
    const uint64_t scanned = scanned_peak(batch, kBlockTokens);
    ASSERT_EQ(profile_of(batch).peak(), scanned) << "seed " << seed;
    uint64_t now_only = 0;  // wrong: what they hold when the longest ends
    for (const TestSeq& s : batch) {
      now_only += s.held_tokens;
    }
    wrong_differs += now_only != scanned ? 1 : 0;
  }
  EXPECT_GT(wrong_differs, kNumCases / 2);
}

TEST(PeakProfile, DemandAtAStepIsThatOfTheScan) {
  for (uint64_t seed = 0; seed < 500; ++seed) {
    TestRandom random(seed);
    const std::vector<TestSeq> batch = random_batch(&random, nullptr, kBlockTokens);
    const PeakProfile profile = profile_of(batch);
    for (uint32_t t = 0; t < 210; ++t) {
      uint64_t held = 0;
      for (const TestSeq& s : batch) {
        held += s.last_step >= t ? s.held_tokens + t : 0;
      }
      ASSERT_EQ(profile.demand_at(t), held) << "seed " << seed << " step " << t;
    }
  }
}

TEST(PeakProfile, LockstepChangesNothing) {
  uint64_t wrong_differs = 0;
  for (uint64_t seed = 0; seed < kNumCases; ++seed) {
    TestRandom random(seed);
    std::vector<TestSeq> batch = random_batch(&random, nullptr, kBlockTokens);
    std::erase_if(batch, [](const TestSeq& s) { return s.last_step == 0; });
    const uint64_t before = profile_of(batch).peak();
    std::vector<TestSeq> grown = batch;
    for (TestSeq& s : grown) {
      ++s.held_tokens;
    }
    wrong_differs += profile_of(grown).peak() != before
                         ? 1
                         : 0;  // wrong: they grow and come no nearer to their ends
    for (TestSeq& s : grown) {
      --s.last_step;
    }
    ASSERT_EQ(profile_of(grown).peak(), before) << "seed " << seed;
  }
  EXPECT_GT(wrong_differs, kNumCases / 2);
}

TEST(PeakProfile, CandidateCheckAndInsertionEqualTheScanWithTheCandidate) {
  uint64_t wrong_differs = 0;
  for (uint64_t seed = 0; seed < kNumCases; ++seed) {
    TestRandom random(seed);
    const TestTree tree(&random, kNumBlocks);
    std::vector<TestSeq> batch = random_batch(&random, &tree, kBlockTokens);
    PeakProfile profile = profile_of(batch);
    const TestSeq candidate{
        .held_tokens = random.below(100), .last_step = random.below(250), .table = {}};
    // Wrong: it comes on top of the peak, whenever that is.
    wrong_differs += profile.peak_with(candidate.held_tokens, candidate.last_step) !=
                             profile.peak() + candidate.held_tokens + candidate.last_step
                         ? 1
                         : 0;
    batch.push_back(candidate);
    const uint64_t scanned = scanned_peak(batch, kBlockTokens);
    ASSERT_EQ(profile.peak_with(candidate.held_tokens, candidate.last_step), scanned)
        << "seed " << seed;
    profile.insert({candidate.held_tokens, candidate.last_step, candidate.table});
    ASSERT_EQ(profile.peak(), scanned) << "seed " << seed;
  }
  EXPECT_GT(wrong_differs, kNumCases / 2);
}

TEST(PeakProfile, SharedBlocksCountOnceAtTheirLongestLivedHolder) {
  uint64_t wrong_differs = 0;
  for (uint64_t seed = 0; seed < kNumCases; ++seed) {
    TestRandom random(seed);
    const TestTree tree(&random, kNumBlocks);
    const std::vector<TestSeq> batch = random_batch(&random, &tree, kBlockTokens);
    const uint64_t scanned = scanned_peak(batch, kBlockTokens);
    ASSERT_EQ(profile_of(batch).peak(), scanned) << "seed " << seed;
    // Wrong: a block belongs to whoever came first, and is gone when that one ends.
    std::vector<TestSeq> first_come = batch;
    std::set<BlockId> seen;
    for (TestSeq& s : first_come) {
      for (const BlockId block : s.table) {
        s.held_tokens -= seen.insert(block).second ? 0 : kBlockTokens;
      }
      s.table.clear();
    }
    wrong_differs += profile_of(first_come).peak() != scanned ? 1 : 0;
  }
  EXPECT_GT(wrong_differs, kNumCases / 20);
}

}  // namespace
}  // namespace stet::sched
