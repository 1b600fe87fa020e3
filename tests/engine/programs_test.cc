// Programs: what is kept for a follow-up while others need memory, and the order of turns.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/engine/harness.h"

namespace stet::engine {
namespace {

constexpr uint64_t kSecond = 1'000'000;

ProgramHints expecting(const std::string& program_id, const std::string& tool = "search") {
  return {.program_id = program_id, .expects_followup = true, .tool_name = tool};
}

Request first_turn(const ProgramHints& hints, uint32_t salt = 1) {
  Request request = make_request(200, 10, salt);
  request.program = hints;
  return request;
}

// Goes on after the answer to `turn`.
Request followup(const CoreHarness& h, RequestId id, const Request& turn,
                 const ProgramHints& hints) {
  Request next = turn;
  const std::vector<uint32_t> answer = h.seen(id).choices[0].token_ids;
  next.prompt_token_ids.insert(next.prompt_token_ids.end(), answer.begin(), answer.end());
  for (uint32_t i = 0; i < 20; ++i) {
    next.prompt_token_ids.push_back(500 + i);
  }
  next.program = hints;
  return next;
}

// Prompts of others, one after the other: more than the pool holds.
void others_come(CoreHarness* h) {
  for (uint32_t i = 0; i < 6; ++i) {
    h->core->submit(make_request(300, 10, 100 + i));
    h->run();
  }
}

struct Outcome {
  uint32_t cached = 0, pins_left = 0;
  std::vector<uint32_t> first, second;
};
Outcome run_two_turns(const ProgramHints& first, const ProgramHints& second,
                      kv::Eviction eviction = kv::Eviction::kFuture) {
  CoreHarness h({.eviction = eviction}, small_fake(nullptr));
  const Request turn = first_turn(first);
  const RequestId a = h.core->submit(turn).id;
  h.run();
  others_come(&h);
  const RequestId b = h.core->submit(followup(h, a, turn, second)).id;
  h.run();
  EXPECT_TRUE(h.core->check_integrity().ok());
  return {.cached = h.seen(b).end.cached_prompt_tokens,
          .pins_left = h.core->kv().num_pins(),
          .first = h.seen(a).choices[0].token_ids,
          .second = h.seen(b).choices[0].token_ids};
}

TEST(Programs, TheContextIsThereWhenTheFollowupComes) {
  for (const kv::Eviction eviction : {kv::Eviction::kFuture, kv::Eviction::kLru}) {
    const Outcome kept = run_two_turns(expecting("p"), {.program_id = "p"}, eviction);
    EXPECT_EQ(kept.cached, 192u);
    EXPECT_EQ(kept.pins_left, 0u) << "the follow-up holds the blocks";
    const Outcome found_by_its_tokens = run_two_turns(expecting(""), {}, eviction);
    EXPECT_EQ(found_by_its_tokens.cached, 192u);
    EXPECT_EQ(found_by_its_tokens.pins_left, 0u);
    const Outcome not_kept = run_two_turns({.program_id = "p"}, {.program_id = "p"}, eviction);
    EXPECT_EQ(not_kept.cached, 0u) << "the negative control: others took the blocks";
    EXPECT_EQ(kept.first, not_kept.first);
    EXPECT_EQ(kept.second, not_kept.second) << "hints never change an answer";
  }
}

TEST(Programs, AKeptContextGivesWayToWhoeverNeedsItsBlocks) {
  CoreHarness h({.policy = "aggressive"}, small_fake(nullptr));
  h.core->submit(first_turn(expecting("p")));
  h.run();
  EXPECT_EQ(h.core->kv().num_pins(), 1u);
  const RequestId large = h.core->submit(make_request(500, 10, 7)).id;
  const RequestId another = h.core->submit(make_request(400, 10, 8)).id;
  h.run();
  EXPECT_TRUE(h.seen(large).end.status.ok());
  EXPECT_TRUE(h.seen(another).end.status.ok());
  EXPECT_EQ(h.core->kv().num_pins(), 0u);
}

TEST(Programs, NothingIsKeptAfterTheLastTurnNorForSeveralChoicesNorForACancelledTurn) {
  CoreHarness h({}, small_fake(nullptr));
  ProgramHints last = expecting("p");
  last.end_of_program = true;
  h.core->submit(first_turn(last));
  h.run();
  EXPECT_EQ(h.core->kv().num_pins(), 0u);
  Request several = first_turn(expecting("q"));
  several.num_choices = 2;
  h.core->submit(several);
  h.run();
  EXPECT_EQ(h.core->kv().num_pins(), 0u);
  const RequestId left = h.core->submit(first_turn(expecting("r"), 5)).id;
  h.core->step();
  h.core->step();
  h.core->push(CommandKind::kCancel, left);
  h.run();
  EXPECT_EQ(h.core->kv().num_pins(), 0u);
}

TEST(Programs, TheLastTurnReleasesWhatWasKept) {
  CoreHarness h({.max_running = 1}, small_fake(nullptr));
  h.core->submit(first_turn(expecting("p")));
  h.run();
  ASSERT_EQ(h.core->kv().num_pins(), 1u);
  Request last = make_request(10, 1, 9);  // with another prompt
  last.program = {.program_id = "p", .end_of_program = true};
  h.core->submit(last);
  h.run();
  EXPECT_EQ(h.core->kv().num_pins(), 0u);
}

// Per block, the larger context took longer to compute: 255 tokens in 3 blocks against 69 in 1. A
// value with the time in the queue in it, which is the same for both, would let it go first.
TEST(Programs, TimeInTheQueueDoesNotMakeSmallContextsDearer) {
  CoreHarness h({.policy = "aggressive", .max_running = 2}, small_fake(nullptr));
  h.core->submit(make_request(10, 5, 20));
  h.core->submit(make_request(10, 5, 21));
  h.core->submit(make_request(10, 5, 22));  // waits for 20 s
  h.core->step();
  h.clock.advance_us(20 * kSecond);
  h.run();
  Request large = make_request(246, 10, 1), small = make_request(60, 10, 2);
  large.program = expecting("large");
  small.program = expecting("small");
  const RequestId a = h.core->submit(large).id;
  h.run();
  const RequestId b = h.core->submit(small).id;
  h.run();
  ASSERT_EQ(h.core->kv().num_pins(), 2u);
  const uint32_t num_unpinned = h.core->kv().num_blocks() - h.core->kv().counts().pinned;
  // Two at a time that want one block more than that.
  h.core->submit(make_request(num_unpinned / 2 * 64 - 30, 20, 3));
  h.core->submit(make_request((num_unpinned - num_unpinned / 2 + 1) * 64 - 30, 20, 4));
  h.run();
  ASSERT_EQ(h.core->kv().num_pins(), 1u);
  const RequestId next_small = h.core->submit(followup(h, b, small, {.program_id = "small"})).id;
  h.run();
  EXPECT_EQ(h.core->kv().num_pins(), 1u) << "it was the small one's that gave way";
  const RequestId next_large = h.core->submit(followup(h, a, large, {.program_id = "large"})).id;
  h.run();
  EXPECT_EQ(h.seen(next_small).end.cached_prompt_tokens, 0u);
  EXPECT_EQ(h.seen(next_large).end.cached_prompt_tokens, 192u);
}

// ---- metrics

double pin_metric(const CoreHarness& h, const std::string& series) {
  const std::string text = h.metrics.serialise();
  const std::string name = "\nstet_kv_pin" + series;
  const size_t at = text.find(name);
  return at == std::string::npos ? -1.0 : std::stod(text.substr(at + name.size() + 1));
}
std::string of_pins(const std::string& what, const std::string& reason = "") {
  return what + "{engine=\"0\",model_name=\"default\"" +
         (reason.empty() ? "}" : ",reason=\"" + reason + "\"}");
}
std::map<std::string, double> pin_ends(const CoreHarness& h) {
  std::map<std::string, double> ends;
  for (const char* reason : {"followup", "expired", "memory", "not_needed"}) {
    const double n = pin_metric(h, of_pins("s_ended_total", reason));
    if (n != 0.0) {
      ends[reason] = n;
    }
  }
  return ends;
}
using Ends = std::map<std::string, double>;

TEST(PinMetrics, SayWhatBecameOfEachKeptContext) {
  CoreHarness h({}, small_fake(nullptr));
  EXPECT_EQ(pin_ends(h), Ends{}) << "all series are there from the start";
  const Request turn = first_turn(expecting("p"));
  const RequestId a = h.core->submit(turn).id;
  h.run();
  EXPECT_EQ(pin_metric(h, of_pins("s")), 1.0);
  EXPECT_EQ(pin_metric(h, of_pins("s_placed_total")), 1.0);
  EXPECT_EQ(pin_metric(h, of_pins("_blocks_placed_total")), 3.0);
  h.core->submit(followup(h, a, turn, expecting("p")));
  h.run();
  EXPECT_EQ(pin_ends(h), (Ends{{"followup", 1.0}}));
  EXPECT_EQ(pin_metric(h, of_pins("_blocks_hit_total")), 3.0);
  EXPECT_EQ(pin_metric(h, of_pins("s")), 1.0) << "of the second turn";
  h.clock.advance_us(60 * kSecond);
  h.core->step();
  EXPECT_EQ(pin_ends(h), (Ends{{"followup", 1.0}, {"expired", 1.0}}));
  EXPECT_EQ(pin_metric(h, of_pins("s")), 0.0);
}

TEST(PinMetrics, AFollowUpWithAnotherPromptEndsAPinAndHitsNothing) {
  CoreHarness h({}, small_fake(nullptr));
  h.core->submit(first_turn(expecting("p")));
  h.run();
  Request next = make_request(200, 5, 9);
  next.program = {.program_id = "p"};
  h.core->submit(next);
  h.run();
  EXPECT_EQ(pin_ends(h), (Ends{{"followup", 1.0}}));
  EXPECT_EQ(pin_metric(h, of_pins("_blocks_hit_total")), 0.0);
}

TEST(PinMetrics, TellMemoryFromAProgramThatEnded) {
  CoreHarness h({.policy = "aggressive"}, small_fake(nullptr));
  h.core->submit(first_turn(expecting("p")));
  h.run();
  h.core->submit(make_request(500, 10, 7));
  h.core->submit(make_request(400, 10, 8));
  h.run();
  EXPECT_EQ(pin_ends(h), (Ends{{"memory", 1.0}}));
  // Two branches of one program: only the later one's context is kept.
  h.core->submit(first_turn(expecting("q"), 2));
  h.core->submit(first_turn(expecting("q"), 3));
  h.run();
  EXPECT_EQ(pin_ends(h), (Ends{{"memory", 1.0}, {"not_needed", 1.0}}));
}

uint32_t pins_after(CoreHarness* h, uint64_t time_us, const ProgramHints& hints) {
  h->core->submit(first_turn(hints));
  h->run();
  EXPECT_EQ(h->core->kv().num_pins(), 1u);
  h->clock.advance_us(time_us);
  h->core->submit(make_request(10, 1, 77));
  h->run();
  return h->core->kv().num_pins();
}

TEST(Programs, AContextIsKeptForAsLongAsThisToolTakes) {
  CoreHarness h({}, small_fake(nullptr));
  EXPECT_EQ(pins_after(&h, kSecond, expecting("a")), 1u);
  EXPECT_EQ(pins_after(&h, 3 * kSecond, expecting("a")), 0u) << "two seconds, for all it knows";
  ProgramHints said = expecting("b");
  said.expected_gap_us = 2 * kSecond;
  EXPECT_EQ(pins_after(&h, 3 * kSecond, said), 1u);
  EXPECT_EQ(pins_after(&h, 5 * kSecond, said), 0u);
  for (uint32_t i = 0; i < 10; ++i) {
    h.core->submit(first_turn(expecting("c", "compile")));
    h.run();
    h.clock.advance_us(20 * kSecond);
  }
  EXPECT_EQ(pins_after(&h, 15 * kSecond, expecting("c", "compile")), 1u);
}

// One request at a time. The first of the others runs when the second turn arrives.
size_t place_of_the_second_turn(const ProgramHints& hints) {
  CoreHarness h({.max_running = 1}, small_fake(nullptr));
  h.core->submit(first_turn(hints));
  h.run();
  std::vector<RequestId> others;
  for (uint32_t i = 0; i < 4; ++i) {
    others.push_back(h.core->submit(make_request(100, 10, 10 + i)).id);
  }
  h.core->step();
  const RequestId second = h.core->submit(first_turn(hints, 2)).id;
  h.run();
  return static_cast<size_t>(std::count_if(others.begin(), others.end(), [&](RequestId other) {
    return h.seen(other).end.times.first_scheduled_us < h.seen(second).end.times.first_scheduled_us;
  }));
}

TEST(Programs, ALaterTurnOfAnOldProgramGoesBeforeWhatCameSince) {
  EXPECT_EQ(place_of_the_second_turn({.program_id = "p"}), 1u);
  EXPECT_EQ(place_of_the_second_turn({}), 4u);
}

}  // namespace
}  // namespace stet::engine
