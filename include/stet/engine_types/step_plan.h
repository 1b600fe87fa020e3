// The plan of one step: what the scheduler decided. A value: comparable, printable, no pointers, no
// time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "stet/base/ids.h"

namespace stet {

struct ScheduledSeq {
  SeqId seq;
  uint32_t first_pos = 0;             // == the sequence's num_computed_tokens
  uint32_t num_scheduled_tokens = 0;  // >= 1
  uint32_t num_new_blocks = 0;
  bool sample = false;  // the last of these positions gives a token
  friend bool operator==(const ScheduledSeq&, const ScheduledSeq&) = default;
};

// Sequences with one position each in this step that attend over the same first shared_tokens
// positions: a tile border, the same blocks in all their tables, read only and computed before
// this step. scheduler.md sec. 6. A sequence is in one group at most.
struct PrefixGroup {
  SeqId leader;                // members.front()
  std::vector<SeqId> members;  // 2 or more, in the order of their rows
  uint32_t shared_tokens = 0;
  friend bool operator==(const PrefixGroup&, const PrefixGroup&) = default;
};

// A choice that starts from a running sibling: it shares the source's full blocks below its
// first_pos and copies the partial one (kv.md sec. 6).
struct ForkedSeq {
  SeqId seq;
  SeqId source;
  friend bool operator==(const ForkedSeq&, const ForkedSeq&) = default;
};

struct StepPlan {
  uint64_t step = 0;
  std::vector<ScheduledSeq> scheduled;  // decodes first, then prefill chunks
  std::vector<SeqId> admitted;          // left the queue in this step; each is also in `scheduled`
  std::vector<ForkedSeq>
      forks;  // those of `admitted` that start from a sibling, not from the prefix cache
  std::vector<SeqId> preempted;  // give up all blocks and return to the queue
  std::vector<PrefixGroup> groups;

  bool empty() const { return scheduled.empty() && preempted.empty(); }
  void clear();  // keeps capacity
  uint32_t num_tokens() const;
  std::string to_string() const;  // one line per sequence, for plan logs and tests/sched/*.plan
  friend bool operator==(const StepPlan&, const StepPlan&) = default;
};

}  // namespace stet
