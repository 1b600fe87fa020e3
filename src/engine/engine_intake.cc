// Orders and time: what enters and leaves at a step border.
#include <algorithm>
#include <utility>

#include "src/engine/engine_core.h"
#include "stet/base/check.h"

namespace stet::engine {

void EngineCore::take_inbox() {
  inbox_.drain(&commands_);
  if (commands_.empty()) {
    return;
  }
  const uint64_t now = now_us();
  for (Command& command : commands_) {
    obey(command, now);
  }
  commands_.clear();
}

void EngineCore::obey(Command& command, uint64_t now) {
  switch (command.kind) {
    case CommandKind::kSubmit: return start_request(std::move(*command.request), command.at_us);
    case CommandKind::kCancel: return cancel_request(command.request_id, command.at_us, now);
    case CommandKind::kFinishChoice: return finish_choice(command.request_id, command.choice);
    case CommandKind::kPark: return set_parked(command.request_id, true);
    case CommandKind::kUnpark: return set_parked(command.request_id, false);
    case CommandKind::kAbortAll:
      while (!requests_.empty()) {
        end_request(*requests_.begin()->second, Ending::kDrainTimeout, now);
      }
      return;
  }
}

void EngineCore::start_request(Request request, uint64_t submitted_us) {
  auto state = std::make_unique<RequestState>();
  state->prompt_len = static_cast<uint32_t>(request.prompt_token_ids.size());
  state->client = waiting_.open_client(request.tenant);
  state->length_class = learned_.lengths.class_of(request.tenant, state->prompt_len);
  state->times.submitted_us = submitted_us;
  state->num_unfinished = request.num_choices;
  ++totals_.accepted;
  metrics_.on_request(request, state->prompt_len);
  const uint64_t max_tokens = uint64_t{state->prompt_len} + request.sampling.max_tokens;
  for (uint32_t choice = 0; choice < request.num_choices; ++choice) {
    auto s = std::make_unique<Sequence>();
    s->id = SeqId{next_seq_++};
    s->owner = state.get();
    s->choice = choice;
    s->max_blocks = sched::blocks_for(max_tokens, kv_->block_tokens());
    s->token_ids.reserve(max_tokens);
    s->token_ids = request.prompt_token_ids;
    s->token_ids.insert(s->token_ids.end(), request.output_token_ids.begin(),
                        request.output_token_ids.end());
    kv_->add_sequence(s->id, request.cache_namespace, request.priority_class);
    sequences_.emplace(s->id, s.get());
    state->choices.push_back(std::move(s));
  }
  begin_turn(*state, request);
  request.prompt_token_ids = {};
  request.output_token_ids = {};
  state->request = std::move(request);
  RequestState& r = *state;
  requests_.emplace(r.request.id, std::move(state));
  note_expiry(r);
  for (const auto& s : r.choices) {
    enqueue(*s, false, now_us());
  }
  // A resumed choice may have been complete already.
  Ending ending = Ending::kLength;
  for (const auto& s : r.choices) {
    EngineEvent event{
        .request = r.request.id, .choice = s->choice, .first_output_pos = s->num_outputs()};
    if (s->num_outputs() > 0 && finish_if_done(*s, &event)) {
      ending = event.reason == FinishReason::kStop ? Ending::kStop : Ending::kLength;
      events_.push_back(std::move(event));
    }
  }
  if (r.num_unfinished == 0) {
    end_request(r, ending, now_us());
  }
}

// 0 = none; BATCH requests have none.
uint64_t EngineCore::ttft_target_us(const Request& request) const {
  const uint64_t asked = request.ttft_target_us;
  const bool batch = request.service_class == ServiceClass::kBatch;
  return batch ? 0 : (asked != 0 ? asked : options_.ttft_target_us);
}

// When a request that has no token yet can no longer meet its TTFT target.
uint64_t EngineCore::late_at(const RequestState& state) const {
  const uint64_t target = ttft_target_us(state.request);
  const bool none = target == 0 || state.times.first_token_us != 0;
  return none ? UINT64_MAX : state.times.submitted_us + target;
}

void EngineCore::enqueue(Sequence& s, bool returned, uint64_t now) {
  const RequestState& state = *s.owner;
  waiting_.insert({.seq = s.id,
                   .client = state.client,
                   .order_key = state.order_key,
                   .request = state.request.id.v,
                   .choice = s.choice,
                   .late_at_us = late_at(state),
                   .returned = returned,
                   .service_class = state.request.service_class,
                   .num_prompt_tokens = state.prompt_len,
                   .expected_outputs = learned_.lengths.expected_outputs(output_state(s)),
                   .chain = kv_->hash_blocks(s.id, s.token_ids)},
                  now);
  kv_->set_waiting(s.id, true);
}

void EngineCore::dequeue(Sequence& s) {
  waiting_.erase(s.id);
  kv_->set_waiting(s.id, false);
}

void EngineCore::cancel_request(RequestId id, uint64_t ordered_us, uint64_t now) {
  const auto it = requests_.find(id);
  if (it == requests_.end()) {
    return;
  }
  metrics_.on_cancelled(stage_of(*it->second), now - std::min(now, ordered_us));
  end_request(*it->second, Ending::kCancelled, now);
}

void EngineCore::finish_choice(RequestId id, uint32_t choice) {
  const auto it = requests_.find(id);
  if (it == requests_.end() || choice >= it->second->choices.size()) {
    return;
  }
  RequestState& state = *it->second;
  if (state.choices[choice]->status == SeqStatus::kFinished) {
    return;
  }
  keep_for_followup(*state.choices[choice]);
  end_choice(*state.choices[choice], false);  // the text stage saw its end
  if (state.num_unfinished == 0) {
    end_request(state, Ending::kStop, now_us());
  }
}

void EngineCore::set_parked(RequestId id, bool parked) {
  const auto it = requests_.find(id);
  if (it == requests_.end() || it->second->parked == parked) {
    return;
  }
  it->second->parked = parked;
  for (const auto& s : it->second->choices) {
    if (s->status == SeqStatus::kFinished) {
      continue;
    }
    if (parked) {
      leave(*s, SeqStatus::kParked);
      kv_->release(s->id);  // rebuilt exactly when it returns, from the cache while it holds
      ++num_parked_;
    } else {
      --num_parked_;
      s->status = SeqStatus::kWaiting;
      returned_before_destroy_ |= kv_->destroy_pending(s->id);
      enqueue(*s, true, now_us());
    }
  }
}

// ---- deadlines

uint64_t EngineCore::expiry_of(const RequestState& state) const {
  uint64_t expiry = state.request.deadline_us == 0 ? UINT64_MAX : state.request.deadline_us;
  // A job waits for as long as it has to: it was told what its class means.
  if (state.holds_queue_slot && state.request.service_class != ServiceClass::kBatch) {
    expiry = std::min(expiry, state.times.submitted_us + options_.queue_timeout_us);
  }
  return expiry;
}

void EngineCore::note_expiry(const RequestState& state) {
  next_expiry_us_ = std::min(next_expiry_us_, expiry_of(state));
}

// Scans all requests only when the earliest expiry is due.
void EngineCore::expire(uint64_t now) {
  if (now < next_expiry_us_) {
    return;
  }
  next_expiry_us_ = UINT64_MAX;
  for (auto it = requests_.begin(); it != requests_.end();) {
    RequestState& state = *(it++)->second;  // ending it erases it
    if (now >= expiry_of(state)) {
      expire_request(state, now);
    } else {
      note_expiry(state);
    }
  }
}

void EngineCore::expire_request(RequestState& state, uint64_t now) {
  const bool deadline = state.request.deadline_us != 0 && now >= state.request.deadline_us;
  if (deadline) {
    metrics_.on_deadline_missed(stage_of(state));
  }
  end_request(state, deadline ? Ending::kDeadline : Ending::kQueueTimeout, now);
}

}  // namespace stet::engine
