#include "src/sim/replay.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <memory>
#include <ostream>
#include <queue>
#include <string>
#include <unordered_map>
#include <utility>

#include "src/sim/hash_random.h"
#include "stet/base/check.h"
#include "stet/base/clock.h"
#include "stet/obs/metrics.h"

namespace stet::sim {
namespace {

constexpr uint64_t kOriginUs = 1;  // the trace's 0: RequestTimes knows 0 as "did not happen"

class Replay final : public VirtualTime, public engine::EventSink {
 public:
  Replay(const Trace& trace, const MachineModel& machine, const ReplayOptions& options)
      : trace_(trace),
        options_(options),
        max_tokens_(options.max_tokens == 0 ? default_max_tokens(trace) : options.max_tokens),
        backend_(machine, trace.requests, options.seed, this) {
    result_.outcomes.resize(trace.requests.size());
    for (uint64_t index = 0; index < trace.requests.size(); ++index) {
      if (trace.requests[index].turn.turn <= 1) {
        due_.emplace(kOriginUs + trace.requests[index].arrival_us, index);
      }
    }
    clock_.advance_us(kOriginUs);
  }

  Status start();
  ReplayResult run();

  // VirtualTime: a step is in flight.
  uint64_t now_us() const override { return clock_.now_us(); }
  void run_until(uint64_t at_us) override;
  // EventSink
  void on_events(std::vector<engine::EngineEvent> events) override;

 private:
  static uint64_t trace_us(uint64_t at_us) { return at_us - kOriginUs; }
  void advance_to(uint64_t at_us) { clock_.advance_us(at_us - clock_.now_us()); }
  void submit_until(uint64_t at_us);
  Request request_of(uint64_t index);
  std::vector<uint32_t> tokens_of(uint64_t index);
  void say_program(const ProgramTurn& turn, Request* request) const;
  void refuse(uint64_t index);
  bool has_next_turn(uint64_t index) const {
    return trace_.requests[index].turn.program != 0 && !trace_.requests[index].turn.last;
  }
  void note_plan();
  void take_token(RequestOutcome& outcome);
  void take_end(uint64_t index, const engine::EngineEvent& event);

