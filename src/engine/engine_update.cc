// Results and endings: what a step computed becomes tokens, events and free blocks.
#include <algorithm>
#include <string>
#include <utility>

#include "src/engine/engine_core.h"
#include "stet/base/check.h"

namespace stet::engine {
namespace {

struct EndingText {
  StatusCode code;
  const char* reason;  // api.md sec. 3
  const char* message;
};
EndingText text_of(Ending ending) {
  switch (ending) {
    case Ending::kStop:
    case Ending::kLength: return {StatusCode::kOk, "", ""};
    case Ending::kCancelled:
      return {StatusCode::kCancelled, "cancelled", "the request was cancelled"};
    case Ending::kDeadline:
      return {StatusCode::kDeadlineExceeded, "deadline_exceeded",
              "the request's deadline has passed"};
    case Ending::kQueueTimeout:
      return {StatusCode::kDeadlineExceeded, "queue_timeout",
              "the request waited in the queue beyond its age limit"};
    case Ending::kDrainTimeout:
      return {StatusCode::kUnavailable, "drain_timeout",
              "the server stops and the time to finish has run out"};
    case Ending::kFault: break;
  }
  return {StatusCode::kInternal, "non_finite",
          "the model gave a non-finite value for this request"};
}

}  // namespace

void EngineCore::apply_result(uint64_t now) {
  for (const RowFault& fault : result_.faults) {
    Sequence* const* s = sequences_.find(fault.seq);
    if (s != nullptr) {
      end_request(*(*s)->owner, Ending::kFault, now);  // before anything of it is published
    }
  }
  advance_scheduled();
  for (const SampledToken& token : result_.sampled) {
    apply_token(token, now);
  }
  settle_charges();
}

void EngineCore::advance_scheduled() {
  for (const ScheduledSeq& planned : plan_.scheduled) {
    Sequence* const* found = sequences_.find(planned.seq);
    if (found == nullptr || (*found)->status != SeqStatus::kRunning) {
      continue;  // ended or parked while the step ran
    }
    Sequence& s = **found;
    s.num_computed_tokens = planned.first_pos + planned.num_scheduled_tokens;
    kv_->publish(s.id, s.token_ids);
  }
}

void EngineCore::apply_token(const SampledToken& token, uint64_t now) {
  Sequence* const* found = sequences_.find(token.seq);
  if (found == nullptr || (*found)->status != SeqStatus::kRunning) {
    return;
  }
  Sequence& s = **found;
  RequestState& state = *s.owner;
  EngineEvent event{
      .request = state.request.id, .choice = s.choice, .first_output_pos = s.num_outputs()};
  EngineToken& out = event.tokens.emplace_back();
  out.token_id = token.token_id;
  out.logprob = token.logprob;
  out.rank = token.rank;
  out.top.assign(result_.top.begin() + token.top_offset,
                 result_.top.begin() + token.top_offset + token.num_top);
  charge(state, price_.of_output(s.token_ids.size()));
  s.token_ids.push_back(token.token_id);
  ++state.num_generated;
  ++totals_.generated_tokens;
  if (state.times.first_token_us == 0) {
    state.times.first_token_us = now;
  }
  metrics_.on_token(state, now, s.last_token_us);
  if (s.last_token_us != 0) {
    state.longest_gap_us = std::max(state.longest_gap_us, now - s.last_token_us);
  }
  s.last_token_us = now;
  finish_if_done(s, &event);
  const bool stopped = event.reason == FinishReason::kStop;
  events_.push_back(std::move(event));
  if (state.num_unfinished == 0) {
    end_request(state, stopped ? Ending::kStop : Ending::kLength, now);
  }
}

// The stop token counts as a completion token; max_tokens and the model length end a choice that
// did not stop.
bool EngineCore::finish_if_done(Sequence& s, EngineEvent* event) {
  const SamplingParams& sampling = s.owner->request.sampling;
  const uint32_t last = s.token_ids.back();
  const std::vector<uint32_t>& stops = sampling.stop_token_ids;
  if (std::binary_search(stops.begin(), stops.end(), last)) {
    event->reason = FinishReason::kStop;
    event->stop_token_id = last;
  } else if (s.num_outputs() >= sampling.max_tokens || s.token_ids.size() >= max_model_len_) {
    event->reason = FinishReason::kLength;
  } else {
    return false;
  }
  event->kind = EngineEventKind::kChoiceFinished;
  keep_for_followup(s);
  end_choice(s, event->reason == FinishReason::kLength);
  return true;
}

// ---- endings

void EngineCore::leave(Sequence& s, SeqStatus status) {
  if (s.status == SeqStatus::kWaiting) {
    dequeue(s);
  } else if (s.status == SeqStatus::kRunning) {
    running_.erase(std::find(running_.begin(), running_.end(), &s));
  } else if (s.status == SeqStatus::kParked) {
    --num_parked_;
  }
  s.num_computed_tokens = 0;
  s.status = status;
}

void EngineCore::end_choice(Sequence& s, bool cut) {
  learned_.on_finish(output_state(s), cut);
  leave(s, SeqStatus::kFinished);
  sequences_.erase(s.id);
  kv_->remove_sequence(s.id);
  --s.owner->num_unfinished;
}

void EngineCore::give_slot_back(RequestState& state, uint64_t now) {
  if (!std::exchange(state.holds_queue_slot, false)) {
    return;
  }
  if (inbox_.free_slot(state, now)) {
    events_.push_back({.request = {}, .kind = EngineEventKind::kQueueRoom});
  }
}

void EngineCore::end_request(RequestState& state, Ending ending, uint64_t now) {
  settle_charges();  // while the queue knows the client
  for (const auto& s : state.choices) {
    if (s->status != SeqStatus::kFinished) {
      end_choice(*s, true);
    }
  }
  state.times.ended_us = now;
  give_slot_back(state, now);
  ++totals_.ended;
  metrics_.on_ended(state, ending);
  count_targets(state, ending);
  const EndingText text = text_of(ending);
  EngineEvent event{.request = state.request.id, .kind = EngineEventKind::kRequestEnded};
  event.status = text.code == StatusCode::kOk ? Status() : Status(text.code, text.message);
  event.error_reason = text.reason;
  event.cached_prompt_tokens = state.cached_prompt_tokens;
  event.num_preemptions = state.num_preemptions;
  event.prefill_token_equivalents = state.prefill_token_equivalents;
  event.times = state.times;
  events_.push_back(std::move(event));
  if (state.request.program.end_of_program) {
    kv_->unpin(programs_.end(state.program));
  }
  waiting_.close_client(state.client);
  requests_.erase(RequestId{state.request.id});
}

Stage EngineCore::stage_of(const RequestState& state) const {
  if (state.times.first_scheduled_us == 0) {
    return Stage::kQueue;
  }
  return state.times.first_token_us == 0 ? Stage::kPrefill : Stage::kDecode;
}

// ---- out

void EngineCore::deliver() {
  if (!events_.empty()) {
    const size_t num_events = events_.size();
    sink_->on_events(std::exchange(events_, {}));
    events_.reserve(num_events);  // the next step will have about as many
  }
}

void EngineCore::publish_stats(uint64_t now) {
  const kv::BlockCounts& blocks = kv_->counts();
  totals_.num_running = static_cast<uint32_t>(running_.size());
  totals_.num_waiting = static_cast<uint32_t>(waiting_.size());
  totals_.num_parked = num_parked_;
  totals_.num_late = static_cast<uint32_t>(waiting_.num_late());
  totals_.num_waiting_prompt_tokens = inbox_.num_queued_prompt_tokens();
  totals_.num_blocks = kv_->num_blocks();
  totals_.num_blocks_used = blocks.used();
  totals_.num_blocks_cached = blocks.cached + blocks.pinned;
  totals_.num_blocks_free = blocks.free;
  totals_.block_tokens = kv_->block_tokens();
  totals_.last_step_end_us = now;
  metrics_.set_state(totals_, *kv_, backend_->kv_stats());
  std::lock_guard lock(stats_mutex_);
  snapshot_ = totals_;
}

EngineStats EngineCore::stats() const {
  std::lock_guard lock(stats_mutex_);
  return snapshot_;
}

Status EngineCore::check_integrity() const {
  STET_RETURN_IF_ERROR(kv_->check_integrity());
  STET_RETURN_IF_ERROR(waiting_.check_integrity());
  if (totals_.accepted != totals_.ended + requests_.size()) {
    return internal_error("ledger: " + std::to_string(totals_.accepted) + " accepted, " +
                          std::to_string(totals_.ended) + " ended, " +
                          std::to_string(requests_.size()) + " in flight");
  }
  size_t live = 0;
  for (const auto& [id, s] : sequences_) {
    const bool running = std::find(running_.begin(), running_.end(), s) != running_.end();
    const bool waiting = waiting_.contains(id);
    const bool right = running == (s->status == SeqStatus::kRunning) &&
                       waiting == (s->status == SeqStatus::kWaiting);
    if (!right || s->status == SeqStatus::kFinished) {
      return internal_error("sequence " + std::to_string(id.v) + " stands in the wrong place");
    }
    if (!running && kv_->num_blocks_of(id) != 0) {
      return internal_error("sequence " + std::to_string(id.v) + " holds blocks and does not run");
    }
    live += 1;
  }
  return live == running_.size() + waiting_.size() + num_parked_
             ? Status()
             : internal_error("the sets of sequences do not add up");
}

}  // namespace stet::engine
