// Programs: agents and workflows whose requests are turns that continue one another, with calls of
// tools in between. scheduler.md sec. 7. Two uses, neither of which changes an answer:
//
// - Order: a turn has the arrival of its program's first turn, so what was begun is finished first.
// - Keeping: while a tool runs, the context of a turn that said it expects a follow-up stays in the
//   cache for as long as that is likely to pay.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "stet/base/ids.h"
#include "stet/base/sha256.h"
#include "stet/engine_types/request.h"
#include "stet/kv/kv_cache.h"

namespace stet::sched {

// What it is worth to keep a context until its follow-up comes, and what it costs others.
struct KeepTerms {
  double saved_us = 0.0;     // C_reload: what the follow-up is spared if the context is there
  double cost_per_us = 0.0;  // m: how long others wait for its blocks, per time that it is kept
};
struct KeepTime {
  uint64_t ttl_us = 0;    // tau; 0 = not worth it
  double value_us = 0.0;  // P(T <= tau) * saved_us
};
// The tau among 0 and the gaps T that maximises P(T <= tau) * saved - cost * E[min(T, tau)]; the
// smallest one of equals. No other tau is better: between two gaps only the cost grows. `gaps_us`
// is sorted and not empty.
KeepTime keep_time(std::span<const uint64_t> gaps_us, const KeepTerms& terms);

// How long after a turn its follow-up came, for one tool of one tenant: the last 128.
class FollowupGaps {
 public:
  static constexpr size_t kMost = 128;
  static constexpr size_t kEnough = 8;  // from so many on they are believed
  void add(uint64_t gap_us);
  bool enough() const { return sorted_.size() >= kEnough; }
  std::span<const uint64_t> sorted() const { return sorted_; }

 private:
  std::vector<uint64_t> sorted_;
  std::array<uint64_t, kMost> ring_{};
  size_t next_ = 0;
};

using ProgramId = StrongId<struct ProgramTag, uint64_t>;  // never reused; ProgramId{} = none

// Bounded: the program, or tool, that was used least recently is forgotten; a pin that nobody
// remembers ends by its time. Owned by the step thread. O(log n) per call, and O(blocks of the
// prompt) for a request without a program_id while somebody without one expects a follow-up.
class Programs {
 public:
  static constexpr size_t kMostPrograms = 1024;
  static constexpr size_t kMostTools = 256;
  static constexpr uint64_t kDefaultGapUs = 2'000'000;  // of a tool that nothing is known of

  struct Turn {
    ProgramId program;        // ProgramId{}: the request belongs to none
    uint64_t arrival_us = 0;  // of the program's first turn
  };
  // A request arrives. It belongs to the tenant's program of its program_id, or, without one, to
  // the turn that expects a follow-up and whose tokens it begins with (`chain`: hashes of its full
  // blocks). What it follows is learned from.
  Turn begin_turn(std::string_view tenant, const ProgramHints& hints,
                  std::span<const Sha256Digest> chain, uint64_t now_us);
  // How long the context of a turn that ends now is worth keeping for the follow-up it expects.
  KeepTime keep(std::string_view tenant, const ProgramHints& hints, const KeepTerms& terms) const;
  // The turn has ended and expects a follow-up; `chain` of all its tokens, `pin` of its context.
  void expect_followup(ProgramId program, const ProgramHints& hints,
                       std::span<const Sha256Digest> chain, kv::PinId pin, uint64_t now_us);
  // The pin that is to be released: the follow-up holds the blocks; PinId{} if there is none.
  kv::PinId take_pin(ProgramId program);
  // The program's last turn has ended; its pin is to be released.
  kv::PinId end(ProgramId program);

  size_t num_programs() const { return programs_.size(); }
  size_t num_tools() const { return tools_.size(); }

 private:
  struct Program {
    std::string name;  // of ids_; empty: it is found by its chain
    std::string tenant;
    uint64_t arrival_us = 0;
    uint64_t used_at = 0;  // in by_use_
    uint32_t last_turn = 0;
    // Of the follow-up that is expected:
    uint64_t turn_ended_us = 0;  // 0 = none is
    std::string tool;
    uint64_t chain_key = 0;  // in by_chain_; 0 = none
    kv::PinId pin;
  };
  struct Tool {
    FollowupGaps gaps;
    uint64_t used_at = 0;  // in tools_by_use_
  };

  ProgramId find(std::string_view tenant, const ProgramHints& hints,
                 std::span<const Sha256Digest> chain) const;
  ProgramId create(std::string_view tenant, const ProgramHints& hints, uint64_t now_us);
  void touch(ProgramId id, Program* program);
  void come(const ProgramHints& hints, uint64_t now_us, Program* program);
  void learn_gap(const Program& program, uint64_t now_us);

  std::unordered_map<ProgramId, Program> programs_;
  std::unordered_map<std::string, ProgramId> ids_;  // tenant and program_id
  std::unordered_map<uint64_t, ProgramId> by_chain_;
  std::set<std::pair<uint64_t, ProgramId>> by_use_;
  std::unordered_map<std::string, Tool> tools_;  // tenant and name
  std::set<std::pair<uint64_t, std::string>> tools_by_use_;
  uint64_t next_id_ = 1, num_uses_ = 0;
};

}  // namespace stet::sched
