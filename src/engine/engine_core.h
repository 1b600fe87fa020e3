// The engine without its thread: one step is a transaction of plan, commit, submit, wait, update.
// Deterministic: the same submissions, orders, clock and backend give the same plans and events.
//
//   begin_step   orders and expiries -> plan -> KvCache::commit -> Backend::submit
//   finish_step  Backend::wait -> orders -> tokens appended, blocks published, choices ended -> one
//   on_events call
//
// Orders (cancel, park ...) are honoured at both borders. What a step in flight computed for a
// sequence that is gone by then is dropped.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "src/engine/engine_metrics.h"
#include "src/engine/inbox.h"
#include "src/engine/request_state.h"
#include "src/engine/step_log.h"
#include "stet/base/id_map.h"
#include "stet/base/thread_checker.h"
#include "stet/engine/engine.h"
#include "stet/kv/kv_cache.h"
#include "stet/sched/output_lengths.h"
#include "stet/sched/policy.h"
#include "stet/sched/programs.h"
#include "stet/sched/scheduler.h"
#include "stet/sched/token_budget.h"
#include "stet/sched/token_price.h"
#include "stet/sched/waiting_queue.h"

namespace stet::engine {

struct EngineParts {
  executor::Backend* backend = nullptr;
  EventSink* sink = nullptr;
  const Clock* clock = nullptr;
  obs::Metrics* metrics = nullptr;
  EngineOptions options;
  std::unique_ptr<kv::KvCache> kv;        // absent: the product's own, sized for the backend
  std::optional<sched::Policy> policy{};  // absent: by options.policy
};

// submit, push, close and stats are thread-safe; everything else is owned by the step thread.
class EngineCore {
 public:
  static Result<std::unique_ptr<EngineCore>> create(EngineParts parts);

  // Any thread.
  Submission submit(Request request);
  Submission submit_or_wait(Request request);
  void push(CommandKind kind, RequestId request, uint32_t choice = 0);
  void begin_drain() { inbox_.close(Refusal::kDraining); }
  void close() { inbox_.close(Refusal::kStopped); }
  void wake() { inbox_.wake(); }
  EngineStats stats() const;
  std::vector<StepRecord> recent_steps() const { return step_log_.recent(now_us()); }
  uint32_t max_model_len() const { return max_model_len_; }

  // Step thread. False: there was nothing to compute (events of orders were delivered).
  bool step() noexcept;
  bool begin_step() noexcept;
  void finish_step() noexcept;  // after a begin_step that returned true
  // Sleeps until an order comes or the next deadline is due.
  void wait_for_work();

  // For checkers, between steps.
  const kv::KvCache& kv() const { return *kv_; }
  const StepPlan& last_plan() const { return plan_; }
  const sched::SchedView& last_view() const { return view_; }  // its tables: until the commit
  const sched::TokenBudget& last_budget() const { return budget_; }
  const RequestState* find(RequestId request) const {  // null: it has ended
    const auto it = requests_.find(request);
    return it == requests_.end() ? nullptr : it->second.get();
  }
  Status check_integrity() const;
  size_t num_requests() const { return requests_.size(); }

 private:
  EngineCore(EngineParts parts, const InboxLimits& limits, sched::Policy policy,
             sched::Policy drain_policy);
  uint64_t now_us() const;

  // engine_intake.cc: orders and time
  void take_inbox();
  void obey(Command& command, uint64_t now);
  void start_request(Request request, uint64_t submitted_us);
  void enqueue(Sequence& s, bool returned, uint64_t now);
  void dequeue(Sequence& s);
  uint64_t ttft_target_us(const Request& request) const;
  uint64_t late_at(const RequestState& state) const;
  void cancel_request(RequestId id, uint64_t ordered_us, uint64_t now);
  void finish_choice(RequestId id, uint32_t choice);
  void set_parked(RequestId id, bool parked);
  void expire(uint64_t now);
  void expire_request(RequestState& state, uint64_t now);
  uint64_t expiry_of(const RequestState& state) const;
  void note_expiry(const RequestState& state);

  // engine_programs.cc: turns of programs
  void begin_turn(RequestState& state, const Request& request);
  void keep_for_followup(const Sequence& s);
  sched::KeepTerms keep_terms(const Sequence& s) const;
  double prefill_us(uint32_t num_tokens) const;  // predicted, with the machine to itself

