// One executed step, as GET /debug/scheduler and AdminService show it. A value.
#pragma once

#include <cstddef>
#include <cstdint>

namespace stet::engine {

// Sequences by what the head of the queue waits for, and so everybody behind it.
struct WaitingByReason {
  uint32_t memory = 0;
  uint32_t running_limit = 0;  // max_running, or the backend's sequences
  uint32_t step_budget = 0;    // no position of the step was left
  uint32_t sibling = 0;  // choices and prompts that wait for a prefix which another is computing
};

struct StepRecord {
  uint64_t step = 0;
  uint64_t start_us = 0;  // on the engine's clock
  uint64_t predicted_us = 0, actual_us = 0;
  uint32_t num_tokens = 0, token_budget = 0;
  uint32_t num_decodes = 0, num_prefill_tokens = 0;
  uint32_t num_admitted = 0, num_preempted = 0;
  uint32_t num_running = 0;
  WaitingByReason waiting;  // after the plan
  uint32_t num_blocks_used = 0, num_blocks_available = 0;
  uint64_t forecast_peak_blocks = 0;  // at most 0.25 s old; 0 = the policy does not predict
  uint64_t itl_limit_us = 0;          // 0 = nobody who decoded had a target
  bool budget_at_floor = false;       // the limit alone would have left less
};

inline constexpr size_t kNumStepRecords = 256;

}  // namespace stet::engine
