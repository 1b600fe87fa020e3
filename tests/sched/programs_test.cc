#include "stet/sched/programs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/sched/estimator_cases.h"

namespace stet::sched {
namespace {

// ---- how long to keep

// The expected gain by its definition, for any tau.
double gain(const std::vector<uint64_t>& gaps, uint64_t tau, const KeepTerms& terms) {
  double in_time = 0.0, kept = 0.0;
  for (const uint64_t gap : gaps) {
    in_time += gap <= tau ? 1.0 : 0.0;
    kept += static_cast<double>(std::min(gap, tau));
  }
  const auto n = static_cast<double>(gaps.size());
  return in_time / n * terms.saved_us - terms.cost_per_us * kept / n;
}

TEST(KeepTime, NoOtherTimeGainsMore) {
  TestRandom draw(1);
  for (int round = 0; round < 2000; ++round) {
    std::vector<uint64_t> gaps(1 + draw.below(12));
    for (uint64_t& gap : gaps) {
      gap = 1 + draw.below(60);
    }
    std::sort(gaps.begin(), gaps.end());
    const KeepTerms terms = {.saved_us = static_cast<double>(draw.below(100)),
                             .cost_per_us = static_cast<double>(draw.below(30)) / 10.0};
    const KeepTime keep = keep_time(gaps, terms);
    const double best = keep.ttl_us == 0 ? 0.0 : gain(gaps, keep.ttl_us, terms);
    for (uint64_t tau = 1; tau <= 70; ++tau) {
      ASSERT_LE(gain(gaps, tau, terms), best + 1e-9) << "round " << round << ", tau " << tau;
    }
    const auto in_time = std::upper_bound(gaps.begin(), gaps.end(), keep.ttl_us) - gaps.begin();
    ASSERT_NEAR(keep.value_us,
                static_cast<double>(in_time) / static_cast<double>(gaps.size()) * terms.saved_us,
                1e-9);
  }
}

TEST(KeepTime, ItIsNotWorthItWhenOthersWaitLonger) {
  const std::vector<uint64_t> gaps = {1000, 1000, 50'000};
  EXPECT_EQ(keep_time(gaps, {.saved_us = 900, .cost_per_us = 0.0}).ttl_us, 50'000u);
  EXPECT_EQ(keep_time(gaps, {.saved_us = 900, .cost_per_us = 0.1}).ttl_us, 1000u);
  EXPECT_EQ(keep_time(gaps, {.saved_us = 900, .cost_per_us = 1.0}).ttl_us, 0u);
  EXPECT_EQ(keep_time(gaps, {.saved_us = 0, .cost_per_us = 0.0}).ttl_us, 0u);
}

TEST(FollowupGaps, AreTheLast128Sorted) {
  TestRandom draw(2);
  FollowupGaps gaps;
  std::vector<uint64_t> all;
  for (int i = 0; i < 1000; ++i) {
    all.push_back(draw.below(50));
    gaps.add(all.back());
    std::vector<uint64_t> last(all.end() - std::min<ptrdiff_t>(128, std::ssize(all)), all.end());
    std::sort(last.begin(), last.end());
    ASSERT_TRUE(std::equal(last.begin(), last.end(), gaps.sorted().begin(), gaps.sorted().end()));
  }
}

// ---- who belongs to which program

ProgramHints turn_of(const std::string& program_id, uint32_t turn = 0, bool expects = true,
                     const std::string& tool = "search") {
  return {.program_id = program_id, .turn = turn, .expects_followup = expects, .tool_name = tool};
}
std::vector<Sha256Digest> chain_of(const std::string& text) {
  std::vector<Sha256Digest> chain;
  for (size_t i = 1; i <= text.size(); ++i) {
    const std::string prefix = text.substr(0, i);
    chain.push_back(sha256(std::as_bytes(std::span(prefix))));
  }
  return chain;
}
// The time that a context is kept when nobody waits: the longest gap.
uint64_t longest_gap(const Programs& programs, const ProgramHints& hints,
                     const std::string& tenant = "t") {
  return programs.keep(tenant, hints, {.saved_us = 1.0}).ttl_us;
}

TEST(Programs, ATurnHasTheArrivalOfTheFirst) {
  Programs programs;
  EXPECT_EQ(programs.begin_turn("t", turn_of("p", 1), {}, 100).arrival_us, 100u);
  EXPECT_EQ(programs.begin_turn("t", turn_of("p", 2), {}, 900).arrival_us, 100u);
  EXPECT_EQ(programs.begin_turn("t", turn_of("q", 1), {}, 900).arrival_us, 900u);
  EXPECT_EQ(programs.begin_turn("other", turn_of("p", 2), {}, 950).arrival_us, 950u);
  const Programs::Turn none = programs.begin_turn("t", {}, {}, 970);
  EXPECT_EQ(none.arrival_us, 970u);
  EXPECT_EQ(none.program, ProgramId{});
}

TEST(Programs, AnEndedProgramIsForgotten) {
  Programs programs;
  const Programs::Turn turn = programs.begin_turn("t", turn_of("p"), {}, 100);
  programs.expect_followup(turn.program, turn_of("p"), {}, kv::PinId{7}, 200);
  EXPECT_EQ(programs.end(turn.program), kv::PinId{7});
  EXPECT_EQ(programs.end(turn.program), kv::PinId{});
  EXPECT_EQ(programs.take_pin(turn.program), kv::PinId{});
  EXPECT_EQ(programs.num_programs(), 0u);
  EXPECT_EQ(programs.begin_turn("t", turn_of("p"), {}, 300).arrival_us, 300u);
}

TEST(Programs, APinIsTakenOnce) {
  Programs programs;
  const ProgramId id = programs.begin_turn("t", turn_of("p"), {}, 100).program;
  programs.expect_followup(id, turn_of("p"), {}, kv::PinId{7}, 200);
  EXPECT_EQ(programs.take_pin(id), kv::PinId{7});
  EXPECT_EQ(programs.take_pin(id), kv::PinId{});
}

TEST(Programs, WithoutAnIdATurnIsFoundByTheTokensItBeginsWith) {
  Programs programs;
  const ProgramHints expects = turn_of("");
  const ProgramId id = programs.begin_turn("t", expects, chain_of("ab"), 100).program;
  EXPECT_NE(id, ProgramId{});
  programs.expect_followup(id, expects, chain_of("abcd"), kv::PinId{}, 200);
  EXPECT_EQ(programs.begin_turn("t", {}, chain_of("abc"), 250).program, ProgramId{})
      << "the same prompt again, not the answer too";
  EXPECT_EQ(programs.begin_turn("other", {}, chain_of("abcdef"), 250).program, ProgramId{});
  const Programs::Turn next = programs.begin_turn("t", {}, chain_of("abcdef"), 300);
  EXPECT_EQ(next.program, id);
  EXPECT_EQ(next.arrival_us, 100u);
  EXPECT_EQ(programs.begin_turn("t", {}, chain_of("abcdef"), 400).program, ProgramId{})
      << "its follow-up has come";
}

TEST(Programs, GapsAreLearnedPerToolOnceThereAreEight) {
  Programs programs;
  const ProgramHints hints = turn_of("p");
  uint64_t now = 0;
  ProgramId id;
  for (size_t i = 0; i <= FollowupGaps::kEnough; ++i) {
    EXPECT_EQ(longest_gap(programs, hints), Programs::kDefaultGapUs) << i;
    id = programs.begin_turn("t", hints, {}, now += 5000).program;
    programs.expect_followup(id, hints, {}, {}, now += 10);
  }
  EXPECT_EQ(longest_gap(programs, hints), 5000u);
  EXPECT_EQ(longest_gap(programs, turn_of("p", 0, true, "other")), Programs::kDefaultGapUs);
  EXPECT_EQ(longest_gap(programs, hints, "other"), Programs::kDefaultGapUs);
  ProgramHints said = hints;
  said.expected_gap_us = 700;
  EXPECT_EQ(longest_gap(programs, said), 1400u) << "what the client says of this call, twice";
}

TEST(Programs, ARepeatedTurnIsNoFollowup) {
  Programs programs;
  uint64_t now = 0;
  for (uint32_t turn = 1; turn <= FollowupGaps::kEnough + 1; ++turn) {
    const ProgramHints hints = turn_of("p", turn);
    const ProgramId id = programs.begin_turn("t", hints, {}, now += 5000).program;
    programs.expect_followup(id, hints, {}, {}, now += 10);
    programs.begin_turn("t", hints, {}, now + 1);
  }
  EXPECT_EQ(longest_gap(programs, turn_of("p")), 5000u);
}

TEST(Programs, MemoryIsBoundedAndWhoIsForgottenWaitingCountsAsLate) {
  Programs programs;
  const auto begin = [&](size_t i, uint64_t now) {
    const ProgramHints hints = turn_of("p" + std::to_string(i), 0, true,
                                       "tool " + std::to_string(i % (2 * Programs::kMostTools)));
    const ProgramId id = programs.begin_turn("t", hints, {}, now).program;
    programs.expect_followup(id, hints, chain_of("x"), {}, now + 1);
  };
  for (size_t i = 0; i < Programs::kMostPrograms + 2000; ++i) {
    begin(i, 10 * i);
  }
  EXPECT_EQ(programs.num_programs(), Programs::kMostPrograms);
  EXPECT_EQ(programs.num_tools(), Programs::kMostTools);
  EXPECT_EQ(programs.begin_turn("t", turn_of("p0"), {}, 1'000'000).arrival_us, 1'000'000u);
}

}  // namespace
}  // namespace stet::sched