  const Trace& trace_;
  const ReplayOptions& options_;
  const uint32_t max_tokens_;
  ManualClock clock_;
  obs::Metrics metrics_;
  SimBackend backend_;
  std::unique_ptr<engine::SteppedEngine> engine_;
  ReplayResult result_;
  std::vector<uint64_t> index_of_;  // [accepted requests] by RequestId - 1: the row of the trace
  using Arrival = std::pair<uint64_t, uint64_t>;  // when, on the clock; the row of the trace
  std::priority_queue<Arrival, std::vector<Arrival>, std::greater<>> due_;
  // Of programs between their first and last turn: all tokens so far.
  std::unordered_map<uint32_t, std::vector<uint32_t>> conversations_;
  uint64_t num_ended_ = 0;    // refused ones included
  double used_block_us_ = 0;  // integral of used blocks over time
  uint64_t sink_ns_ = 0;
};

Status Replay::start() {
  engine::EngineOptions options;
  options.policy = options_.policy;
  options.prefix_cache = options_.prefix_cache;
  options.eviction = options_.eviction;
  if (options_.eviction == kv::Eviction::kTail) {
    options.ttft_target_us = static_cast<uint64_t>(options_.sla.ttft_s * 1e6);
  }
  options.max_queued_requests = UINT32_MAX;
  options.max_queued_prompt_tokens = UINT64_MAX;
  options.queue_timeout_us = UINT64_MAX / 2;
  STET_ASSIGN_OR_RETURN(engine_, engine::SteppedEngine::create(&backend_, this, &clock_, &metrics_,
                                                               std::move(options)));
  return {};
}

std::vector<uint32_t> Replay::tokens_of(uint64_t index) {
  const TraceRequest& row = trace_.requests[index];
  if (row.turn.program == 0) {
    return prompt_of(row, index, options_.seed);
  }
  std::vector<uint32_t>& conversation = conversations_[row.turn.program];
  if (row.turn.turn == 1) {
    conversation = prompt_of(row, index, options_.seed);
  } else {
    TraceRequest added;
    added.prompt_tokens = row.turn.new_tokens;
    const std::vector<uint32_t> tokens = prompt_of(added, index, options_.seed);
    conversation.insert(conversation.end(), tokens.begin(), tokens.end());
  }
  STET_CHECK(conversation.size() == row.prompt_tokens, "a turn goes on from the one before");
  return conversation;
}

void Replay::say_program(const ProgramTurn& turn, Request* request) const {
  if (turn.program == 0 || !options_.program_ids) {
    return;
  }
  request->program.program_id = std::to_string(turn.program);
  request->program.turn = turn.turn;
  request->program.end_of_program = turn.last;
  if (options_.expect_followups && !turn.last) {
    request->program.expects_followup = true;
    request->program.tool_name = std::to_string(turn.tool);
    const uint64_t gap_us = trace_.requests[request->sampling.seed + 1].turn.gap_us;
    request->program.expected_gap_us = options_.expected_gaps ? gap_us : 0;
  }
}

Request Replay::request_of(uint64_t index) {
  const TraceRequest& row = trace_.requests[index];
  Request request;
  request.prompt_token_ids = tokens_of(index);
  request.sampling.seed = index;
  request.sampling.max_tokens = max_tokens_;
  request.sampling.stop_token_ids = {kEndToken};
  request.service_class = options_.batch_class ? ServiceClass::kBatch : ServiceClass::kInteractive;
  if (options_.true_lengths) {
    request.expected_output_tokens = row.output_tokens;
  }
  if (options_.late_last) {
    request.ttft_target_us = static_cast<uint64_t>(options_.sla.ttft_s * 1e6);
  }
  say_program(row.turn, &request);
  return request;
}

// The turns behind it never come.
void Replay::refuse(uint64_t index) {
  for (bool more = true; more; ++index) {
    result_.outcomes[index].refused = true;
    ++num_ended_;
    more = has_next_turn(index);
  }
}

void Replay::submit_until(uint64_t at_us) {
  while (!due_.empty() && due_.top().first <= at_us) {
    const auto [arrival_us, index] = due_.top();
    due_.pop();
    advance_to(std::max(clock_.now_us(), arrival_us));
    const engine::Submission submission = engine_->submit(request_of(index));
    if (submission.refusal == engine::Refusal::kNone) {
      index_of_.push_back(index);
      STET_CHECK(submission.id.v == index_of_.size(), "accepted requests are counted from 1");
      continue;
    }
    STET_CHECK(submission.refusal == engine::Refusal::kNeverFits, "the queue has no bounds here");
    refuse(index);
  }
}

void Replay::run_until(uint64_t at_us) {
  const uint32_t used = engine_->kv().counts().used();
  const double share = static_cast<double>(used) / engine_->kv().num_blocks();
  result_.pool_use_peak = std::max(result_.pool_use_peak, share);
  used_block_us_ += share * static_cast<double>(at_us - clock_.now_us());
  if (options_.observer != nullptr && at_us > clock_.now_us()) {
    options_.observer->on_step(*engine_, backend_, clock_.now_us());
  }
  submit_until(at_us);
  advance_to(at_us);
}

// ---- events

void Replay::take_token(RequestOutcome& outcome) {
  const uint64_t now = trace_us(clock_.now_us());
  if (outcome.num_outputs == 0) {
    outcome.first_token_us = now;
  } else {
    const uint64_t gap = now - outcome.last_token_us;
    outcome.longest_gap_us = std::max(outcome.longest_gap_us, gap);
    result_.gaps_us.add(gap);
  }
  outcome.last_token_us = now;
  ++outcome.num_outputs;
}

void Replay::take_end(uint64_t index, const engine::EngineEvent& event) {
  STET_CHECK(event.status.ok(), "nothing is cancelled and nothing expires here");
  RequestOutcome& outcome = result_.outcomes[index];
  outcome.submitted_us = trace_us(event.times.submitted_us);
  outcome.first_scheduled_us = trace_us(event.times.first_scheduled_us);
  outcome.ended_us = trace_us(event.times.ended_us);
  outcome.num_preemptions = event.num_preemptions;
  outcome.cached_prompt_tokens = event.cached_prompt_tokens;
  ++num_ended_;
  if (has_next_turn(index)) {
    due_.emplace(event.times.ended_us + trace_.requests[index + 1].turn.gap_us, index + 1);
  } else {
    conversations_.erase(trace_.requests[index].turn.program);
  }
}

void Replay::on_events(std::vector<engine::EngineEvent> events) {
  HostTimer timer(&sink_ns_);
  for (const engine::EngineEvent& event : events) {
    const uint64_t index = index_of_[event.request.v - 1];
    for (const engine::EngineToken& token : event.tokens) {
      take_token(result_.outcomes[index]);
      if (has_next_turn(index)) {
        conversations_[trace_.requests[index].turn.program].push_back(token.token_id);
      }
    }
    if (event.kind == engine::EngineEventKind::kRequestEnded) {
      take_end(index, event);
    }
  }
}

// ---- the loop

void Replay::note_plan() {
  const StepPlan& plan = engine_->last_plan();
  uint64_t digest = result_.plan_digest;
  const auto add = [&digest](uint64_t value) { digest = mix64(digest ^ value); };
  add(clock_.now_us());
  for (const ScheduledSeq& s : plan.scheduled) {
    add(s.seq.v);
    add(uint64_t{s.first_pos} << 32 | s.num_scheduled_tokens);
    add(uint64_t{s.num_new_blocks} << 1 | (s.sample ? 1 : 0));
  }
  for (const SeqId seq : plan.preempted) {
    add(~seq.v);
  }
  result_.plan_digest = digest;
  if (options_.plan_log != nullptr) {
    *options_.plan_log << "end_us " << trace_us(clock_.now_us()) << " " << plan.to_string();
  }
}

ReplayResult Replay::run() {
  uint64_t step_ns = 0, host_ns = 0;
  {
    HostTimer host(&host_ns);
    while (num_ended_ < trace_.requests.size()) {
      submit_until(clock_.now_us());
      bool computed = false;
      {
        HostTimer timer(&step_ns);
        computed = engine_->step();
      }
      if (computed) {
        note_plan();
      } else if (!due_.empty()) {
        advance_to(std::max(clock_.now_us(), due_.top().first));
      } else {
        STET_CHECK(num_ended_ == trace_.requests.size(), "an engine with work to do has a plan");
      }
    }
  }
  result_.work = backend_.work();
  result_.pins = engine_->kv().pin_totals();
  result_.end_us = trace_us(clock_.now_us());
  result_.num_preemptions = engine_->stats().preemptions;
  result_.pool_use_mean =
      result_.end_us == 0 ? 0.0 : used_block_us_ / static_cast<double>(result_.end_us);
  const auto engine_us = static_cast<double>(step_ns - backend_.host_ns() - sink_ns_) * 1e-3;
  result_.scheduler_us_per_step =
      engine_us / static_cast<double>(std::max<uint64_t>(1, result_.work.num_steps));
  result_.host_s = static_cast<double>(host_ns) * 1e-9;
  return std::move(result_);
}

}  // namespace

uint32_t default_max_tokens(const Trace& trace) {
  return std::max(4096U, std::bit_ceil(trace.longest_output()));
}

Result<ReplayResult> replay(const Trace& trace, const MachineModel& machine,
                            const ReplayOptions& options) {
  const bool has_programs = std::any_of(trace.requests.begin(), trace.requests.end(),
                                        [](const TraceRequest& r) { return r.turn.program != 0; });
  if (has_programs && options.max_tokens != 0 && options.max_tokens < trace.longest_output()) {
    return invalid_argument("max_tokens is " + std::to_string(options.max_tokens) +
                            "; expected at least " + std::to_string(trace.longest_output()) +
                            ", the longest answer, for the next turn goes on from it");
  }
  Replay run(trace, machine, options);
  STET_RETURN_IF_ERROR(run.start());
  return run.run();
}

}  // namespace stet::sim
