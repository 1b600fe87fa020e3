// Every order of eviction, with pins, against a model that looks at everything (naive_cache.h):
// after each operation the cache holds exactly the prefixes that the model holds.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>

#include "stet/kv/kv_cache.h"
#include "tests/kv/naive_cache.h"

namespace stet::kv {
namespace {

constexpr uint32_t kSmallBlockTokens = 4;

class Line final : public UseOrder {
 public:
  SeqId last() const override { return seqs.empty() ? SeqId{} : seqs.back(); }
  SeqId before(SeqId seq) const override {
    const auto at = std::find(seqs.begin(), seqs.end(), seq);
    return at == seqs.begin() ? SeqId{} : *std::prev(at);
  }
  std::vector<SeqId> seqs;
};

// Random arrivals, ends, pins and clock moves on the cache and on the model.
class Walk {
 public:
  Walk(uint64_t seed, Eviction eviction, Eviction believed, Flaw flaw = Flaw::kNone)
      : random_(seed * 0x9E3779B97F4A7C15ULL + 1),
        num_blocks_(11 + static_cast<uint32_t>(below(20))),
        kv_({.num_blocks = num_blocks_, .block_tokens = kSmallBlockTokens, .eviction = eviction}),
        model_(believed, num_blocks_, kSmallBlockTokens, flaw) {
    kv_.set_use_order(&line_);
  }

  // The first difference; empty = none.
  std::string run(uint32_t num_operations) {
    for (uint32_t i = 0; i < num_operations; ++i) {
      operation();
      const std::string difference = compare();
      if (!difference.empty()) {
        return "operation " + std::to_string(i) + ": " + difference;
      }
    }
    return "";
  }
  uint64_t num_evicted() const { return num_evicted_; }
  const PinTotals& pin_totals() const { return model_.totals; }

 private:
  struct Seq {
    Tokens prompt;
    uint8_t priority_class;
  };

  uint64_t below(uint64_t n) {
    random_ = random_ * 6364136223846793005ULL + 1442695040888963407ULL;
    return (random_ >> 33) % n;
  }

  void operation() {
    switch (below(12)) {
      case 0: return move_clock();
      case 1: return unpin();
      case 2: return change_cost();
      case 3: return cancel();
      case 4:
      case 5:
      case 6: return end();
      case 7:
      case 8:
      case 9: return arrive();
      default: return start();
    }
  }

  // A tree of prompts: most continue an earlier one from some block on.
  void arrive() {
    if (line_.seqs.size() >= 6) {
      return start();
    }
    Tokens prompt;
    if (!prompts_.empty() && below(5) != 0) {
      prompt = prompts_[below(prompts_.size())];
      prompt.resize(below(2) == 0 ? prompt.size() : below(prompt.size() + 1));
    }
    for (uint64_t n = 1 + below(9); n > 0; --n) {
      prompt.push_back(static_cast<uint32_t>(below(1000)));
    }
    prompt.resize(std::min<size_t>(prompt.size(), 7 * kSmallBlockTokens));
    prompts_.push_back(prompt);
    if (prompts_.size() > 15) {
      prompts_.erase(prompts_.begin() + static_cast<ptrdiff_t>(below(prompts_.size())));
    }
    const SeqId seq{++last_seq_};
    const auto priority_class = static_cast<uint8_t>(below(8));
    waiting_[seq.v] = {prompt, priority_class};
    kv_.add_sequence(seq, {}, priority_class);
    kv_.hash_blocks(seq, prompt);
    kv_.set_waiting(seq, true);
    const size_t place = below(line_.seqs.size() + 1);
    line_.seqs.insert(line_.seqs.begin() + static_cast<ptrdiff_t>(place), seq);
    model_.queue.insert(model_.queue.begin() + static_cast<ptrdiff_t>(place), prompt);
  }

  SeqId leave_line(size_t place) {
    const SeqId seq = line_.seqs[place];
    line_.seqs.erase(line_.seqs.begin() + static_cast<ptrdiff_t>(place));
    model_.queue.erase(model_.queue.begin() + static_cast<ptrdiff_t>(place));
    return seq;
  }

