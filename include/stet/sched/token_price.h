// What a request costs, in prefill token equivalents (PTE, scheduler.md sec. 7): the time that a
// machine which is full of work spends on one prompt token is the unit.
//
//   PTE = uncached prompt tokens + sum over outputs of (alpha + beta * context read)
//
// Used for fairness between clients, and told to them in `usage`.
#pragma once

#include <cstdint>

#include "stet/sched/step_time.h"

namespace stet::sched {

struct TokenPrice {
  double output = 1.0;            // alpha
  double context_position = 0.0;  // beta, per position that the output's row attended to
  // Of the output that follows `num_known_tokens`.
  double of_output(uint64_t num_known_tokens) const {
    return output + context_position * static_cast<double>(num_known_tokens);
  }
};

// Of the outputs of a step of `step_tokens` positions. The positions of a step share its time
// evenly, but for the reading of context, so alpha is the share of a position of this step over
// that of a full step: 1 in a full step, more in a small one, whose weights are read for few; at
// most full_step_tokens / step_tokens. While nothing has been learned, StepTimeModel's prior says
// that every position takes equally long: alpha = 1, beta = 0.
TokenPrice token_price(const StepCoefficients& coefficients, uint32_t step_tokens,
                       uint32_t full_step_tokens);

// Time to compute the first `num_tokens` of a prompt in full steps; in microseconds.
double prefill_us(const StepCoefficients& coefficients, uint32_t num_tokens,
                  uint32_t full_step_tokens);

}  // namespace stet::sched
