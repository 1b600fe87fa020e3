#include "stet/sched/scheduler.h"

#include <algorithm>

#include "src/sched/prefix_groups.h"
#include "stet/base/check.h"
#include "stet/sched/token_budget.h"

namespace stet::sched {
namespace {
// Chunks end at tile borders, so that attention starts the next chunk on a whole tile (scheduler.md
// sec. 2, 6) - unless that would throw away more than half of the chunk: with 63 positions of
// budget a strict rule alternates 63 and 1.
constexpr uint32_t kChunkAlign = 64;

}  // namespace

uint32_t blocks_for(uint64_t num_tokens, uint32_t block_tokens) {
  return static_cast<uint32_t>((num_tokens + block_tokens - 1) / block_tokens);
}

Scheduler::Scheduler() : groups_(std::make_unique<PrefixGroups>()) {}
Scheduler::~Scheduler() = default;
Scheduler::Scheduler(Scheduler&&) noexcept = default;
Scheduler& Scheduler::operator=(Scheduler&&) noexcept = default;

void Scheduler::plan(const SchedView& view, Policy& policy, StepPlan* plan) {
  plan->clear();
  plan->step = view.step;
  begin(view, &policy);
  plan_decodes();
  plan_prefills();
  stop_ = short_of_blocks_ ? AdmissionStop::kMemory : plan_admissions(plan);
  extend_prefills();
  emit(plan);
  groups_->form(view, plan);
  view_ = nullptr;
  policy_ = nullptr;
}

void Scheduler::begin(const SchedView& view, Policy* policy) {
  view_ = &view;
  policy_ = policy;
  budget_ = view.token_budget == 0 ? view.max_step_tokens : view.token_budget;
  short_of_blocks_ = false;
  admissions_.clear();
  slots_.assign(view.running.size(), Slot{});
  pool_ = {.block_tokens = view.block_tokens,
           .num_blocks = view.num_blocks,
           .num_available = view.num_available_blocks,
           .num_running = static_cast<uint32_t>(view.running.size())};
  for (const RunningSeq& s : view.running) {
    pool_.num_reserved += s.max_blocks;
    const uint32_t needed = blocks_for(s.num_known_tokens, view.block_tokens);
    pool_.num_outstanding += needed > s.num_blocks ? needed - s.num_blocks : 0;
  }
}

void Scheduler::plan_decodes() {
  for (uint32_t i = 0; i < slots_.size() && budget_ > 0; ++i) {
    if (!slots_[i].preempted && view_->running[i].num_wanted_tokens() == 1) {
      place(i, 1);
    }
  }
}

bool Scheduler::prefills(uint32_t index) const {
  return !slots_[index].preempted && view_->running[index].num_wanted_tokens() > 1;
}

// A share goes to the shortest ones, so that one long prompt does not take every step. Who waits
// at the head of the queue and is shorter than all of them counts too: its part is left to
// admission. What that does not take comes back (extend_prefills).
void Scheduler::plan_prefills() {
  shortest_.clear();
  for (uint32_t i = 0; i < slots_.size(); ++i) {
    if (prefills(i)) {
      shortest_.push_back(i);
    }
  }
  const bool several = shortest_.size() + (view_->waiting.empty() ? 0 : 1) > 1;
  const bool shared = !shortest_.empty() && several;
  const uint32_t share = shared ? short_first_tokens(budget_, view_->short_first_percent) : 0;
  budget_ -= share;
  plan_oldest_first();
  budget_ += share;
  if (share > 0) {
    plan_shortest_first();
  } else {
    shortest_.clear();  // nothing will come back
  }
}

void Scheduler::plan_oldest_first() {
  for (uint32_t i = 0; i < slots_.size() && budget_ > 0; ++i) {
    if (prefills(i)) {
      place(i, view_->running[i].num_wanted_tokens());
    }
  }
}

void Scheduler::plan_shortest_first() {
  const auto length = [&](uint32_t i) { return view_->running[i].num_wanted_tokens(); };
  std::sort(shortest_.begin(), shortest_.end(), [&](uint32_t a, uint32_t b) {
    return length(a) != length(b) ? length(a) < length(b) : a < b;
  });
  const uint32_t head = view_->waiting.empty() ? UINT32_MAX
                                               : view_->waiting.front().num_known_tokens -
                                                     view_->waiting.front().first_pos;
  for (const uint32_t i : shortest_) {
    if (budget_ == 0 || head < length(i)) {
      return;
    }
    extend(i);
  }
}

// What admission left of the share.
void Scheduler::extend_prefills() {
  for (uint32_t i = 0; i < slots_.size() && budget_ > 0 && !shortest_.empty(); ++i) {
    extend(i);
  }
}

void Scheduler::extend(uint32_t index) {
  if (!prefills(index)) {
    return;
  }
  const RunningSeq& s = view_->running[index];
  take_back(index);
  give(index, chunk(s.num_computed_tokens, s.num_wanted_tokens(),
                    uint64_t{s.num_blocks} + pool_.num_available));
}

void Scheduler::place(uint32_t index, uint32_t want) {
  const RunningSeq& s = view_->running[index];
  uint32_t n = chunk(s.num_computed_tokens, want, uint64_t{s.num_blocks} + pool_.num_available);
  while (n == 0 && preempt_younger_than(index)) {
    n = chunk(s.num_computed_tokens, want, uint64_t{s.num_blocks} + pool_.num_available);
  }
  if (n == 0) {
    short_of_blocks_ = true;  // it keeps what it has and waits for an older one to finish
    return;
  }
  give(index, n);
}

void Scheduler::give(uint32_t index, uint32_t num_tokens) {
  const RunningSeq& s = view_->running[index];
  Slot& slot = slots_[index];
  slot.num_tokens = num_tokens;
  const uint32_t needed =
      blocks_for(uint64_t{s.num_computed_tokens} + num_tokens, view_->block_tokens);
  slot.num_new_blocks = needed > s.num_blocks ? needed - s.num_blocks : 0;
  budget_ -= num_tokens;
  pool_.num_available -= slot.num_new_blocks;
  pool_.num_outstanding -= slot.num_new_blocks;
}

void Scheduler::take_back(uint32_t index) {
  Slot& slot = slots_[index];
  budget_ += slot.num_tokens;
  pool_.num_available += slot.num_new_blocks;
  pool_.num_outstanding += slot.num_new_blocks;
  slot = {};
}

uint32_t Scheduler::chunk(uint32_t first_pos, uint32_t want, uint64_t num_blocks) const {
  const uint64_t capacity = num_blocks * view_->block_tokens;
  const uint64_t room = capacity > first_pos ? capacity - first_pos : 0;
  const uint64_t n = std::min<uint64_t>({want, budget_, std::max(view_->chunk_cap, 1U), room});
  if (n < want) {
    const uint64_t aligned_end = (first_pos + n) / kChunkAlign * kChunkAlign;
    if (aligned_end >= first_pos + (n + 1) / 2 && aligned_end > first_pos) {
      return static_cast<uint32_t>(aligned_end - first_pos);
    }
  }
  return static_cast<uint32_t>(n);
}

// Only younger sequences yield. A victim that stands in the plan already is taken out again.
bool Scheduler::preempt_younger_than(uint32_t index) {
  if (policy_->victim == nullptr) {
    return false;
  }
  uint32_t victim = index;
  VictimKey smallest;
  for (uint32_t i = index + 1; i < slots_.size(); ++i) {
    if (slots_[i].preempted) {
      continue;
    }
    const VictimKey key = policy_->victim->key(view_->running[i]);
    if (victim == index || key <= smallest) {  // on a tie the later one
      victim = i;
      smallest = key;
    }
  }
  if (victim == index) {
    return false;
  }
  Slot& slot = slots_[victim];
  budget_ += slot.num_tokens;
  pool_.num_available += slot.num_new_blocks + view_->running[victim].num_exclusive_blocks;
  slot = Slot{.preempted = true};
  short_of_blocks_ = true;
  return true;
}

void Scheduler::emit(StepPlan* plan) const {
  for (const bool decodes : {true, false}) {
    for (uint32_t i = 0; i < slots_.size(); ++i) {
      const RunningSeq& s = view_->running[i];
      const Slot& slot = slots_[i];
      if (slot.num_tokens > 0 && (s.num_wanted_tokens() == 1) == decodes) {
        plan->scheduled.push_back({.seq = s.seq,
                                   .first_pos = s.num_computed_tokens,
                                   .num_scheduled_tokens = slot.num_tokens,
                                   .num_new_blocks = slot.num_new_blocks,
                                   .sample = slot.num_tokens == s.num_wanted_tokens()});
      }
    }
  }
  for (uint32_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].preempted) {
      plan->preempted.push_back(view_->running[i].seq);
    }
  }
  plan->scheduled.insert(plan->scheduled.end(), admissions_.begin(), admissions_.end());
}

