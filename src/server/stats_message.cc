#include "src/server/stats_message.h"

#include <algorithm>

namespace stet::server {
namespace {

void fill_step(const engine::StepRecord& step, v1::StepStats* out) {
  out->set_step(step.step);
  out->set_predicted_us(step.predicted_us);
  out->set_actual_us(step.actual_us);
  out->set_tokens(step.num_tokens);
  out->set_token_budget(step.token_budget);
  out->set_decodes(step.num_decodes);
  out->set_prefill_tokens(step.num_prefill_tokens);
  out->set_itl_limit_us(step.itl_limit_us);
}

void fill_waiting(const engine::WaitingByReason& waiting, v1::WaitingByReason* out) {
  out->set_memory(waiting.memory);
  out->set_running_limit(waiting.running_limit);
  out->set_step_budget(waiting.step_budget);
  out->set_sibling(waiting.sibling);
}

}  // namespace

v1::Stats stats_message(const Service& service) {
  v1::Stats out;
  out.set_unix_ms(wall_clock_unix_ms());
  const engine::Engine* engine = service.default_engine();
  if (engine == nullptr) {
    return out;
  }
  const engine::EngineStats stats = engine->stats();
  const uint64_t now_us = service.clock().now_us();
  out.set_engine_steps(stats.num_steps);
  out.set_running(stats.num_running);
  out.set_waiting(stats.num_waiting);
  out.set_parked(stats.num_parked);
  out.set_waiting_prompt_tokens(stats.num_waiting_prompt_tokens);
  out.set_kv_blocks_total(stats.num_blocks);
  out.set_kv_blocks_used(stats.num_blocks_used);
  out.set_kv_blocks_cached(stats.num_blocks_cached);
  out.set_kv_block_tokens(stats.block_tokens);
  out.set_preemptions(stats.preemptions);
  out.set_prompt_tokens(stats.prompt_tokens);
  out.set_cached_prompt_tokens(stats.cached_prompt_tokens);
  out.set_generated_tokens(stats.generated_tokens);
  out.set_since_last_step_ms(
      static_cast<uint32_t>((now_us - std::min(now_us, stats.last_step_end_us)) / 1000));
  out.set_requests_ended(stats.ended);
  out.set_requests_with_targets(stats.ended_with_targets);
  out.set_requests_met_targets(stats.met_targets);
  out.set_step_error_p50(stats.step_error_p50);
  out.set_step_error_p99(stats.step_error_p99);
  if (stats.num_running > 0) {
    out.set_predicted_peak_kv_blocks(stats.last_step.forecast_peak_blocks);
  }
  if (stats.num_waiting > 0) {
    fill_waiting(stats.last_step.waiting, out.mutable_waiting_by_reason());
  }
  fill_step(stats.last_step, out.mutable_last_step());
  return out;
}

}  // namespace stet::server