  void cancel() {
    if (!line_.seqs.empty()) {
      const SeqId seq = leave_line(below(line_.seqs.size()));
      waiting_.erase(seq.v);
      kv_.remove_sequence(seq);
    }
  }

  void start() {
    if (line_.seqs.empty()) {
      return;
    }
    const size_t place = below(line_.seqs.size());
    const SeqId seq = line_.seqs[place];
    const Seq s = waiting_[seq.v];
    const auto n = static_cast<uint32_t>(s.prompt.size());
    const uint32_t hit = kv_.match(seq, s.prompt).num_tokens;
    StepPlan plan;
    plan.step = ++step_;
    plan.admitted = {seq};
    plan.scheduled = {{.seq = seq,
                       .first_pos = hit,
                       .num_scheduled_tokens = n - hit,
                       .num_new_blocks = (n + kSmallBlockTokens - 1) / kSmallBlockTokens -
                                         hit / kSmallBlockTokens}};
    StepBatch batch;
    const uint64_t before = kv_.counts().cached + kv_.counts().pinned;
    const bool started = kv_.commit(plan, &batch);
    if (started != model_.start(seq.v, s.prompt, s.priority_class)) {
      difference_ = "one of the two could start a sequence";
      return;
    }
    if (!started) {
      return;
    }
    const uint64_t after = kv_.counts().cached + kv_.counts().pinned;
    num_evicted_ += before > after + hit / kSmallBlockTokens ? 1 : 0;
    leave_line(place);
    waiting_.erase(seq.v);
    running_[seq.v] = s;
    kv_.set_waiting(seq, false);
    kv_.complete_step(step_);
    kv_.publish(seq, s.prompt);
  }

  void end() {
    if (running_.empty()) {
      return;
    }
    auto it = running_.begin();
    std::advance(it, below(running_.size()));
    const Tokens& prompt = it->second.prompt;
    if (below(2) == 0) {
      const PinTerms terms = {.now_us = now_us_,
                              .until_us = now_us_ + below(400),
                              .value_us = static_cast<double>(below(1000))};
      const PinId pin = kv_.pin(SeqId{it->first}, terms);
      const auto full = static_cast<uint32_t>(prompt.size() / kSmallBlockTokens);
      const bool expected = full > 0 && terms.until_us > now_us_ && terms.value_us > 0;
      if (expected != (pin != PinId{})) {
        difference_ = "a pin was refused, or given for nothing";
      }
      if (expected) {
        model_.pin(pin.v, model_.prefix(prompt, full), terms);
      }
    }
    model_.end(it->first, prompt);
    kv_.remove_sequence(SeqId{it->first});
    running_.erase(it);
  }

  void unpin() {
    PinId pin{below(last_seq_ + 2)};  // often one that is gone
    if (running_.empty() || below(3) == 0) {
      kv_.unpin(pin);
      return model_.unpin(pin.v);
    }
    if (!model_.pins.empty() && below(4) != 0) {
      auto held = model_.pins.begin();
      std::advance(held, below(model_.pins.size()));
      pin = PinId{held->first};
    }
    auto follow_up = running_.begin();
    std::advance(follow_up, below(running_.size()));
    kv_.hand_over(pin, SeqId{follow_up->first});
    model_.hand_over(pin.v, follow_up->second.prompt);
  }

  void move_clock() {
    now_us_ += below(200);
    kv_.expire_pins(now_us_);
    model_.set_now(now_us_);
  }

  void change_cost() {
    const auto one_of = [&](double a, double b) { return below(2) == 0 ? a : b; };
    model_.cost = {.token_us = one_of(3.0, 10.0),
                   .context_us = one_of(0.05, 0.3),
                   .budget_us = one_of(35.0, 90.0)};
    kv_.set_recompute_cost(model_.cost);
  }