// The first candidate that must wait ends admission: nobody overtakes it, so nobody starves.
AdmissionStop Scheduler::plan_admissions(StepPlan* plan) {
  const uint32_t room =
      view_->max_running > pool_.num_running ? view_->max_running - pool_.num_running : 0;
  const uint32_t max_admitted = std::min(room, view_->max_new_sequences);
  policy_->admission->begin(*view_);
  for (const WaitingSeq& c : view_->waiting) {
    if (budget_ == 0) {
      return AdmissionStop::kTokenBudget;
    }
    if (plan->admitted.size() >= max_admitted) {
      return AdmissionStop::kRunning;
    }
    const Verdict verdict = policy_->admission->fits(c, pool_);
    if (verdict == Verdict::kWaitForTime) {
      return AdmissionStop::kTokenBudget;
    }
    if (verdict == Verdict::kWait || c.num_unreferenced_blocks > pool_.num_available) {
      return AdmissionStop::kMemory;
    }
    const uint32_t available = pool_.num_available - c.num_unreferenced_blocks;
    const uint32_t held = c.first_pos / view_->block_tokens;
    const uint32_t n =
        chunk(c.first_pos, c.num_known_tokens - c.first_pos, uint64_t{held} + available);
    if (n == 0) {
      return AdmissionStop::kMemory;
    }
    const uint32_t num_new_blocks =
        blocks_for(uint64_t{c.first_pos} + n, view_->block_tokens) - held;
    const uint32_t for_known = blocks_for(c.num_known_tokens, view_->block_tokens) - held;
    budget_ -= n;
    pool_.num_available = available - num_new_blocks;
    pool_.num_outstanding += for_known - num_new_blocks;
    pool_.num_reserved += c.max_blocks;
    ++pool_.num_running;
    admissions_.push_back({.seq = c.seq,
                           .first_pos = c.first_pos,
                           .num_scheduled_tokens = n,
                           .num_new_blocks = num_new_blocks,
                           .sample = c.first_pos + n == c.num_known_tokens});
    plan->admitted.push_back(c.seq);
    policy_->admission->admitted(c);
    if (c.fork_source != SeqId{}) {
      plan->forks.push_back({c.seq, c.fork_source});
    }
  }
  return AdmissionStop::kQueueEmpty;
}

}  // namespace stet::sched
