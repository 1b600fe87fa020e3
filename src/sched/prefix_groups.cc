#include "src/sched/prefix_groups.h"

#include <algorithm>

#include "stet/base/check.h"

namespace stet::sched {
namespace {

// What entries are sorted by at a block index: those that end before it come first.
uint64_t key_at(std::span<const BlockId> blocks, uint32_t index) {
  return index < blocks.size() ? uint64_t{blocks[index].v} + 1 : 0;
}

uint32_t first_difference(std::span<const BlockId> a, std::span<const BlockId> b, uint32_t from) {
  const size_t end = std::min(a.size(), b.size());
  size_t i = from;
  while (i < end && a[i] == b[i]) {
    ++i;
  }
  return static_cast<uint32_t>(i);
}

}  // namespace

void PrefixGroups::form(const SchedView& view, StepPlan* plan) {
  min_blocks_ = (kMinSharedTokens + view.block_tokens - 1) / view.block_tokens;
  collect(view, *plan);
  if (entries_.size() < 2) {
    return;
  }
  depths_.clear();
  children_.clear();
  const auto end = static_cast<uint32_t>(entries_.size());
  sort_by_block(0, end, min_blocks_ - 1);
  for (uint32_t begin = 0; begin < end;) {
    const uint32_t run = run_end(begin, end, min_blocks_ - 1);
    if (run - begin >= 2) {
      compare_with_first(begin, run, 0);
      choose(begin, run);
    }
    begin = run;
  }
  emit(view.block_tokens, plan);
}

void PrefixGroups::collect(const SchedView& view, const StepPlan& plan) {
  entries_.clear();
  // Decodes stand first in the plan and in the order of view.running, so the search goes on where
  // the last one ended.
  const size_t num_running = plan.scheduled.size() - plan.admitted.size();
  size_t at = 0;
  for (uint32_t i = 0; i < num_running; ++i) {
    const ScheduledSeq& scheduled = plan.scheduled[i];
    if (scheduled.num_scheduled_tokens != 1) {
      continue;
    }
    size_t tried = 0;
    while (view.running[at].seq != scheduled.seq) {
      at = at + 1 == view.running.size() ? 0 : at + 1;
      STET_CHECK(++tried < view.running.size(), "whoever is not admitted runs already");
    }
    const RunningSeq& s = view.running[at];
    const std::span<const BlockId> shared = s.shared_blocks();
    const size_t num_full =
        std::min<size_t>(s.num_computed_tokens / view.block_tokens, shared.size());
    if (num_full >= min_blocks_) {
      entries_.push_back({.blocks = shared.first(num_full), .order = i});
    }
  }
}

void PrefixGroups::sort_by_block(uint32_t begin, uint32_t end, uint32_t index) {
  std::sort(entries_.begin() + begin, entries_.begin() + end,
            [index](const Entry& a, const Entry& b) {
              const uint64_t key_a = key_at(a.blocks, index);
              const uint64_t key_b = key_at(b.blocks, index);
              return key_a != key_b ? key_a < key_b : a.order < b.order;
            });
}

// End of the entries that agree with entry `begin` at `index`. Who ends before it is alone.
uint32_t PrefixGroups::run_end(uint32_t begin, uint32_t end, uint32_t index) const {
  const uint64_t key = key_at(entries_[begin].blocks, index);
  uint32_t run = begin + 1;
  while (key != 0 && run < end && key_at(entries_[run].blocks, index) == key) {
    ++run;
  }
  return run;
}

void PrefixGroups::compare_with_first(uint32_t begin, uint32_t end, uint32_t from) {
  for (uint32_t i = begin + 1; i < end; ++i) {
    entries_[i].num_common = first_difference(entries_[begin].blocks, entries_[i].blocks, from);
  }
}

// Groups within a node's entries, which all begin alike; returns the blocks that need not be read
// again. Recursion: as deep as sequences branch off one another.
//   f(leaf) = 0;  f(v) = max( sum f(c), sum max(f(c), leaves(c) * depth) - depth )
uint64_t PrefixGroups::choose(uint32_t begin, uint32_t end) {
  if (end - begin < 2) {
    return 0;
  }
  uint32_t depth = static_cast<uint32_t>(entries_[begin].blocks.size());
  for (uint32_t i = begin + 1; i < end; ++i) {
    depth = std::min(depth, entries_[i].num_common);
  }
  const auto first_child = static_cast<uint32_t>(children_.size());
  const uint32_t same = split(begin, end, depth);
  uint64_t apart = 0;
  uint64_t joined = 0;
  for (uint32_t at = begin; at < end;) {
    const uint32_t run = at < same ? same : run_end(at, end, depth);
    if (at >= same) {
      compare_with_first(at, run, depth + 1);
    }
    const uint64_t gain = choose(at, run);
    children_.push_back({at, run, gain});
    apart += gain;
    joined += std::max(gain, uint64_t{run - at} * depth);
    at = run;
  }
  const bool join = depth >= min_blocks_ && joined - depth > apart;
  if (join) {
    const auto group = static_cast<uint32_t>(depths_.size());
    depths_.push_back(depth);
    for (uint32_t c = first_child; c < children_.size(); ++c) {
      const Child& child = children_[c];
      if (uint64_t{child.end - child.begin} * depth > child.gain) {
        for (uint32_t i = child.begin; i < child.end; ++i) {
          entries_[i].group = group;
        }
      }
    }
  }
  children_.resize(first_child);
  return join ? joined - depth : apart;
}

// Orders a node's entries by subtree: first that of entry `begin`, whose comparisons stay valid;
// returns its end. Then the others by block.
uint32_t PrefixGroups::split(uint32_t begin, uint32_t end, uint32_t depth) {
  const auto first = entries_.begin() + begin + 1;
  const auto same = std::partition(first, entries_.begin() + end,
                                   [depth](const Entry& e) { return e.num_common > depth; });
  const auto same_end = static_cast<uint32_t>(same - entries_.begin());
  sort_by_block(same_end, end, depth);
  return same_end;
}

void PrefixGroups::emit(uint32_t block_tokens, StepPlan* plan) {
  if (depths_.empty()) {
    return;
  }
  place_of_.assign(depths_.size(), kAlone);
  std::sort(entries_.begin(), entries_.end(),
            [](const Entry& a, const Entry& b) { return a.order < b.order; });
  for (const Entry& entry : entries_) {
    if (entry.group == kAlone) {
      continue;
    }
    const SeqId seq = plan->scheduled[entry.order].seq;
    uint32_t& place = place_of_[entry.group];
    if (place == kAlone) {
      place = static_cast<uint32_t>(plan->groups.size());
      // Blocks of the product are whole tiles; those of a simulated pool may be less.
      const uint32_t shared_tokens = depths_[entry.group] * block_tokens / kTile * kTile;
      plan->groups.push_back({.leader = seq, .members = {}, .shared_tokens = shared_tokens});
    }
    plan->groups[place].members.push_back(seq);
  }
}

}  // namespace stet::sched
