// What a step took: learned from, and shown.
#include <algorithm>

#include "src/engine/engine_core.h"

namespace stet::engine {
namespace {

constexpr uint64_t kForecastPeriodUs = 250'000;
constexpr uint64_t kModelPeriod = 16;  // steps between two looks at the step-time model's errors
// Eviction `tail` may cost so much of the TTFT target: the prompt's new tokens and the queue need
// the rest.
constexpr double kRecomputeShare = 0.5;

}  // namespace

// Of the sequences that run before the plan, seldom enough to cost nothing.
void EngineCore::forecast_peak(sched::Policy& policy, uint64_t now) {
  if (!policy.admission->predicts() || view_.running.empty()) {
    forecast_peak_blocks_ = 0;
    return;
  }
  if (forecast_at_us_ != 0 && now < forecast_at_us_ + kForecastPeriodUs) {
    return;
  }
  forecast_at_us_ = now;
  learned_.lengths.refresh(view_);
  const uint64_t peak_tokens = policy.admission->forecast_peak(view_);
  forecast_peak_blocks_ = sched::blocks_for(peak_tokens, view_.block_tokens);
}

WaitingByReason EngineCore::waiting_by_reason() const {
  const auto n = static_cast<uint32_t>(waiting_.size());
  if (view_.waiting.empty() && view_.running.size() >= max_running_) {
    return {.running_limit = n};  // nobody was shown to admission
  }
  const uint32_t followers = std::min(totals_.num_following, n);
  const uint32_t others = n - followers;
  switch (scheduler_.admission_stop()) {
    case sched::AdmissionStop::kMemory: return {.memory = others, .sibling = followers};
    case sched::AdmissionStop::kRunning: return {.running_limit = others, .sibling = followers};
    case sched::AdmissionStop::kTokenBudget: return {.step_budget = others, .sibling = followers};
    case sched::AdmissionStop::kQueueEmpty: break;
  }
  return {.sibling = n};
}

void EngineCore::observe_step() {
  const sched::StepShape shape = sched::shape_of(plan_);
  StepRecord& record = totals_.last_step;
  record = {.step = plan_.step,
            .start_us = step_start_us_,
            .predicted_us = static_cast<uint64_t>(learned_.step_time.predict_us(shape)),
            .actual_us = result_.step_us,
            .num_tokens = shape.num_tokens,
            .token_budget = budget_.num_tokens,
            .num_admitted = static_cast<uint32_t>(plan_.admitted.size()),
            .num_preempted = static_cast<uint32_t>(plan_.preempted.size()),
            .num_running = static_cast<uint32_t>(running_.size()),
            .waiting = waiting_by_reason(),
            .num_blocks_used = kv_->counts().used(),
            .num_blocks_available = kv_->num_available(),
            .forecast_peak_blocks = forecast_peak_blocks_,
            .itl_limit_us = budget_.itl_limit_us,
            .budget_at_floor = budget_.at_floor};
  for (const ScheduledSeq& s : plan_.scheduled) {
    const uint32_t n = s.num_scheduled_tokens;
    (n == 1 ? record.num_decodes : record.num_prefill_tokens) += n;
  }
  step_log_.add(record);
  price_ = sched::token_price(learned_.step_time.coefficients(), shape.num_tokens,
                              view_.max_step_tokens);
  learned_.step_time.observe(shape, result_.step_us);
  metrics_.on_step(record);
  if (totals_.num_steps % kModelPeriod == 0) {
    totals_.step_error_p50 = learned_.step_time.error_quantile(0.5);
    totals_.step_error_p99 = learned_.step_time.error_quantile(0.99);
    metrics_.on_step_model(learned_.step_time);
    const sched::StepCoefficients& c = learned_.step_time.coefficients();
    kv_->set_recompute_cost(
        {.token_us = c.c_us,
         .context_us = c.q_us,
         .budget_us = kRecomputeShare * static_cast<double>(options_.ttft_target_us)});
  }
}

// Goodput counts requests that met both targets; who had none, or left, says nothing.
void EngineCore::count_targets(const RequestState& state, Ending ending) {
  const uint64_t ttft_us =
      state.request.ttft_target_us != 0 ? state.request.ttft_target_us : options_.ttft_target_us;
  const uint64_t itl_us =
      state.request.itl_target_us != 0 ? state.request.itl_target_us : options_.itl_target_us;
  if ((ttft_us == 0 && itl_us == 0) || ending == Ending::kCancelled) {
    return;
  }
  const RequestTimes& t = state.times;
  const bool in_time =
      ttft_us == 0 || (t.first_token_us != 0 && t.first_token_us - t.submitted_us <= ttft_us);
  const bool smooth = itl_us == 0 || state.longest_gap_us <= itl_us;
  const bool met = in_time && smooth && (ending == Ending::kStop || ending == Ending::kLength);
  ++totals_.ended_with_targets;
  totals_.met_targets += met ? 1 : 0;
  metrics_.on_targets(met);
}

}  // namespace stet::engine
