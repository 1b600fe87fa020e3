// A policy is three small strategies: in what order requests wait, whether the next one fits, and
// who yields when blocks run short. A new one is a file in src/sched/policies/ and a line in its
// registry. Strategies remember nothing from plan to plan: what is learned from ended requests
// belongs to the engine and comes with the view (Learned). In steady state they allocate nothing.
#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "stet/base/status.h"
#include "stet/sched/sched_view.h"

namespace stet::sched {

// Smaller keys go first, within one client's line of the same lateness (waiting_queue.h), and are
// older: who is younger yields. Taken once, when the request arrives; a preempted request keeps its
// key.
struct OrderInput {
  uint64_t arrival_us = 0;
  uint8_t priority_class = 4;
  uint64_t ttft_target_us = 0;  // 0 = none
  uint64_t prefill_us = 0;      // predicted, of the whole prompt with the machine to itself
};
class OrderPolicy {
 public:
  virtual ~OrderPolicy() = default;
  virtual uint64_t key(const OrderInput& request) const = 0;
  // True: requests with common prefixes run back to back (waiting_queue.h).
  virtual bool groups_prefixes() const { return false; }
};

enum class Verdict : uint8_t {
  kAdmit,
  kWait,         // for memory
  kWaitForTime,  // a step with it would take too long for somebody
};

// The pool as it stands within the plan under construction, in blocks.
struct PoolState {
  uint32_t block_tokens = 64;
  uint32_t num_blocks = 0;
  uint32_t num_available = 0;
  uint64_t num_reserved = 0;     // sum of max_blocks over running and admitted sequences
  uint64_t num_outstanding = 0;  // what they still need for the tokens they know
  uint32_t num_running = 0;      // running and admitted sequences
};
// Asked within one plan: begin, then per candidate in queue order fits and, when it joined the
// plan, admitted. The first candidate that must wait ends admission. Members are scratch space of
// the plan under construction.
class AdmissionPolicy {
 public:
  virtual ~AdmissionPolicy() = default;
  virtual void begin(const SchedView& /*view*/) {}  // the view outlives the plan
  virtual Verdict fits(const WaitingSeq& candidate, const PoolState& pool) = 0;
  virtual void admitted(const WaitingSeq& /*candidate*/) {}
  // True: it reads block tables, output states and what was learned. Filling them in costs the
  // engine time.
  virtual bool predicts() const { return false; }
  // Tokens that the view's running sequences are expected to hold at most. Only if predicts(), and
  // not between begin and the last question of a plan.
  virtual uint64_t forecast_peak(const SchedView& /*view*/) { return 0; }
};

// The smallest key yields first.
struct VictimKey {
  uint64_t protection = 0;
  uint64_t cost = 0;
  friend auto operator<=>(const VictimKey&, const VictimKey&) = default;
};
class VictimPolicy {
 public:
  virtual ~VictimPolicy() = default;
  virtual VictimKey key(const RunningSeq& seq) const = 0;
};

// Owned by the step thread.
struct Policy {
  std::string_view name;
  std::unique_ptr<OrderPolicy> order;
  std::unique_ptr<AdmissionPolicy> admission;
  std::unique_ptr<VictimPolicy> victim;  // null: admission guarantees that blocks never run short
};

// INVALID_ARGUMENT names the policies there are.
Result<Policy> make_policy(std::string_view name);
std::vector<std::string_view> policy_names();

uint32_t blocks_for(uint64_t num_tokens, uint32_t block_tokens);

}  // namespace stet::sched
