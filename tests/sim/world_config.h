// A world of the simulator: one engine configuration and the clients that will meet it, all drawn
// from a seed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "stet/engine/engine.h"
#include "stet/engine_types/request.h"
#include "stet/executor/fake_backend.h"

namespace stet::sim {

// SplitMix64: the same numbers on every platform.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t x = (state_ += 0x9E3779B97F4A7C15ULL);
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
    return x ^ (x >> 31);
  }
  uint64_t below(uint64_t n) { return n == 0 ? 0 : next() % n; }
  uint32_t between(uint32_t low, uint32_t high) {
    return low + static_cast<uint32_t>(below(high - low + 1));
  }
  bool one_in(uint64_t n) { return below(n) == 0; }
  template <class T>
  T pick(std::initializer_list<T> values) {
    return values.begin()[below(values.size())];
  }

 private:
  uint64_t state_;
};

// A fault planted in the machinery around the engine; each must make the checkers fail.
enum class Planted : uint8_t {
  kNone,
  kReleaseForgotten,   // a release that does nothing
  kReferenceLeaked,    // one reference too many
  kPinLeaked,          // one pin too many
  kDoubleFree,         // one reference too few
  kPublishedTooEarly,  // a block is published before its last position is computed
  kCancelIgnored,
  kCopyDropped,       // a fork's partial block stays unwritten
  kReplaceDropped,    // the backend keeps a duplicate block that was freed
  kTokenFromCompany,  // the sampled token depends on who else is in the batch
  kBudgetExceeded,
  kFaultHidden,  // the backend does not report a non-finite row
  kEndTwice,
  kEndLost,
  kNamespacesMixed,
  kDestroyDropped,         // the backend never forgets a sequence
  kFirstChunkAdmission,    // admission looks at the first chunk of a prompt, not at all of it
  kPreemptionsForgotten,   // admission does not know who has yielded, and how often
  kDeadLeaderFollowed,     // a prefix that somebody was computing counts as being computed for ever
  kPrefillTimeIgnored,     // admission believes that prompts are computed at once (s_j = 0)
  kSmallBudgetsForgotten,  // admission believes that every step has the whole budget for the oldest
  kTargetsForgotten,       // no step is cut to an ITL target
};
constexpr Planted kAllPlanted[] = {
    Planted::kReleaseForgotten,     Planted::kReferenceLeaked,    Planted::kDoubleFree,
    Planted::kPublishedTooEarly,    Planted::kCancelIgnored,      Planted::kCopyDropped,
    Planted::kReplaceDropped,       Planted::kTokenFromCompany,   Planted::kBudgetExceeded,
    Planted::kFaultHidden,          Planted::kEndTwice,           Planted::kEndLost,
    Planted::kNamespacesMixed,      Planted::kDestroyDropped,     Planted::kFirstChunkAdmission,
    Planted::kPreemptionsForgotten, Planted::kPrefillTimeIgnored, Planted::kSmallBudgetsForgotten,
    Planted::kTargetsForgotten,     Planted::kDeadLeaderFollowed, Planted::kPinLeaked};
const char* planted_name(Planted planted);

// What a client does besides waiting. 0 = does not happen.
struct ClientPlan {
  Request request;
  uint64_t arrival_us = 0;
  uint64_t cancel_at_us = 0;
  uint32_t cancel_after_tokens = 0;  // in all choices together
  uint32_t finish_choice = 0;        // the text stage ends this choice ...
  uint32_t finish_after_tokens = 0;  // ... when it has so many tokens
  uint32_t park_after_tokens = 0;    // the reader stalls ...
  uint64_t unpark_after_us = 0;      // ... for so long
};

struct WorldConfig {
  uint64_t seed = 0;
  executor::FakeOptions fake;
  engine::EngineOptions options;
  bool short_hash = false;    // an 8-bit chain hash: collisions everywhere, outputs still right
  bool true_lengths = false;  // every request brings its own length as a hint: an oracle
  bool pins = false;          // every third release is of a sequence that has been pinned before
  bool long_outputs =
      false;  // outputs outgrow the prompts: blocks run short under aggressive admission
  uint64_t drain_at_us = 0;         // begin_drain
  uint64_t abort_at_us = 0;         // abort_all
  std::vector<ClientPlan> clients;  // by arrival
};

WorldConfig make_world(uint64_t seed);
// Many requests at once, prompts of many steps, a pool that holds a dozen of them: memory decides,
// and it is the lengths that admission has to know. No cancels, no priorities.
WorldConfig make_crowded_world(uint64_t seed);
// The same with hints of one token for outputs of hundreds, and priorities: prediction fails all
// the time.
WorldConfig make_misled_world(uint64_t seed);
// Short prompts with long answers and long prompts with short ones, under an ITL target that leaves
// the least to prefills: who misjudges how long a prefill holds its blocks preempts.
WorldConfig make_long_prompt_world(uint64_t seed);
// Gives every request the length of its longest choice as `expected_output_tokens`.
void give_true_lengths(WorldConfig* world);
bool predicts(const WorldConfig& world);  // its policy is one of past_future's kind

}  // namespace stet::sim
