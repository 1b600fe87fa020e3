#include "stet/server/scheduler_page.h"

#include <nlohmann/json.hpp>

#include "stet/server/service.h"

namespace stet::server {
namespace {

using Json = nlohmann::ordered_json;

Json waiting_json(const engine::WaitingByReason& waiting) {
  return {{"memory", waiting.memory},
          {"running_limit", waiting.running_limit},
          {"step_budget", waiting.step_budget},
          {"sibling", waiting.sibling}};
}

Json step_json(const engine::StepRecord& step) {
  return {{"step", step.step},
          {"start_us", step.start_us},
          {"predicted_us", step.predicted_us},
          {"actual_us", step.actual_us},
          {"tokens", step.num_tokens},
          {"token_budget", step.token_budget},
          {"itl_limit_us", step.itl_limit_us},
          {"budget_at_floor", step.budget_at_floor},
          {"decodes", step.num_decodes},
          {"prefill_tokens", step.num_prefill_tokens},
          {"admitted", step.num_admitted},
          {"preempted", step.num_preempted},
          {"running", step.num_running},
          {"waiting", waiting_json(step.waiting)},
          {"blocks_used", step.num_blocks_used},
          {"blocks_available", step.num_blocks_available},
          {"forecast_peak_blocks", step.forecast_peak_blocks}};
}

}  // namespace

std::string scheduler_page(const Service& service) {
  Json page = {{"now_us", service.clock().now_us()},
               {"state", serving_state_name(service.state())}};
  Json steps = Json::array();
  if (const engine::Engine* engine = service.default_engine()) {
    const engine::EngineStats stats = engine->stats();
    page["running"] = stats.num_running;
    page["waiting"] = stats.num_waiting;
    page["parked"] = stats.num_parked;
    page["blocks"] = stats.num_blocks;
    page["block_tokens"] = stats.block_tokens;
    for (const engine::StepRecord& step : engine->recent_steps()) {
      steps.push_back(step_json(step));
    }
  }
  page["steps"] = std::move(steps);
  return page.dump();
}

}  // namespace stet::server
