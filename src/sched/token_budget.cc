#include "stet/sched/token_budget.h"

#include <algorithm>

#include "stet/sched/step_time.h"

namespace stet::sched {
namespace {

// Of a target: the rest is for what a step does beside the device, and for the model's error.
// No budget beyond so many times the largest step that the model has seen: what it says further
// out is an extrapolation.
constexpr uint32_t kGrowth = 2;

void note_target(uint64_t itl_target_us, uint64_t* smallest) {
  if (itl_target_us != 0 && (*smallest == 0 || itl_target_us < *smallest)) {
    *smallest = itl_target_us;
  }
}

struct Load {
  StepShape decodes;
  uint64_t prefill_context = 0;  // before the first position of the longest prefill
  uint64_t itl_target_us = 0;    // the smallest of the decoding ones; 0 = none
  bool any_target = false;       // of anybody who may decode later
};

Load load_of(const SchedView& view) {
  Load load;
  uint64_t any = 0;
  bool prefills = false;
  for (const RunningSeq& s : view.running) {
    note_target(s.itl_target_us, &any);
    if (s.num_wanted_tokens() == 1) {
      ++load.decodes.num_tokens;
      load.decodes.decode_context += s.num_known_tokens;
      note_target(s.itl_target_us, &load.itl_target_us);
    } else {
      prefills = true;
      load.prefill_context = std::max<uint64_t>(load.prefill_context, s.num_computed_tokens);
    }
  }
  for (const WaitingSeq& s : view.waiting) {
    note_target(s.itl_target_us, &any);
  }
  if (!prefills && !view.waiting.empty()) {
    load.prefill_context = view.waiting.front().first_pos;
  }
  load.any_target = any != 0;
  return load;
}

// Positions that prefills may add to the decodes within the limit.
uint32_t prefill_within(const StepTimeModel& model, const Load& load, double limit_us,
                        uint32_t most) {
  const auto fits = [&](uint32_t n) {
    StepShape shape = load.decodes;
    shape.num_tokens += n;
    shape.chunk_context = attended(load.prefill_context, n);
    return model.predict_us(shape) <= limit_us;
  };
  uint32_t low = 0, high = most;  // predictions never fall with n
  while (low < high) {
    const uint32_t middle = low + (high - low + 1) / 2;
    if (fits(middle)) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

}  // namespace

TokenBudget token_budget(const SchedView& view, const StepTimeModel& model) {
  TokenBudget budget{.num_tokens = view.max_step_tokens};
  const Load load = load_of(view);
  const uint32_t num_decodes = std::min(load.decodes.num_tokens, view.max_step_tokens);
  const uint32_t most = view.max_step_tokens - num_decodes;
  if (load.any_target) {
    budget.least_prefill_tokens = kLeastPrefillTokens;
  }
  if (load.itl_target_us == 0) {
    return budget;
  }
  budget.itl_limit_us = itl_limit_us(load.itl_target_us);
  const uint32_t known = std::max(kGrowth * model.largest_step_tokens(), num_decodes) - num_decodes;
  const uint32_t n =
      prefill_within(model, load, static_cast<double>(budget.itl_limit_us), std::min(most, known));
  budget.at_floor = n < kLeastPrefillTokens;
  budget.num_tokens = num_decodes + std::min(most, std::max(n, kLeastPrefillTokens));
  return budget;
}

uint32_t short_first_tokens(uint32_t prefill_budget, uint32_t percent) {
  if (percent == 0 || prefill_budget < 2 * kLeastPrefillTokens) {
    return 0;
  }
  const uint64_t share = uint64_t{prefill_budget} * percent / 100;
  const uint64_t tiles =
      std::max<uint64_t>(1, (share + kLeastPrefillTokens / 2) / kLeastPrefillTokens);
  return static_cast<uint32_t>(
      std::min<uint64_t>(tiles * kLeastPrefillTokens, prefill_budget - kLeastPrefillTokens));
}

uint32_t least_oldest_first_tokens(uint32_t least_prefill_budget, uint32_t percent) {
  const uint32_t least = least_prefill_budget;
  if (percent == 0 || least < kLeastPrefillTokens) {
    return least;
  }
  // A share is at least one tile, rounding adds half a tile at most, and a tile is always left.
  constexpr uint64_t kHalfTile = kLeastPrefillTokens / 2;
  const uint64_t share = uint64_t{least} * percent / 100 + 1;
  const uint64_t given = std::max(share, kHalfTile) + kHalfTile;
  return static_cast<uint32_t>(
      std::max<uint64_t>(least - std::min<uint64_t>(least, given), kLeastPrefillTokens));
}

}  // namespace stet::sched
