// One step's decisions: who computes which positions. scheduler.md sec. 2, 5-7.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "stet/engine_types/step_plan.h"
#include "stet/sched/policy.h"
#include "stet/sched/sched_view.h"

namespace stet::sched {

class PrefixGroups;

// Why admission ended: what the head of the queue waits for, and so everybody behind it.
enum class AdmissionStop : uint8_t {
  kQueueEmpty,   // all that were shown have joined
  kTokenBudget,  // no position of this step is left, or steps would get too long (Verdict)
  kRunning,      // max_running, or the backend's sequences
  kMemory,       // blocks: the policy refused, or they are short in this step
};
inline constexpr size_t kNumAdmissionStops = 4;

// plan() is a pure function of the view and of which policy it is: no clock, no randomness, no
// memory of earlier calls (members, here and in the policy, are scratch space). Owned by the step
// thread.
class Scheduler {
 public:
  Scheduler();
  ~Scheduler();
  Scheduler(Scheduler&&) noexcept;
  Scheduler& operator=(Scheduler&&) noexcept;
  // Decodes first, then running prefills, oldest first but for the share of the shortest, then
  // admissions in queue order up to the first that must wait. Whoever lacks a block takes it from a
  // younger sequence or sits the step out; so the oldest always advances.
  void plan(const SchedView& view, Policy& policy, StepPlan* plan);
  // Of the last plan.
  AdmissionStop admission_stop() const { return stop_; }

 private:
  struct Slot {  // what a running sequence does in this step
    uint32_t num_tokens = 0;
    uint32_t num_new_blocks = 0;
    bool preempted = false;
  };

  void begin(const SchedView& view, Policy* policy);
  void plan_decodes();
  void plan_prefills();
  void plan_oldest_first();
  void plan_shortest_first();
  AdmissionStop plan_admissions(StepPlan* plan);
  void extend_prefills();
  void emit(StepPlan* plan) const;
  bool prefills(uint32_t index) const;

  // Gives running sequence `index` up to `want` positions; younger ones yield blocks for the first
  // of them.
  void place(uint32_t index, uint32_t want);
  bool preempt_younger_than(uint32_t index);
  // More of the same chunk, from the budget that is left and without preempting anybody.
  void extend(uint32_t index);
  void take_back(uint32_t index);
  void give(uint32_t index, uint32_t num_tokens);
  // How many of `want` positions from `first_pos` on fit budget, chunk cap and `num_blocks` blocks
  // in all.
  uint32_t chunk(uint32_t first_pos, uint32_t want, uint64_t num_blocks) const;

  const SchedView* view_ = nullptr;
  Policy* policy_ = nullptr;
  PoolState pool_;
  uint32_t budget_ = 0;
  bool short_of_blocks_ = false;  // somebody was preempted, or left out for want of a block
  AdmissionStop stop_ = AdmissionStop::kQueueEmpty;
  std::vector<Slot> slots_;               // beside view_->running
  std::vector<uint32_t> shortest_;        // indices of prefills
  std::vector<ScheduledSeq> admissions_;  // beside plan->admitted
  std::unique_ptr<PrefixGroups> groups_;
};

}  // namespace stet::sched
