#include "src/engine/engine_metrics.h"

#include <algorithm>
#include <iterator>
#include <vector>

namespace stet::engine {
namespace {

// Names and buckets are vLLM's: dashboards, autoscalers and endpoint pickers work unconfigured
// (api.md sec. 7).
const std::vector<double> kTtftBuckets = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
                                          1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
const std::vector<double> kItlBuckets = {.01, .025, .05, .075, .1,  .15, .2, .3, .4, .5,
                                         .75, 1,    2.5, 5,    7.5, 10,  20, 40, 80};
const std::vector<double> kLatencyBuckets = {.3, .5, .8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                             30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
const std::vector<double> kStepTokenBuckets = {1,   8,    16,   32,   64,   128,  256,
                                               512, 1024, 2048, 4096, 8192, 16384};
const std::vector<double> kChoiceBuckets = {1, 2, 5, 10, 20};
const std::vector<double> kPreemptionBuckets = {1, 2, 3, 4, 5, 10, 20};
const std::vector<double> kReleaseBuckets = {.0001, .0005, .001, .0025, .005, .01,
                                             .025,  .05,   .1,   .25,   .5,   1};
const std::vector<double> kStepBuckets = {.0005, .001, .0025, .005, .01, .025, .05,
                                          .1,    .25,  .5,    1,    2.5, 5};

// 1 2 5 10 20 50 ... up to the model length.
std::vector<double> size_buckets(uint32_t max_model_len) {
  std::vector<double> buckets;
  for (uint64_t decade = 1; decade <= max_model_len; decade *= 10) {
    for (const uint64_t mantissa : {1, 2, 5}) {
      if (mantissa * decade <= max_model_len) {
        buckets.push_back(static_cast<double>(mantissa * decade));
      }
    }
  }
  return buckets;
}

constexpr const char* kEndingNames[kNumEndings] = {
    "stop",          "length",        "cancelled", "deadline_exceeded",
    "queue_timeout", "drain_timeout", "non_finite"};
constexpr size_t kSuccessOf[kNumEndings] = {0, 1, 2, 2, 2, 2, 3};
constexpr const char* kStageNames[kNumStages] = {"queue", "prefill", "decode"};

constexpr double kErrorQuantiles[] = {0.5, 0.9, 0.99};
constexpr const char* kErrorQuantileNames[] = {"0.5", "0.9", "0.99"};
constexpr const char* kCoefficientNames[] = {"a", "w", "c", "r", "q"};

struct PinEnd {
  const char* reason;
  uint64_t kv::PinTotals::*total;
};
constexpr PinEnd kPinEnds[] = {{"followup", &kv::PinTotals::handed_over},
                               {"expired", &kv::PinTotals::expired},
                               {"memory", &kv::PinTotals::released_for_memory},
                               {"not_needed", &kv::PinTotals::unpinned}};

double seconds(uint64_t us) {
  return static_cast<double>(us) * 1e-6;
}
obs::Labels with(obs::Labels labels, const char* key, const char* value) {
  labels[key] = value;
  return labels;
}

}  // namespace

EngineMetrics::EngineMetrics(obs::Metrics* registry, const EngineOptions& options,
                             const kv::KvCache& kv, uint32_t max_model_len) {
  const obs::Labels labels = {{"model_name", options.model_name}, {"engine", "0"}};
  make_requests(registry, labels);
  make_latencies(registry, labels);
  make_steps(registry, labels);
  make_sizes(registry, labels, max_model_len);
  make_cache(registry, labels, options, kv);
}

void EngineMetrics::make_requests(obs::Metrics* r, const obs::Labels& labels) {
  accepted_ = r->counter("stet_requests_accepted_total", "requests that were given an id", labels);
  refused_ = r->counter("stet_requests_refused_total", "requests that the engine refused", labels);
  const obs::Labels model = {{"model_name", labels.at("model_name")}};
  const char* const rejections = "vllm:admission_rejections_total";
  const char* const rejections_help = "requests refused because the queue was full";
  rejections_ = {
      r->counter(rejections, rejections_help, with(model, "reason", "max_num_queued_reqs")),
      r->counter(rejections, rejections_help, with(model, "reason", "max_num_queued_tokens"))};
  for (size_t i = 0; i < kNumEndings; ++i) {
    terminal_[i] = r->counter("stet_requests_terminal_total", "ended requests by how they ended",
                              with(labels, "reason", kEndingNames[i]));
  }
  constexpr const char* kSuccess[] = {"stop", "length", "abort", "error"};
  for (size_t i = 0; i < success_.size(); ++i) {
    success_[i] = r->counter("vllm:request_success_total", "ended requests by finish reason",
                             with(labels, "finished_reason", kSuccess[i]));
  }
  for (size_t i = 0; i < kNumStages; ++i) {
    const obs::Labels stage = with(labels, "stage", kStageNames[i]);
    cancelled_[i] =
        r->counter("stet_cancelled_total", "cancelled requests by where they were", stage);
    deadline_missed_[i] = r->counter("stet_deadline_missed_total",
                                     "deadlines passed by where the request was", stage);
  }
  preemptions_ = {
      r->counter("stet_preemptions_total", "sequences that gave up their blocks", labels),
      r->counter("vllm:num_preemptions_total", "sequences that gave up their blocks", labels)};
  running_ = {r->gauge("stet_running", "sequences in the batch", labels),
              r->gauge("vllm:num_requests_running", "sequences in the batch", labels)};
  waiting_ = {r->gauge("stet_queue_requests", "sequences in the queue", labels),
              r->gauge("vllm:num_requests_waiting", "sequences in the queue", labels)};
  waiting_capacity_ =
      r->gauge("vllm:num_requests_waiting_by_reason",
               "sequences in the queue by what they wait for", with(labels, "reason", "capacity"));
  queue_tokens_ = r->gauge("stet_queue_tokens", "prompt tokens in the queue", labels);
}

void EngineMetrics::make_latencies(obs::Metrics* r, const obs::Labels& labels) {
  ttft_ = r->histogram("vllm:time_to_first_token_seconds", "submission to first token",
                       kTtftBuckets, labels);
  itl_ = r->histogram("vllm:inter_token_latency_seconds", "time between two tokens of a choice",
                      kItlBuckets, labels);
  tpot_ = r->histogram("vllm:request_time_per_output_token_seconds",
                       "mean time per token after the first", kItlBuckets, labels);
  const auto latency = [&](const char* name, const char* help) {
    return r->histogram(name, help, kLatencyBuckets, labels);
  };
  e2e_ = latency("vllm:e2e_request_latency_seconds", "submission to end");
  queue_time_ = latency("vllm:request_queue_time_seconds", "submission to first scheduled");
  inference_time_ = latency("vllm:request_inference_time_seconds", "first scheduled to end");
  prefill_time_ = latency("vllm:request_prefill_time_seconds", "first scheduled to first token");
  decode_time_ = latency("vllm:request_decode_time_seconds", "first token to end");
  step_seconds_ =
      r->histogram("stet_step_seconds", "time of a step on the device", kStepBuckets, labels);
  cancel_to_release_ = r->histogram("stet_cancel_to_release_seconds",
                                    "cancel order to freed blocks", kReleaseBuckets, labels);
}

void EngineMetrics::make_steps(obs::Metrics* r, const obs::Labels& labels) {
  for (size_t met = 0; met < targets_.size(); ++met) {
    targets_[met] =
        r->counter("stet_target_requests_total", "ended requests that had a TTFT or ITL target",
                   with(labels, "met", met == 0 ? "false" : "true"));
  }
  step_budget_ =
      r->gauge("stet_step_budget_tokens", "positions that the last step could have", labels);
  budget_at_floor_ =
      r->counter("stet_step_budget_floor_total",
                 "steps longer than the smallest ITL target allows, so that prefills "
                 "advance",
                 labels);
  forecast_peak_ =
      r->gauge("stet_kv_forecast_peak_blocks",
               "blocks that the running sequences are expected to hold at most", labels);
  for (size_t i = 0; i < std::size(kErrorQuantiles); ++i) {
    step_error_[i] = r->gauge("stet_step_prediction_error_ratio",
                              "|actual - predicted| / predicted of the last 256 steps",
                              with(labels, "quantile", kErrorQuantileNames[i]));
  }
  for (size_t i = 0; i < step_model_.size(); ++i) {
    step_model_[i] = r->gauge("stet_step_model_us", "coefficients of the step-time model",
                              with(labels, "coefficient", kCoefficientNames[i]));
  }
}

void EngineMetrics::make_sizes(obs::Metrics* r, const obs::Labels& labels, uint32_t max_model_len) {
  const std::vector<double> sizes = size_buckets(max_model_len);
  iteration_tokens_ =
      r->histogram("vllm:iteration_tokens_total", "positions per step", kStepTokenBuckets, labels);
  prompt_size_ =
      r->histogram("vllm:request_prompt_tokens", "prompt tokens per request", sizes, labels);
  generation_size_ =
      r->histogram("vllm:request_generation_tokens", "generated tokens per request", sizes, labels);
  longest_choice_ = r->histogram("vllm:request_max_num_generation_tokens",
                                 "generated tokens of the longest choice", sizes, labels);
  max_tokens_ =
      r->histogram("vllm:request_params_max_tokens", "max_tokens of the request", sizes, labels);
  computed_size_ = r->histogram("vllm:request_prefill_kv_computed_tokens",
                                "prompt tokens computed, not cached", sizes, labels);
  num_choices_ =
      r->histogram("vllm:request_params_n", "choices per request", kChoiceBuckets, labels);
  request_preemptions_ =
      r->histogram("vllm:request_num_preemptions", "preemptions per preempted request",
                   kPreemptionBuckets, labels);
  prompt_tokens_ =
      r->counter("vllm:prompt_tokens_total", "prompt tokens of started requests", labels);
  cached_tokens_ = r->counter("vllm:prompt_tokens_cached_total",
                              "prompt tokens found in the prefix cache", labels);
  generation_tokens_ = r->counter("vllm:generation_tokens_total", "generated tokens", labels);
  equivalents_ = r->counter("stet_prefill_token_equivalents_total",
                            "what requests cost, in prefill tokens", labels);
  const char* const source = "vllm:prompt_tokens_by_source_total";
  const char* const help = "prompt tokens by where their KV came from";
  computed_source_ = r->counter(source, help, with(labels, "source", "local_compute"));
  cached_source_ = r->counter(source, help, with(labels, "source", "local_cache_hit"));
}

void EngineMetrics::make_cache(obs::Metrics* r, const obs::Labels& labels,
                               const EngineOptions& options, const kv::KvCache& kv) {
  kv_usage_ = {
      r->gauge("stet_kv_usage_ratio", "blocks held by live sequences / all", labels),
      r->gauge("vllm:kv_cache_usage_perc", "blocks held by live sequences / all, 0..1", labels)};
  constexpr const char* kStates[] = {"free",   "private", "shared",
                                     "cached", "pinned",  "quarantined"};
  for (size_t i = 0; i < kv_blocks_.size(); ++i) {
    kv_blocks_[i] =
        r->gauge("stet_kv_blocks", "blocks by state", with(labels, "state", kStates[i]));
  }
  kv_aliased_ = r->gauge("stet_kv_aliased_blocks",
                         "blocks of live sequences that are read-only aliases", labels);
  kv_maps_ = r->gauge("stet_kv_maps", "maps (VMAs) of all sequences", labels);
  kv_map_calls_ = r->counter("stet_kv_map_calls_total",
                             "system calls that map, protect or unmap KV blocks", labels);
  kv_map_seconds_ = r->counter("stet_kv_map_seconds_total", "time in these calls", labels);
  kv_fallbacks_ = r->counter("stet_kv_paged_fallbacks_total",
                             "sequences that became paged for want of a map", labels);
  make_pins(r, labels);
  prefix_lookup_tokens_ = {
      r->counter("stet_prefix_lookup_tokens_total", "prompt tokens looked up", labels),
      r->counter("vllm:prefix_cache_queries_total", "prompt tokens looked up", labels)};
  prefix_hit_tokens_ = {r->counter("stet_prefix_hit_tokens_total", "prompt tokens found", labels),
                        r->counter("vllm:prefix_cache_hits_total", "prompt tokens found", labels)};
  obs::Labels config = labels;
  config["block_size"] = std::to_string(kv.block_tokens());
  config["num_gpu_blocks"] = std::to_string(kv.num_blocks());
  config["enable_prefix_caching"] = kv.prefix_cache() ? "True" : "False";
  config["cache_dtype"] = options.cache_dtype;
  r->gauge("vllm:cache_config_info", "configuration of the KV cache, always 1", config).set(1.0);
}

void EngineMetrics::make_pins(obs::Metrics* r, const obs::Labels& labels) {
  pins_ = r->gauge("stet_kv_pins", "contexts that are kept for an expected follow-up", labels);
  pins_placed_ = r->counter("stet_kv_pins_placed_total", "contexts that were kept", labels);
  for (size_t i = 0; i < pins_ended_.size(); ++i) {
    pins_ended_[i] = r->counter("stet_kv_pins_ended_total", "pins by why they ended",
                                with(labels, "reason", kPinEnds[i].reason));
  }
  pin_blocks_placed_ = r->counter("stet_kv_pin_blocks_placed_total",
                                  "blocks of the contexts that were kept", labels);
  pin_blocks_taken_over_ = r->counter("stet_kv_pin_blocks_hit_total",
                                      "blocks that were still kept when the follow-up that reuses "
                                      "them started",
                                      labels);
}

void EngineMetrics::set_pins(const kv::KvCache& kv) {
  const kv::PinTotals& now = kv.pin_totals();
  const auto add = [&](obs::Counter* counter, uint64_t kv::PinTotals::*total) {
    counter->add(static_cast<double>(now.*total - last_pins_.*total));
  };
  pins_.set(kv.num_pins());
  if (now == last_pins_) {
    return;
  }
  add(&pins_placed_, &kv::PinTotals::placed);
  for (size_t i = 0; i < pins_ended_.size(); ++i) {
    add(&pins_ended_[i], kPinEnds[i].total);
  }
  add(&pin_blocks_placed_, &kv::PinTotals::blocks_placed);
  add(&pin_blocks_taken_over_, &kv::PinTotals::blocks_taken_over);
  last_pins_ = now;
}

void EngineMetrics::on_submission(const Submission& submission, bool by_tokens) {
  if (submission.refusal == Refusal::kNone) {
    accepted_.add();
    return;
  }
  refused_.add();
  if (submission.refusal == Refusal::kQueueFull) {
    rejections_[by_tokens ? 1 : 0].add();
  }
}

void EngineMetrics::on_request(const Request& request, uint32_t prompt_len) {
  prompt_size_.observe(prompt_len);
  max_tokens_.observe(request.sampling.max_tokens);
  num_choices_.observe(request.num_choices);
}

void EngineMetrics::on_first_scheduled(const RequestState& state) {
  queue_time_.observe(seconds(state.times.first_scheduled_us - state.times.submitted_us));
  const uint32_t computed = state.prompt_len - state.cached_prompt_tokens;
  prompt_tokens_.add(state.prompt_len);
  cached_tokens_.add(state.cached_prompt_tokens);
  computed_source_.add(computed);
  cached_source_.add(state.cached_prompt_tokens);
  computed_size_.observe(computed);
  for (size_t i = 0; i < 2; ++i) {
    prefix_lookup_tokens_[i].add(state.prompt_len);
    prefix_hit_tokens_[i].add(state.cached_prompt_tokens);
  }
}

void EngineMetrics::on_token(const RequestState& state, uint64_t now_us, uint64_t previous_us) {
  generation_tokens_.add();
  if (previous_us != 0) {
    itl_.observe(seconds(now_us - previous_us));
  } else if (state.times.first_token_us == now_us) {
    ttft_.observe(seconds(now_us - state.times.submitted_us));
    prefill_time_.observe(seconds(now_us - state.times.first_scheduled_us));
  }
}

void EngineMetrics::on_ended(const RequestState& state, Ending ending) {
  terminal_[static_cast<size_t>(ending)].add();
  success_[kSuccessOf[static_cast<size_t>(ending)]].add();
  const RequestTimes& t = state.times;
  e2e_.observe(seconds(t.ended_us - t.submitted_us));
  generation_size_.observe(state.num_generated);
  uint32_t longest = 0;
  for (const auto& choice : state.choices) {
    longest = std::max(longest, choice->num_outputs());
  }
  longest_choice_.observe(longest);
  if (t.first_scheduled_us != 0) {
    inference_time_.observe(seconds(t.ended_us - t.first_scheduled_us));
  }
  if (t.first_token_us != 0) {
    decode_time_.observe(seconds(t.ended_us - t.first_token_us));
    if (state.num_generated > 1) {
      tpot_.observe(seconds(t.ended_us - t.first_token_us) / (state.num_generated - 1));
    }
  }
  if (state.num_preemptions > 0) {
    request_preemptions_.observe(state.num_preemptions);
  }
}

void EngineMetrics::on_cancelled(Stage stage, uint64_t released_after_us) {
  cancelled_[static_cast<size_t>(stage)].add();
  cancel_to_release_.observe(seconds(released_after_us));
}

void EngineMetrics::on_step(const StepRecord& record) {
  iteration_tokens_.observe(record.num_tokens);
  step_seconds_.observe(seconds(record.actual_us));
  step_budget_.set(record.token_budget);
  forecast_peak_.set(static_cast<double>(record.forecast_peak_blocks));
  if (record.budget_at_floor) {
    budget_at_floor_.add();
  }
}

void EngineMetrics::on_step_model(const sched::StepTimeModel& model) {
  for (size_t i = 0; i < std::size(kErrorQuantiles); ++i) {
    step_error_[i].set(model.error_quantile(kErrorQuantiles[i]));
  }
  const sched::StepCoefficients& c = model.coefficients();
  const double values[] = {c.a_us, c.w_us, c.c_us, c.r_us, c.q_us};
  for (size_t i = 0; i < step_model_.size(); ++i) {
    step_model_[i].set(values[i]);
  }
}

void EngineMetrics::set_state(const EngineStats& stats, const kv::KvCache& kv,
                              const executor::KvMemoryStats& memory) {
  const kv::BlockCounts& blocks = kv.counts();
  set_pins(kv);
  kv_aliased_.set(static_cast<double>(memory.aliased_blocks));
  kv_maps_.set(static_cast<double>(memory.num_maps));
  kv_map_calls_.add(static_cast<double>(memory.map_calls - last_memory_.map_calls));
  kv_map_seconds_.add(static_cast<double>(memory.map_us - last_memory_.map_us) / 1e6);
  kv_fallbacks_.add(static_cast<double>(memory.paged_fallbacks - last_memory_.paged_fallbacks));
  last_memory_ = memory;
  const double usage = static_cast<double>(blocks.used()) / stats.num_blocks;
  for (size_t i = 0; i < 2; ++i) {
    running_[i].set(stats.num_running);
    waiting_[i].set(stats.num_waiting);
    kv_usage_[i].set(usage);
  }
  waiting_capacity_.set(stats.num_waiting);
  queue_tokens_.set(static_cast<double>(stats.num_waiting_prompt_tokens));
  const uint32_t states[] = {blocks.free,   blocks.priv,   blocks.shared,
                             blocks.cached, blocks.pinned, blocks.quarantined};
  for (size_t i = 0; i < kv_blocks_.size(); ++i) {
    kv_blocks_[i].set(states[i]);
  }
}

}  // namespace stet::engine
