// How many positions a step may have (scheduler.md sec. 2), and who gets those of the prefills.
//
// As long as a decoding sequence has an ITL target, a step is cut to what the step-time model says
// fits 0.8 times the smallest of them. Decodes are never cut, and at least 64 positions of prefill
// go beside them, so that prompts advance also where the target cannot be met.
#pragma once

#include <cstdint>

#include "stet/sched/sched_view.h"

namespace stet::sched {

class StepTimeModel;

inline constexpr uint32_t kLeastPrefillTokens = 64;
// How long a step may be predicted to take for an ITL target.
inline uint64_t itl_limit_us(uint64_t itl_target_us) {
  return itl_target_us / 5 * 4;
}

struct TokenBudget {
  uint32_t num_tokens = 0;            // of this step, decodes included
  uint32_t least_prefill_tokens = 0;  // SchedView::least_prefill_tokens
  uint64_t itl_limit_us = 0;          // 0 = nobody who decodes has a target
  bool at_floor = false;              // the limit alone would have left less
};
// Reads the view's sequences and bounds. Prefill positions are taken to attend to as much as those
// of the longest running prefill do, of the head of the queue when none runs.
TokenBudget token_budget(const SchedView& view, const StepTimeModel& model);

// Of a prefill budget, what goes to the shortest remaining prefills when several wait, in whole
// tiles; 0 when there is too little to share.
uint32_t short_first_tokens(uint32_t prefill_budget, uint32_t percent);
// What is left for the oldest ones in every step that leaves at least so much to prefills: a lower
// bound of b - short_first_tokens(b) over all b from `least_prefill_budget` on.
uint32_t least_oldest_first_tokens(uint32_t least_prefill_budget, uint32_t percent);

}  // namespace stet::sched
