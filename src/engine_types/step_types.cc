#include "stet/engine_types/step_batch.h"
#include "stet/engine_types/step_plan.h"

namespace stet {

void StepPlan::clear() {
  step = 0;
  scheduled.clear();
  admitted.clear();
  forks.clear();
  preempted.clear();
  groups.clear();
}

uint32_t StepPlan::num_tokens() const {
  uint32_t sum = 0;
  for (const ScheduledSeq& s : scheduled) {
    sum += s.num_scheduled_tokens;
  }
  return sum;
}

std::string StepPlan::to_string() const {
  std::string text = "step " + std::to_string(step) + "\n";
  for (const ScheduledSeq& s : scheduled) {
    text += "  run " + std::to_string(s.seq.v) + " [" + std::to_string(s.first_pos) + ", " +
            std::to_string(s.first_pos + s.num_scheduled_tokens) + ")";
    if (s.num_new_blocks > 0) {
      text += " +" + std::to_string(s.num_new_blocks);
    }
    text += s.sample ? " sample\n" : "\n";
  }
  for (SeqId seq : admitted) {
    text += "  admit " + std::to_string(seq.v) + "\n";
  }
  for (const ForkedSeq& fork : forks) {
    text += "  fork " + std::to_string(fork.seq.v) + " of " + std::to_string(fork.source.v) + "\n";
  }
  for (SeqId seq : preempted) {
    text += "  preempt " + std::to_string(seq.v) + "\n";
  }
  for (const PrefixGroup& group : groups) {
    text += "  group";
    for (SeqId seq : group.members) {
      text += " " + std::to_string(seq.v);
    }
    text += " @" + std::to_string(group.shared_tokens) + "\n";
  }
  return text;
}

void StepBatch::clear() {
  kv_ops.clear();
  kv_slots.clear();
  new_sequences.clear();
  rows.clear();
  token_ids.clear();
  groups.clear();
}

void StepResult::clear() {
  sampled.clear();
  top.clear();
  faults.clear();
  step_us = 0;
}

}  // namespace stet
