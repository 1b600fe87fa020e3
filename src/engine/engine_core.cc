#include "src/engine/engine_core.h"

#include <algorithm>
#include <string>
#include <utility>

#include "stet/base/check.h"

namespace stet::engine {
namespace {

// How far down the queue admission looks in one step; more are never admitted at once than this.
constexpr size_t kAdmissionWindow = 64;

uint32_t derive_max_running(const EngineOptions& options, const executor::BackendInfo& info) {
  if (options.max_running != 0) {
    return options.max_running;
  }
  const uint64_t tiles = uint64_t{info.num_blocks} * info.block_tokens / 64;
  return static_cast<uint32_t>(
      std::max<uint64_t>(1, std::min<uint64_t>({tiles, info.max_step_tokens, info.max_sequences})));
}

uint32_t derive_max_model_len(const executor::BackendInfo& info) {
  return static_cast<uint32_t>(
      std::min<uint64_t>(info.max_model_len, uint64_t{info.num_blocks} * info.block_tokens));
}

Status check_options(const EngineOptions& options, const executor::BackendInfo& info) {
  // Every running sequence must be able to take one position per step, and to exist at the backend.
  const uint32_t most = std::min(info.max_step_tokens, info.max_sequences);
  if (options.max_running > most) {
    return invalid_argument("max_running is " + std::to_string(options.max_running) + "; at most " +
                            std::to_string(most) + " (max_step_tokens " +
                            std::to_string(info.max_step_tokens) + ", sequences of the backend " +
                            std::to_string(info.max_sequences) + ")");
  }
  if (options.max_queued_requests == 0) {
    return invalid_argument("max_queued_requests is 0; at least 1 is needed to accept anything");
  }
  if (options.eviction == kv::Eviction::kTail && options.ttft_target_us == 0) {
    return invalid_argument(
        "eviction is tail and ttft_target_us is 0; it needs a target, at least 1");
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<EngineCore>> EngineCore::create(EngineParts parts) {
  const executor::BackendInfo& info = parts.backend->info();
  STET_RETURN_IF_ERROR(check_options(parts.options, info));
  STET_ASSIGN_OR_RETURN(sched::Policy policy, sched::make_policy(parts.options.policy));
  if (parts.policy) {
    policy = std::move(*parts.policy);
    parts.policy.reset();
  }
  STET_ASSIGN_OR_RETURN(sched::Policy drain_policy, sched::make_policy(parts.options.policy));
  STET_ASSIGN_OR_RETURN(sched::Policy conservative, sched::make_policy("fcfs_conservative"));
  drain_policy.admission = std::move(conservative.admission);
  if (parts.kv == nullptr) {
    parts.kv =
        std::make_unique<kv::KvCache>(kv::KvOptions{.num_blocks = info.num_blocks,
                                                    .block_tokens = info.block_tokens,
                                                    .prefix_cache = parts.options.prefix_cache,
                                                    .eviction = parts.options.eviction});
  }
  const uint64_t capacity = uint64_t{info.num_blocks} * info.block_tokens;
  if (parts.options.max_queued_prompt_tokens == 0) {
    parts.options.max_queued_prompt_tokens = 4 * capacity;
  }
  const InboxLimits limits = {.max_requests = parts.options.max_queued_requests,
                              .max_prompt_tokens = parts.options.max_queued_prompt_tokens,
                              .max_total_tokens = derive_max_model_len(info)};
  return std::unique_ptr<EngineCore>(
      new EngineCore(std::move(parts), limits, std::move(policy), std::move(drain_policy)));
}

EngineCore::EngineCore(EngineParts parts, const InboxLimits& limits, sched::Policy policy,
                       sched::Policy drain_policy)
    : backend_(parts.backend),
      sink_(parts.sink),
      clock_(parts.clock),
      options_(parts.options),
      max_model_len_(derive_max_model_len(backend_->info())),
      max_running_(derive_max_running(options_, backend_->info())),
      inbox_(limits),
      kv_(std::move(parts.kv)),
      metrics_(parts.metrics, options_, *kv_, max_model_len_),
      policy_(std::move(policy)),
      drain_policy_(std::move(drain_policy)),
      waiting_({.group_prefixes = policy_.order->groups_prefixes(),
                .block_tokens = kv_->block_tokens(),
                .group_window_us = std::max<uint64_t>(options_.group_window_us, 1)}) {
  kv_->set_use_order(&waiting_);
  publish_stats(now_us());
}

// 0 means "did not happen" in RequestTimes.
uint64_t EngineCore::now_us() const {
  return std::max<uint64_t>(1, clock_->now_us());
}

Submission EngineCore::submit(Request request) {
  const Submission submission = inbox_.submit(std::move(request), now_us());
  metrics_.on_submission(submission, submission.limit == options_.max_queued_prompt_tokens);
  return submission;
}

Submission EngineCore::submit_or_wait(Request request) {
  const Submission submission = inbox_.submit_or_wait(std::move(request), now_us());
  if (submission.refusal != Refusal::kQueueFull) {
    metrics_.on_submission(submission, /*by_tokens=*/false);
  }
  return submission;
}

void EngineCore::push(CommandKind kind, RequestId request, uint32_t choice) {
  inbox_.push({.kind = kind, .request_id = request, .choice = choice, .at_us = now_us()});
}

bool EngineCore::step() noexcept {
  if (!begin_step()) {
    return false;
  }
  finish_step();
  return true;
}

bool EngineCore::begin_step() noexcept {
  thread_.check();
  take_inbox();
  step_start_us_ = now_us();
  expire(step_start_us_);
  kv_->expire_pins(step_start_us_);
  if (needs_flush()) {
    flush_ops();
  }
  make_plan();
  if (plan_.empty()) {
    STET_CHECK(waiting_.empty() || !running_.empty(),
               "an idle engine admits the head of its queue");
    if (kv_->has_pending_ops()) {
      flush_ops();  // the backend forgets ended sequences even when nothing follows
    }
    publish_stats(now_us());
    deliver();
    return false;
  }
  batch_.clear();
  batch_.step = plan_.step;
  const bool committed = kv_->commit(plan_, &batch_);
  STET_CHECK(committed, "a plan made from the KV cache's own counts fits");
  ++next_step_;
  requeue_preempted();
  start_admitted(now_us());
  fill_batch();
  ticket_ = backend_->submit(batch_);
  return true;
}

void EngineCore::finish_step() noexcept {
  backend_->wait(ticket_, &result_);
  kv_->complete_step(plan_.step);
  observe_step();
  ++totals_.num_steps;
  take_inbox();
  const uint64_t now = now_us();
  apply_result(now);
  publish_stats(now);  // first: who has seen a token finds it in the metrics
  deliver();
}

void EngineCore::wait_for_work() {
  const uint64_t now = now_us();
  inbox_.wait(next_expiry_us_ == UINT64_MAX ? UINT64_MAX
                                            : next_expiry_us_ - std::min(now, next_expiry_us_));
}

// ---- plan

void EngineCore::make_plan() {
  sched::Policy& policy = inbox_.closed() == Refusal::kNone ? policy_ : drain_policy_;
  build_view();
  if (policy.admission->predicts() && !waiting_view_.empty()) {
    learned_.lengths.refresh(view_);
  }
  forecast_peak(policy, step_start_us_);
  scheduler_.plan(view_, policy, &plan_);
}

void EngineCore::build_view() {
  const executor::BackendInfo& info = backend_->info();
  const uint32_t chunk_cap = options_.chunk_cap == 0 ? info.max_step_tokens : options_.chunk_cap;
  view_ = {.step = next_step_,
           .block_tokens = kv_->block_tokens(),
           .num_blocks = kv_->num_blocks(),
           .num_available_blocks = kv_->num_available(),
           .max_step_tokens = info.max_step_tokens,
           .short_first_percent = options_.short_first_percent,
           .chunk_cap = chunk_cap,
           .max_running = max_running_,
           .max_new_sequences =
               info.max_sequences - std::min(info.max_sequences, kv_->num_backend_sequences()),
           .learned = &learned_};
  add_running_to_view();
  add_waiting_to_view();
  view_.running = running_view_;
  view_.waiting = waiting_view_;
  budget_ = sched::token_budget(view_, learned_.step_time);
  view_.token_budget = budget_.num_tokens;
  view_.least_prefill_tokens = budget_.least_prefill_tokens;
}

uint64_t EngineCore::itl_target_us(const Sequence& s) const {
  const uint64_t own = s.owner->request.itl_target_us;
  return own != 0 ? own : options_.itl_target_us;
}

sched::OutputState EngineCore::output_state(const Sequence& s) const {
  const Request& request = s.owner->request;
  return {.num_outputs = s.num_outputs(),
          .max_tokens = request.sampling.max_tokens,
          .expected_outputs = request.expected_output_tokens,
          .runs_to_max_tokens = request.sampling.stop_token_ids.empty(),
          .length_class = s.owner->length_class};
}

void EngineCore::add_running_to_view() {
  // Victims matter only if the step could run out: each sequence may start one block more than its
  // positions fill.
  const uint64_t most_new_blocks =
      backend_->info().max_step_tokens / kv_->block_tokens() + 1 + running_.size();
  const bool tight = policy_.victim != nullptr && kv_->num_available() < most_new_blocks;
  running_view_.clear();
  for (const Sequence* s : running_) {
    const std::span<const BlockId> table = kv_->table(s->id);
    running_view_.push_back(
        {.seq = s->id,
         .order_key = s->owner->order_key,
         .num_known_tokens = static_cast<uint32_t>(s->token_ids.size()),
         .num_computed_tokens = s->num_computed_tokens,
         .num_blocks = static_cast<uint32_t>(table.size()),
         .num_exclusive_blocks = tight ? kv_->num_exclusive_blocks_of(s->id) : 0,
         .max_blocks = s->max_blocks,
         .num_preemptions = s->num_preemptions,
         .itl_target_us = itl_target_us(*s),
         .output = output_state(*s),
         .table = table,
         .num_shared_blocks = kv_->num_shared_blocks_of(s->id)});
  }
}

void EngineCore::add_waiting_to_view() {
  waiting_view_.clear();
  hit_blocks_.clear();
  hit_ranges_.clear();
  leader_keys_.clear();
  totals_.num_following = 0;
  if (running_.size() >= max_running_) {
    return;
  }
  waiting_.prepare(now_us());
  const size_t most = std::min<size_t>(kAdmissionWindow, max_running_ - running_.size());
  sched::WaitingQueue::Walk walk = waiting_.walk();
  while (waiting_view_.size() < most) {
    const SeqId id = walk.next();
    if (id == SeqId{}) {
      break;
    }
    Sequence& s = *sequences_.at(id);
    SeqId fork_source;
    if (!may_start(s, &fork_source)) {
      continue;
    }
    const kv::PrefixHit hit = kv_->match(s.id, s.token_ids);
    if (fork_source == SeqId{} && follows(s)) {
      ++totals_.num_following;
      continue;
    }
    const bool fork = fork_source != SeqId{} && s.owner->prompt_len - 1 > hit.num_tokens;
    waiting_view_.push_back({.seq = s.id,
                             .order_key = s.owner->order_key,
                             .num_known_tokens = static_cast<uint32_t>(s.token_ids.size()),
                             .first_pos = fork ? s.owner->prompt_len - 1 : hit.num_tokens,
                             .num_unreferenced_blocks = fork ? 0 : hit.num_unreferenced_blocks,
                             .max_blocks = s.max_blocks,
                             .num_preemptions = s.num_preemptions,
                             .fork_source = fork ? fork_source : SeqId{},
                             .itl_target_us = itl_target_us(s),
                             .output = output_state(s)});
    if (s.owner->holds_queue_slot) {  // what start_first will charge
      walk.charge(s.owner->prompt_len -
                  std::min(waiting_view_.back().first_pos, s.owner->prompt_len));
    }
    if (policy_.admission->predicts()) {
      note_hit(waiting_view_.back());
    }
  }
  for (size_t i = 0; i < hit_ranges_.size(); ++i) {  // now that hit_blocks_ stays where it is
    waiting_view_[i].table =
        std::span(hit_blocks_).subspan(hit_ranges_[i].first, hit_ranges_[i].second);
  }
}

// The blocks that the candidate would share with somebody who runs; none if nobody does.
void EngineCore::note_hit(const sched::WaitingSeq& candidate) {
  const size_t offset = hit_blocks_.size();
  const uint32_t num_blocks = candidate.first_pos / kv_->block_tokens();
  if (candidate.fork_source != SeqId{}) {
    const std::span<const BlockId> source = kv_->table(candidate.fork_source).first(num_blocks);
    hit_blocks_.insert(hit_blocks_.end(), source.begin(), source.end());
  } else if (num_blocks > candidate.num_unreferenced_blocks) {
    kv_->append_hit(candidate.seq, &hit_blocks_);
  }
  hit_ranges_.emplace_back(offset, hit_blocks_.size() - offset);
}

// Choices share the prompt's work: the first one computes it, the others follow and fork from it.
// If it is gone, the next one in the queue takes its place. A follower never waits on anything but
// a running sibling.
bool EngineCore::may_start(const Sequence& s, SeqId* fork_source) const {
  if (s.owner->choices.size() == 1) {
    return true;
  }
  bool sibling_runs = false;
  for (const auto& sibling : s.owner->choices) {
    if (sibling->status != SeqStatus::kRunning) {
      continue;
    }
    if (sibling->num_computed_tokens + 1 >= s.owner->prompt_len) {
      *fork_source = sibling->id;
      return true;
    }
    sibling_runs = true;
  }
  const auto first_waiting =
      std::find_if(s.owner->choices.begin(), s.owner->choices.end(),
                   [](const auto& c) { return c->status == SeqStatus::kWaiting; });
  return !sibling_runs && first_waiting->get() == &s;
}

// A shared prefix is computed once, even when all who share it arrive in one step: whoever would
// compute tokens that a running sequence is computing, or one that is ahead of it in this view,
// waits for them while others pass. A leader that is preempted or ends computes nothing any more,
// so the oldest follower takes its place. scheduler.md sec. 6.
bool EngineCore::follows(Sequence& s) {
  // Whoever follows does so to the last shared block.
  const uint32_t least = s.following ? 1 : std::max(options_.min_follow_tokens, 1U);
  const uint64_t key = kv_->next_tokens_key(s.id, least);
  s.following =
      key != 0 && (kv_->computing(key) ||
                   std::find(leader_keys_.begin(), leader_keys_.end(), key) != leader_keys_.end());
  if (!s.following) {
    leader_keys_.push_back(kv_->next_tokens_key(s.id, 1));
    leader_keys_.push_back(kv_->next_tokens_key(s.id, std::max(options_.min_follow_tokens, 1U)));
  }
  return s.following;
}

// Operations go with the next step, unless that step could not be built with them pending: the
// backend would hold too many sequences, or one would return before its old self is destroyed.
bool EngineCore::needs_flush() const {
  const uint32_t most = backend_->info().max_sequences;
  const uint32_t room = most - std::min(most, kv_->num_backend_sequences());
  return kv_->has_pending_ops() &&
         (returned_before_destroy_ || room < std::min(waiting_.size(), kAdmissionWindow));
}

void EngineCore::flush_ops() {
  batch_.clear();
  batch_.step = next_step_++;
  returned_before_destroy_ = false;
  kv_->flush_pending_ops(&batch_);
  backend_->wait(backend_->submit(batch_), &result_);
}

// ---- commit and submit

void EngineCore::requeue_preempted() {
  const uint64_t now = now_us();
  for (SeqId id : plan_.preempted) {
    Sequence& s = *sequences_.at(id);
    running_.erase(std::find(running_.begin(), running_.end(), &s));
    s.status = SeqStatus::kWaiting;
    s.num_computed_tokens = 0;
    ++s.num_preemptions;
    ++s.owner->num_preemptions;
    ++totals_.preemptions;
    learned_.on_preempt();
    metrics_.on_preempted();
    enqueue(s, true, now);  // with its old place in the order
  }
}

void EngineCore::start_first(const Sequence& s, uint64_t now) {
  RequestState& state = *s.owner;
  state.times.first_scheduled_us = now;
  state.cached_prompt_tokens = std::min(s.num_computed_tokens, state.prompt_len);
  totals_.prompt_tokens += state.prompt_len;
  totals_.cached_prompt_tokens += state.cached_prompt_tokens;
  give_slot_back(state, now);
  kv_->hand_over(programs_.take_pin(state.program), s.id);
  metrics_.on_first_scheduled(state);
  charge(state, state.prompt_len - state.cached_prompt_tokens);
}

void EngineCore::charge(RequestState& state, double prefill_token_equivalents) {
  state.prefill_token_equivalents += prefill_token_equivalents;
  totals_.prefill_token_equivalents += prefill_token_equivalents;
  Charge& charge = charges_[state.client.v % charges_.size()];
  if (charge.client != state.client) {
    settle(&charge);
    charge.client = state.client;
  }
  charge.prefill_token_equivalents += prefill_token_equivalents;
}

void EngineCore::settle(Charge* charge) {
  if (charge->prefill_token_equivalents > 0.0) {
    waiting_.charge(charge->client, charge->prefill_token_equivalents);
    metrics_.on_charge(charge->prefill_token_equivalents);
    charge->prefill_token_equivalents = 0.0;
  }
}

void EngineCore::settle_charges() {
  for (Charge& charge : charges_) {
    settle(&charge);
  }
}

void EngineCore::start_admitted(uint64_t now) {
  if (plan_.admitted.empty()) {
    return;
  }
  // Admissions stand last in the plan, in the order of plan_.admitted.
  const size_t first = plan_.scheduled.size() - plan_.admitted.size();
  for (size_t i = 0; i < plan_.admitted.size(); ++i) {
    Sequence& s = *sequences_.at(plan_.admitted[i]);
    RequestState& state = *s.owner;
    dequeue(s);
    s.status = SeqStatus::kRunning;
    s.following = false;
    s.num_computed_tokens = plan_.scheduled[first + i].first_pos;
    running_.insert(std::upper_bound(running_.begin(), running_.end(), &s, OlderThan{}), &s);
    if (state.holds_queue_slot) {
      start_first(s, now);
    }
    const auto prompt_end = s.token_ids.begin() + state.prompt_len;
    batch_.new_sequences.push_back({.seq = s.id,
                                    .sampling = state.request.sampling,
                                    .choice = s.choice,
                                    .max_blocks = s.max_blocks,
                                    .prompt_token_ids = {s.token_ids.begin(), prompt_end},
                                    .output_token_ids = {prompt_end, s.token_ids.end()}});
  }
  settle_charges();
}

void EngineCore::fill_batch() {
  for (const ScheduledSeq& planned : plan_.scheduled) {
    const Sequence& s = *sequences_.at(planned.seq);
    batch_.rows.push_back({.seq = s.id,
                           .first_pos = planned.first_pos,
                           .n_pos = planned.num_scheduled_tokens,
                           .token_offset = static_cast<uint32_t>(batch_.token_ids.size()),
                           .sample = planned.sample});
    const auto first = s.token_ids.begin() + planned.first_pos;
    batch_.token_ids.insert(batch_.token_ids.end(), first, first + planned.num_scheduled_tokens);
  }
  batch_.groups = plan_.groups;
}

}  // namespace stet::engine