  // engine_core.cc: plan and submit
  void make_plan();
  void build_view();
  void add_running_to_view();
  void add_waiting_to_view();
  void note_hit(const sched::WaitingSeq& candidate);
  sched::OutputState output_state(const Sequence& s) const;
  uint64_t itl_target_us(const Sequence& s) const;  // 0 = none
  bool may_start(const Sequence& s, SeqId* fork_source) const;
  bool follows(Sequence& s);
  bool needs_flush() const;
  void flush_ops();
  void start_admitted(uint64_t now);
  void start_first(const Sequence& s, uint64_t now);
  struct Charge {
    sched::ClientId client;
    double prefill_token_equivalents = 0.0;
  };
  void charge(RequestState& state, double prefill_token_equivalents);
  void settle(Charge* charge);  // with the queue
  void settle_charges();
  void requeue_preempted();
  void fill_batch();

  // engine_observe.cc: what a step took, and what is expected
  void forecast_peak(sched::Policy& policy, uint64_t now);
  void observe_step();
  WaitingByReason waiting_by_reason() const;
  void count_targets(const RequestState& state, Ending ending);

  // engine_update.cc: results and endings
  void apply_result(uint64_t now);
  void advance_scheduled();
  void apply_token(const SampledToken& token, uint64_t now);
  bool finish_if_done(Sequence& s, EngineEvent* event);
  void end_choice(Sequence& s, bool cut);                  // cut: it had not said its last token
  void leave(Sequence& s, SeqStatus status);               // out of queue or batch
  void give_slot_back(RequestState& state, uint64_t now);  // if it holds one
  void end_request(RequestState& state, Ending ending, uint64_t now);
  void deliver();
  void publish_stats(uint64_t now);
  Stage stage_of(const RequestState& state) const;

  executor::Backend* const backend_;
  EventSink* const sink_;
  const Clock* const clock_;
  const EngineOptions options_;
  const uint32_t max_model_len_;
  const uint32_t max_running_;
  Inbox inbox_;
  std::unique_ptr<kv::KvCache> kv_;
  EngineMetrics metrics_;
  sched::Policy policy_;
  sched::Policy drain_policy_;  // the same victims; admits only what can finish without preemption
  sched::Learned learned_;
  sched::Programs programs_;
  sched::Scheduler scheduler_;
  ThreadChecker thread_;

  std::map<RequestId, std::unique_ptr<RequestState>> requests_;  // accepted and not ended
  IdMap<SeqId, Sequence*> sequences_;                            // of requests_
  sched::WaitingQueue waiting_;
  std::vector<Sequence*> running_;  // oldest first
  uint32_t num_parked_ = 0;
  uint64_t next_seq_ = 1;
  uint64_t next_step_ = 1;
  uint64_t next_expiry_us_ = UINT64_MAX;
  bool returned_before_destroy_ =
      false;  // a sequence waits again whose old self the backend still has

  // One step's working space.
  std::vector<Command> commands_;
  std::vector<sched::RunningSeq> running_view_;
  std::vector<sched::WaitingSeq> waiting_view_;
  std::vector<uint64_t> leader_keys_;                  // of waiting_view_: what they would compute
  std::vector<BlockId> hit_blocks_;                    // of waiting_view_, one after the other
  std::vector<std::pair<size_t, size_t>> hit_ranges_;  // beside waiting_view_: offset and number
  sched::SchedView view_;
  sched::TokenBudget budget_;
  sched::TokenPrice price_;  // of the outputs of the step that ran last
  // Not yet told to the queue, which re-orders its clients at every charge: a slot per client,
  // settled early where two meet.
  std::array<Charge, 64> charges_{};
  StepPlan plan_;
  StepBatch batch_;
  StepResult result_;
  executor::Ticket ticket_;
  uint64_t step_start_us_ = 0;
  std::vector<EngineEvent> events_;

  uint64_t forecast_at_us_ = 0;
  uint64_t forecast_peak_blocks_ = 0;
  StepLog step_log_;
  EngineStats totals_;  // the step thread's own
  mutable std::mutex stats_mutex_;
  EngineStats snapshot_;  // under stats_mutex_
};

}  // namespace stet::engine
