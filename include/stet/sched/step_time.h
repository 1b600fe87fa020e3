// How long a step takes, learned from the steps that ran (scheduler.md sec. 2):
//
//   t = a + max(w, c * tokens) + r * decode_context + q * chunk_context        microseconds
//
// a: launch and host work; w: weights read once however few tokens there are; c: arithmetic per
// token; r, q: KV read per position, in decodes and in prefill chunks. All are >= 0.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "stet/engine_types/step_plan.h"

namespace stet::sched {

// What the time of a step depends on.
struct StepShape {
  uint32_t num_tokens = 0;
  uint64_t decode_context = 0;  // positions that single-position rows attend to
  uint64_t chunk_context = 0;   // the same summed over every position of longer rows
};
StepShape shape_of(const StepPlan& plan);
// Positions that the n positions from first_pos on attend to, themselves included.
inline uint64_t attended(uint64_t first_pos, uint64_t n) {
  return n * first_pos + n * (n + 1) / 2;
}

struct StepCoefficients {
  double a_us = 0.0, w_us = 0.0, c_us = 0.0, r_us = 0.0, q_us = 0.0;
  double predict_us(const StepShape& shape) const;
};

// Least squares on line, of relative errors. Three things differ from one textbook filter:
//
// - max(w, c * tokens) = c * max(w / c, tokens) is linear once the knot w / c is known. So each
//   knot of a fixed grid (half octaves) has its own linear fit, and the knot with the smallest
//   residual speaks. Below the knot only a + w shows, above it only a + c * tokens: while one side
//   is all that was seen, the prior divides the rest, and knots beyond the largest step are not
//   considered.
// - Forgetting (0.999 per step) is kept per size of step: a thousand decode steps do not make the
//   model forget what a prefill chunk costs, nor do they outvote it (a size counts as 64 steps at
//   most). A size that is not seen for long fades to the weight of one step.
// - A step that a foreign process hit is taken as a step at the border of what is usual (Huber
//   1964): 6 times the median error away from the prediction. When most steps are like that, the
//   median follows and so does the model.
//
// The prior says 2 ms per token with the weight of a hundredth of a step: too slow for every
// machine that could serve, so budgets start at their floor, and the first steps overrule it.
//
// Deterministic; allocates nothing. Owned by the step thread.
class StepTimeModel {
 public:
  static constexpr size_t kNumRecentErrors = 256;

  StepTimeModel();

  void observe(const StepShape& shape, uint64_t step_us);
  double predict_us(const StepShape& shape) const { return coefficients_.predict_us(shape); }
  const StepCoefficients& coefficients() const { return coefficients_; }
  uint64_t num_observed() const { return num_observed_; }
  uint32_t largest_step_tokens() const { return largest_step_tokens_; }  // observed

  // |actual - predicted| / predicted of the last 256 steps: the value that a `share` of them does
  // not exceed. Predictions were made before the step was learned from. 0 before the first step.
  double error_quantile(double share) const;

 private:
  // Sums over steps of one size; the features are 1, tokens, decode context, chunk context, time.
  static constexpr size_t kNumFeatures = 5;
  static constexpr size_t kNumMoments = kNumFeatures * (kNumFeatures + 1) / 2;
  struct Moments {
    std::array<double, kNumMoments> sum{};
    double weight = 0.0;  // steps, forgotten ones by what is left of them
  };
  // Borders 1, 2, 3, 4, 6, 8, 12 ... 24576 tokens.
  static constexpr size_t kNumSizes = 29;

  void learn(size_t size, const StepShape& shape, double step_us, double scale_us);
  void age();
  void refit();

  std::array<Moments, kNumSizes> sizes_{};
  StepCoefficients coefficients_;
  std::array<float, kNumRecentErrors> errors_{};
  uint64_t num_observed_ = 0;
  uint32_t largest_step_tokens_ = 0;
  double median_error_ = 0.05;  // tracked, relative
};

}  // namespace stet::sched
