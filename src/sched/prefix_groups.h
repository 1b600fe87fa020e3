// Which single positions of a step attend over the same prefix: groups for the kernel that reads
// shared KV once (scheduler.md sec. 6, 'Hand-off to kernels').
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "stet/engine_types/step_plan.h"
#include "stet/sched/sched_view.h"

namespace stet::sched {

// Tables form a tree; a group is a node with the sequences below it that join it, and every
// sequence is in one group at most. Chosen is what saves most reading, (members - 1) * shared
// blocks summed over groups, by the recursion of scheduler.md sec. 6. It moves subtrees whole,
// which costs 0.4 % of what the best partition saves (tests/sched/prefix_groups_test.cc). Members
// are scratch space: the same view and plan give the same groups. Owned by the step thread.
class PrefixGroups {
 public:
  static constexpr uint32_t kTile = 64;
  static constexpr uint32_t kMinSharedTokens = 4 * kTile;

  // Fills plan->groups from the running sequences that the plan gives one position. Every block of
  // their tables is looked at once at most, and only of those that agree at kMinSharedTokens.
  void form(const SchedView& view, StepPlan* plan);

 private:
  static constexpr uint32_t kAlone = UINT32_MAX;
  struct Entry {
    std::span<const BlockId> blocks;  // full ones: read only, computed
    uint32_t order = 0;               // in plan->scheduled
    uint32_t num_common = 0;          // blocks in common with the first entry of its node
    uint32_t group = kAlone;
  };

  void collect(const SchedView& view, const StepPlan& plan);
  void sort_by_block(uint32_t begin, uint32_t end, uint32_t index);
  uint32_t run_end(uint32_t begin, uint32_t end, uint32_t index) const;
  void compare_with_first(uint32_t begin, uint32_t end, uint32_t from);
  uint64_t choose(uint32_t begin, uint32_t end);
  uint32_t split(uint32_t begin, uint32_t end, uint32_t depth);
  void emit(uint32_t block_tokens, StepPlan* plan);

  // A subtree directly below a node.
  struct Child {
    uint32_t begin = 0;
    uint32_t end = 0;
    uint64_t gain = 0;  // of groups inside
  };

  uint32_t min_blocks_ = 1;
  std::vector<Entry> entries_;
  std::vector<Child> children_;     // a stack: each node's lie on top of its ancestors'
  std::vector<uint32_t> depths_;    // blocks, per group
  std::vector<uint32_t> place_of_;  // in plan->groups, per group
};

}  // namespace stet::sched
