#include "stet/sched/token_price.h"

#include <algorithm>

namespace stet::sched {
namespace {

// Of one of n positions, context left out.
double position_us(const StepCoefficients& c, uint32_t num_tokens) {
  const uint32_t n = std::max(num_tokens, 1U);
  return c.predict_us({.num_tokens = n}) / n;
}

}  // namespace

TokenPrice token_price(const StepCoefficients& coefficients, uint32_t step_tokens,
                       uint32_t full_step_tokens) {
  const double unit_us = position_us(coefficients, std::max(full_step_tokens, step_tokens));
  if (unit_us <= 0.0) {
    return {};
  }
  return {.output = position_us(coefficients, step_tokens) / unit_us,
          .context_position = coefficients.r_us / unit_us};
}

double prefill_us(const StepCoefficients& coefficients, uint32_t num_tokens,
                  uint32_t full_step_tokens) {
  return num_tokens * position_us(coefficients, full_step_tokens) +
         coefficients.q_us * static_cast<double>(attended(0, num_tokens));
}

}  // namespace stet::sched
