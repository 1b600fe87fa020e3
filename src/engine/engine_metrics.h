// The engine's series (operations.md sec. 9, api.md sec. 7): every handle is made once, a step only
// adds.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "src/engine/request_state.h"
#include "stet/engine/engine.h"
#include "stet/executor/kv_memory_stats.h"
#include "stet/kv/kv_cache.h"
#include "stet/obs/metrics.h"
#include "stet/sched/step_time.h"

namespace stet::engine {

// How a request ended, for labels.
enum class Ending : uint8_t {
  kStop,
  kLength,
  kCancelled,
  kDeadline,
  kQueueTimeout,
  kDrainTimeout,
  kFault
};
inline constexpr size_t kNumEndings = 7;

// Where a request was when it was cancelled or expired.
enum class Stage : uint8_t { kQueue, kPrefill, kDecode };
inline constexpr size_t kNumStages = 3;

// Used by the step thread; submission counters by any thread.
class EngineMetrics {
 public:
  EngineMetrics(obs::Metrics* registry, const EngineOptions& options, const kv::KvCache& kv,
                uint32_t max_model_len);

  void on_submission(const Submission& submission, bool by_tokens);
  void on_request(const Request& request, uint32_t prompt_len);
  void on_first_scheduled(const RequestState& state);
  void on_preempted() {
    preemptions_[0].add();
    preemptions_[1].add();
  }
  void on_charge(double prefill_token_equivalents) { equivalents_.add(prefill_token_equivalents); }
  // The choice's next token; `previous_us` = 0 for its first.
  void on_token(const RequestState& state, uint64_t now_us, uint64_t previous_us);
  void on_ended(const RequestState& state, Ending ending);
  void on_cancelled(Stage stage, uint64_t released_after_us);
  void on_deadline_missed(Stage stage) { deadline_missed_[static_cast<size_t>(stage)].add(); }
  void on_step(const StepRecord& record);
  void on_step_model(const sched::StepTimeModel& model);
  void on_targets(bool met) { targets_[met ? 1 : 0].add(); }
  // Gauges, once per step.
  void set_state(const EngineStats& stats, const kv::KvCache& kv,
                 const executor::KvMemoryStats& memory);

 private:
  void make_requests(obs::Metrics* r, const obs::Labels& labels);
  void make_latencies(obs::Metrics* r, const obs::Labels& labels);
  void make_steps(obs::Metrics* r, const obs::Labels& labels);
  void make_sizes(obs::Metrics* r, const obs::Labels& labels, uint32_t max_model_len);
  void make_pins(obs::Metrics* r, const obs::Labels& labels);
  void set_pins(const kv::KvCache& kv);
  void make_cache(obs::Metrics* r, const obs::Labels& labels, const EngineOptions& options,
                  const kv::KvCache& kv);

  // Pairs: our family, vLLM's name.
  std::array<obs::Counter, 2> preemptions_, prefix_lookup_tokens_, prefix_hit_tokens_;
  std::array<obs::Gauge, 2> running_, waiting_, kv_usage_;
  obs::Counter accepted_, refused_;
  std::array<obs::Counter, 2> rejections_;  // by requests, by tokens
  std::array<obs::Counter, kNumEndings> terminal_;
  std::array<obs::Counter, 4> success_;  // stop, length, abort, error
  std::array<obs::Counter, kNumStages> cancelled_, deadline_missed_;
  obs::Counter prompt_tokens_, cached_tokens_, generation_tokens_, computed_source_, cached_source_,
      equivalents_;
  obs::Gauge queue_tokens_, waiting_capacity_;
  std::array<obs::Gauge, 6> kv_blocks_;  // by kv::BlockState
  obs::Gauge kv_aliased_, kv_maps_;
  obs::Counter kv_map_calls_, kv_map_seconds_, kv_fallbacks_;
  executor::KvMemoryStats last_memory_;  // counters as of the last step
  obs::Gauge pins_;
  obs::Counter pins_placed_, pin_blocks_placed_, pin_blocks_taken_over_;
  std::array<obs::Counter, 4> pins_ended_;  // by kPinEnds
  kv::PinTotals last_pins_;                 // as of the last step
  std::array<obs::Counter, 2> targets_;     // missed, met
  obs::Gauge step_budget_, forecast_peak_;
  obs::Counter budget_at_floor_;
  std::array<obs::Gauge, 3> step_error_;  // quantiles
  std::array<obs::Gauge, 5> step_model_;  // a, w, c, r, q
  obs::Histogram ttft_, itl_, tpot_, e2e_, queue_time_, inference_time_, prefill_time_,
      decode_time_;
  obs::Histogram step_seconds_, iteration_tokens_, cancel_to_release_;
  obs::Histogram prompt_size_, generation_size_, longest_choice_, max_tokens_, computed_size_,
      num_choices_, request_preemptions_;
};

}  // namespace stet::engine