  std::string compare() {
    const Status status = kv_.check_integrity();
    if (!status.ok()) {
      return status.message();
    }
    if (kv_.counts().pinned != model_.num_pinned() || kv_.counts().free != model_.num_free()) {
      return std::to_string(kv_.counts().pinned) + " blocks are pinned and " +
             std::to_string(kv_.counts().free) + " free, not " +
             std::to_string(model_.num_pinned()) + " and " + std::to_string(model_.num_free());
    }
    if (kv_.num_pins() != model_.pins.size()) {
      return "pins are miscounted";
    }
    if (kv_.pin_totals() != model_.totals) {
      return "what became of pins is miscounted";
    }
    // As many blocks are cached as the model says, so these are all.
    for (const auto& [prefix, node] : model_.nodes) {
      Tokens prompt = prefix;
      prompt.push_back(0);
      kv_.add_sequence(SeqId{UINT64_MAX}, {});
      const uint32_t cached = kv_.match(SeqId{UINT64_MAX}, prompt).num_tokens;
      kv_.remove_sequence(SeqId{UINT64_MAX});
      if (cached != prefix.size()) {
        return "another block was evicted";
      }
    }
    return difference_;
  }

  uint64_t random_;
  const uint32_t num_blocks_;
  Line line_;
  KvCache kv_;
  NaiveCache model_;
  std::vector<Tokens> prompts_;
  std::map<uint64_t, Seq> waiting_, running_;
  uint64_t last_seq_ = 0, step_ = 0, now_us_ = 1, num_evicted_ = 0;
  std::string difference_;
};

constexpr uint64_t kNumWalks = 30;
constexpr uint32_t kNumOperations = 300;

std::string first_difference(Eviction eviction, Eviction believed, Flaw flaw) {
  for (uint64_t seed = 0; seed < kNumWalks; ++seed) {
    const std::string difference = Walk(seed, eviction, believed, flaw).run(kNumOperations);
    if (!difference.empty()) {
      return "seed " + std::to_string(seed) + ", " + difference;
    }
  }
  return "";
}

class EvictionTest : public testing::TestWithParam<Eviction> {};

TEST_P(EvictionTest, EvictsWhatTheModelEvicts) {
  uint64_t evicted = 0, expired = 0, for_memory = 0, partly = 0;
  for (uint64_t seed = 0; seed < kNumWalks; ++seed) {
    Walk walk(seed, GetParam(), GetParam());
    ASSERT_EQ(walk.run(kNumOperations), "") << "seed " << seed;
    evicted += walk.num_evicted();
    expired += walk.pin_totals().expired;
    for_memory += walk.pin_totals().released_for_memory;
    partly += walk.pin_totals().blocks_taken_over;
  }
  EXPECT_GT(evicted, 300u);
  EXPECT_GT(expired, 30u);
  EXPECT_GT(for_memory, 30u);
  EXPECT_GT(partly, 30u);
}

// The control: a model of any other order disagrees somewhere.
TEST_P(EvictionTest, AnotherOrderIsToldApart) {
  for (const Eviction other : all_evictions()) {
    if (other != GetParam()) {
      EXPECT_NE(first_difference(GetParam(), other, Flaw::kNone), "") << eviction_name(other);
    }
  }
}

TEST_P(EvictionTest, WrongPinsAreToldApart) {
  for (const Flaw flaw : {Flaw::kPinsForgotten, Flaw::kPinsNeverWeaken, Flaw::kWholePinValue,
                          Flaw::kExpiryForgotten, Flaw::kEndsConfused, Flaw::kAllTakenOver}) {
    EXPECT_NE(first_difference(GetParam(), GetParam(), flaw), "") << static_cast<int>(flaw);
  }
}

INSTANTIATE_TEST_SUITE_P(All, EvictionTest, testing::ValuesIn(all_evictions()),
                         [](const auto& e) { return eviction_name(e.param); });

TEST(EvictionNames, AreFoundByName) {
  for (const Eviction eviction : all_evictions()) {
    EXPECT_EQ(find_eviction(eviction_name(eviction)), eviction);
  }
  EXPECT_EQ(find_eviction("fifo"), std::nullopt);
}

}  // namespace
}  // namespace stet::kv
