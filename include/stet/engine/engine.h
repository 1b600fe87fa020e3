// The engine: a step thread that owns requests, schedule and KV metadata, a bounded inbox in front
// of it, and one sink behind it. It computes tokens; text, transports and users are outside.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "stet/base/clock.h"
#include "stet/base/ids.h"
#include "stet/base/status.h"
#include "stet/engine/step_record.h"
#include "stet/engine_types/request.h"
#include "stet/engine_types/step_batch.h"
#include "stet/executor/backend.h"
#include "stet/kv/kv_cache.h"
#include "stet/obs/metrics.h"

namespace stet::engine {

struct EngineToken {
  uint32_t token_id = 0;
  float logprob = 0.0f;  // meaningful when the request asked
  uint32_t rank = 0;
  std::vector<TopLogprob> top;
};

enum class EngineEventKind : uint8_t {
  kTokens,          // one or more new tokens of a choice
  kChoiceFinished,  // the choice's last event; `tokens` may hold its last ones
  kRequestEnded,    // exactly one per accepted request, its last event
  kQueueRoom,       // of no request: submit_or_wait may be tried again
};

// Times of a request on the engine's clock, in microseconds; 0 = did not happen.
struct RequestTimes {
  uint64_t submitted_us = 0, first_scheduled_us = 0, first_token_us = 0, ended_us = 0;
};

struct EngineEvent {
  RequestId request;
  EngineEventKind kind = EngineEventKind::kTokens;
  uint32_t choice = 0;
  uint32_t first_output_pos = 0;  // of tokens[0] within the choice
  std::vector<EngineToken> tokens{};
  FinishReason reason = FinishReason::kStop;  // kChoiceFinished
  int64_t stop_token_id = -1;                 // kChoiceFinished by a stop token, else -1
  // kRequestEnded:
  Status status{};  // OK, CANCELLED, DEADLINE_EXCEEDED, INTERNAL (non_finite), UNAVAILABLE
                    // (drain_timeout)
  std::string error_reason{};  // reason of api.md sec. 3 when not OK
  uint32_t cached_prompt_tokens = 0;
  uint32_t num_preemptions = 0;
  double prefill_token_equivalents = 0.0;  // sched/token_price.h
  RequestTimes times{};
};

// Of the queue's bounds, what requests that can wait may fill. The forecast of RetryInfo aims at
// the same share.
inline constexpr uint32_t kWaitingSharePercent = 80;

// Receives all events of a step in one call, on the step thread. Must not block and must take them.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void on_events(std::vector<EngineEvent> events) = 0;
};

// Why a request was not accepted. A value: refusing is cheap.
enum class Refusal : uint8_t { kNone, kQueueFull, kDraining, kStopped, kNeverFits, kDegraded };
struct Submission {
  Refusal refusal = Refusal::kNone;
  RequestId id;        // valid when kNone; events of it may already be under way
  uint64_t limit = 0;  // the bound that refused, and what was asked (tokens for kNeverFits, else
                       // requests or tokens)
  uint64_t requested = 0;
  uint64_t retry_after_us = 0;  // forecast for kQueueFull
};

struct EngineOptions {
  std::string policy = "past_future";
  bool prefix_cache = true;
  kv::Eviction eviction = kv::Eviction::kFuture;
  // A prompt waits for one that computes what both share if so many tokens are to be gained.
  uint32_t min_follow_tokens = 128;
  // A policy that groups prefixes looks at requests that arrived in the same window together.
  uint64_t group_window_us = 200'000;
  uint32_t max_running = 0;  // sequences; 0 = derived from the backend
  uint32_t max_queued_requests = 256;
  uint64_t max_queued_prompt_tokens = 0;  // 0 = 4 x KV capacity
  uint64_t queue_timeout_us = 60'000'000;
  uint32_t chunk_cap = 0;                // largest prefill chunk; 0 = the token budget
  uint32_t short_first_percent = 25;     // of a prefill budget, to the shortest when several wait
  uint64_t ttft_target_us = 0;           // of requests that name none; 0 = none
  uint64_t itl_target_us = 0;            // of requests that name none; 0 = none
  std::string model_name = "default";    // metric label
  std::string cache_dtype = "bfloat16";  // metric label of the cache's element type
};

// Counts at one moment; every field comes from the same step border.
struct EngineStats {
  uint64_t num_steps = 0;
  uint32_t num_running = 0, num_waiting = 0, num_parked = 0;
  uint32_t num_late = 0;       // of num_waiting: have missed their TTFT target
  uint32_t num_following = 0;  // of num_waiting, as far as admission looked: wait for a prefix that
                               // another one is computing
  uint64_t num_waiting_prompt_tokens = 0;
  uint32_t num_blocks = 0, num_blocks_used = 0, num_blocks_cached = 0, num_blocks_free = 0;
  uint32_t block_tokens = 0;
  uint64_t accepted = 0, ended = 0, preemptions = 0;
  uint64_t prompt_tokens = 0, cached_prompt_tokens = 0, generated_tokens = 0;
  double prefill_token_equivalents = 0.0;             // of all requests, ended or not
  uint64_t last_step_end_us = 0;                      // on the clock, for the watchdog
  StepRecord last_step;                               // all zero before the first
  uint64_t ended_with_targets = 0, met_targets = 0;   // cancelled requests left out
  double step_error_p50 = 0.0, step_error_p99 = 0.0;  // StepTimeModel::error_quantile
};

// Thread-safe, except start, stop and the destructor.
class Engine {
 public:
  // `backend`, `sink`, `clock` and `metrics` must outlive the engine.
  static Result<std::unique_ptr<Engine>> create(executor::Backend* backend, EventSink* sink,
                                                const Clock* clock, obs::Metrics* metrics,
                                                EngineOptions options);
  virtual ~Engine() = default;

  virtual void start() = 0;  // starts the step thread
  // Takes a queue slot atomically (requests and prompt tokens) or refuses with the bound that is
  // full.
  virtual Submission submit(Request request) = 0;
  // For work that waits instead of being refused. It may fill kWaitingSharePercent of both bounds,
  // so that a job leaves room for those that cannot wait; above that it gives kQueueFull, which
  // counts as no refusal, and exactly one kQueueRoom event follows when a slot below has become
  // free, however many asked.
  virtual Submission submit_or_wait(Request request) = 0;
  // Honoured at the next step border, in any phase. Unknown or ended ids are ignored.
  virtual void cancel(RequestId request) = 0;
  // The text stage ends one choice (a stop string): no further events of that choice; the request
  // ends OK when all choices have.
  virtual void finish_choice(RequestId request, uint32_t choice) = 0;
  // A slow reader: its sequences leave the batch until unparked.
  virtual void set_parked(RequestId request, bool parked) = 0;
  // No new requests from now on; accepted ones run on.
  virtual void begin_drain() = 0;
  // Ends everything that is left with UNAVAILABLE drain_timeout.
  virtual void abort_all() = 0;
  virtual void stop() = 0;  // abort_all, then joins the step thread
  virtual EngineStats stats() const = 0;
  // The last kNumStepRecords, oldest first; renewed at most every quarter of a second.
  virtual std::vector<StepRecord> recent_steps() const = 0;
  virtual uint32_t max_model_len()
      const = 0;  // min(model context, what the KV pool holds for one sequence)
};

}  // namespace stet::engine
