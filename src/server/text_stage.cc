#include "src/server/text_stage.h"

#include <algorithm>
#include <utility>

#include "src/server/call_errors.h"
#include "src/server/prompt.h"
#include "src/server/responses.h"
#include "stet/base/check.h"
#include "stet/obs/log.h"

namespace stet::server {
namespace {

// How often waiting output of busy receivers is looked at; nothing wakes up while there is none.
constexpr uint64_t kStallPollUs = 100'000;

}  // namespace

TextStage::TextStage(const Clock* clock, ServerMetrics* metrics,
                     std::function<void(const CallState&)> on_ended)
    : clock_(clock), metrics_(metrics), on_ended_(std::move(on_ended)), queue_(SIZE_MAX) {}

TextStage::~TextStage() {
  stop();
}

void TextStage::start() {
  thread_ = std::jthread([this] { run(); });
}

void TextStage::stop() {
  queue_.close();
  if (thread_.joinable()) {
    thread_.join();
  }
}

void TextStage::on_events(std::vector<engine::EngineEvent> events) {
  Item item(std::move(events));
  if (!queue_.try_push(std::move(item))) {
    return;  // stopped: every call has ended
  }
}

void TextStage::post_prepared(const CallPtr& call, std::vector<uint32_t> prompt_ids) {
  Item item(Prepared{call, std::move(prompt_ids)});
  if (!queue_.try_push(std::move(item))) {
    fail(call, not_ready(ServingState::kStopped));
  }
}

void TextStage::post_refused(const CallPtr& call, google::rpc::Status status) {
  Item item(Refused{call, std::move(status)});
  if (!queue_.try_push(std::move(item))) {
    end(call, std::get<Refused>(item).status);
  }
}

void TextStage::post_poke(CallPtr call) {
  if (call->poked.exchange(true)) {
    return;
  }
  Item item(Poke{std::move(call)});
  if (!queue_.try_push(std::move(item))) {
    return;  // stopped: the call has ended
  }
}

void TextStage::run() {
  std::vector<Item> items;
  while (queue_.wait_drain(&items, stalled_.empty() ? UINT64_MAX : kStallPollUs)) {
    for (Item& item : items) {
      std::visit([this](auto& what) { handle(what); }, item);
    }
    flush_touched();
    check_stalled();
  }
  // Closed: no more items. Ends are reported in no particular order.
  std::vector<CallPtr> left;
  left.reserve(calls_.size());
  for (const auto& [id, call] : calls_) {
    left.push_back(call);
  }
  for (const CallPtr& call : left) {
    if (!call->end) {
      call->model->engine->cancel(call->engine_id);
    }
    send_waiting(*call, /*all=*/true);
    fail(call, not_ready(ServingState::kStopped));
  }
  while (!waiting_for_room_.empty()) {
    const CallPtr call = waiting_for_room_.front().call;
    fail(call, not_ready(ServingState::kStopped));  // takes it out
  }
  stalled_.clear();
}

void TextStage::handle(Prepared& prepared) {
  if (prepared.call->ended) {
    return;  // cancelled meanwhile
  }
  const bool in_line = prepared.call->waits_for_room && !waiting_for_room_.empty();
  if (in_line || !submit(prepared)) {
    waiting_for_room_.push_back(std::move(prepared));
  }
}

void TextStage::submit_waiting() {
  while (!waiting_for_room_.empty()) {
    Prepared next = std::move(waiting_for_room_.front());
    waiting_for_room_.pop_front();
    if (!submit(next)) {
      waiting_for_room_.push_front(std::move(next));
      return;
    }
  }
}

bool TextStage::submit(const Prepared& prepared) {
  const CallPtr& call = prepared.call;
  const uint64_t now_us = clock_->now_us();
  if (call->deadline_us != 0 && now_us >= call->deadline_us) {
    metrics_->deadline_missed("text");
    fail(call, deadline_passed("before the request was queued"));
    return true;
  }
  const CallSpec& spec = call->spec;
  Request request;
  request.name = call->request_id;
  request.prompt_token_ids = prepared.prompt_ids;
  request.sampling = spec.sampling;
  request.num_choices = spec.num_choices;
  request.deadline_us = call->deadline_us;
  request.priority_class = spec.priority_class;
  request.service_class = spec.service_class;
  request.ttft_target_us = spec.ttft_target_us;
  request.itl_target_us = spec.itl_target_us;
  request.expected_output_tokens = spec.expected_output_tokens;
  request.program = spec.program;
  request.cache_namespace = cache_namespace(*call->model, spec.cache_salt);
  engine::Engine* const engine = call->model->engine;
  const engine::Submission submission = call->waits_for_room
                                            ? engine->submit_or_wait(std::move(request))
                                            : engine->submit(std::move(request));
  if (submission.refusal == engine::Refusal::kQueueFull && call->waits_for_room) {
    return false;
  }
  if (submission.refusal != engine::Refusal::kNone) {
    fail(call, refused(submission));
    return true;
  }
  // Events of it wait in queue_ behind this item at the earliest: this thread alone takes them.
  call->engine_id = submission.id;
  call->prompt_tokens = static_cast<uint32_t>(prepared.prompt_ids.size());
  call->choices.reserve(spec.num_choices);
  for (uint32_t i = 0; i < spec.num_choices; ++i) {
    call->choices.emplace_back(call->model->tokenizer.get(), &spec.output, i);
  }
  calls_.emplace(submission.id, call);
  send_started(*call, prepared.prompt_ids);
  return true;
}

void TextStage::handle(Refused& refused) {
  if (!refused.call->ended) {
    end(refused.call, refused.status);
  }
}

void TextStage::handle(Poke& poke) {
  poke.call->poked.store(false);
  if (poke.call->ended) {
    return;
  }
  if (poke.call->cancelled.load()) {
    cancel(poke.call);
    return;
  }
  touch(poke.call);
}

void TextStage::handle(Batch& events) {
  for (engine::EngineEvent& event : events) {
    if (event.kind == engine::EngineEventKind::kQueueRoom) {
      submit_waiting();
      continue;
    }
    const auto it = calls_.find(event.request);
    if (it == calls_.end()) {
      continue;  // of a call that has ended here: cancelled, or a slow reader
    }
    take(*it->second, event);
    touch(it->second);
  }
}

void TextStage::take(CallState& call, engine::EngineEvent& event) {
  if (event.kind == engine::EngineEventKind::kRequestEnded) {
    call.end = std::move(event);
    return;
  }
  STET_CHECK(event.choice < call.choices.size(), "events name a choice of their request");
  ChoiceStream& choice = call.choices[event.choice];
  const uint64_t merged_before = choice.merged();
  if (choice.take(event) && event.kind == engine::EngineEventKind::kTokens) {
    call.model->engine->finish_choice(call.engine_id, event.choice);
  }
  if (choice.merged() != merged_before) {
    metrics_->deltas_merged(choice.merged() - merged_before);
  }
}

void TextStage::touch(const CallPtr& call) {
  if (!call->touched) {
    call->touched = true;
    touched_.push_back(call);
  }
}

void TextStage::flush_touched() {
  owner_.check();
  for (size_t i = 0; i < touched_.size(); ++i) {
    const CallPtr call = std::move(touched_[i]);
    call->touched = false;
    flush(call);
  }
  touched_.clear();
}

void TextStage::flush(const CallPtr& call) {
  if (call->ended || !call->started) {
    return;
  }
  bool due = call->end.has_value();
  for (const ChoiceStream& choice : call->choices) {
    due = due || choice.has_something_due();
  }
  if (!due) {
    return;
  }
  const bool failed = call->end && !call->all_choices_finished();
  if (call->busy.load() && !failed) {
    // The other side clears busy, then reads has_waiting; this side sets has_waiting, then reads
    // busy: one of the two sees the other, so nothing is left lying.
    call->has_waiting.store(true);
    if (call->busy.load()) {
      hold(call);
      return;
    }
  }
  call->has_waiting.store(false);
  send_waiting(*call, /*all=*/failed);
  if (call->parked && !call->end) {
    call->parked = false;
    call->model->engine->set_parked(call->engine_id, false);
  }
  if (!call->end) {
    return;
  }
  if (!failed) {
    // Also if the engine's ending is an error: what it met after the last token that exists does
    // not exist either.
    send_summary(*call);
    end(call, google::rpc::Status());
    return;
  }
  STET_CHECK(!call->end->status.ok(), "an OK request has finished all its choices");
  if (call->end->status.code() == StatusCode::kDeadlineExceeded) {
    metrics_->deadline_missed("engine");
  }
  fail(call, ended_with_error(*call->end));
}

void TextStage::hold(const CallPtr& call) {
  if (!call->stalled) {
    call->stalled = true;
    stalled_.push_back(call);
  }
  size_t waiting = 0;
  for (const ChoiceStream& choice : call->choices) {
    waiting += choice.pending_bytes();
  }
  // FINAL mode sends once: its output is bounded by the model length, and nobody could read it
  // earlier.
  if (waiting > kMaxWaitingBytes && !call->parked && !call->end && !call->spec.output.final_mode) {
    call->parked = true;
    call->model->engine->set_parked(call->engine_id, true);
    metrics_->slow_reader_parked();
  }
}

void TextStage::check_stalled() {
  if (stalled_.empty()) {
    return;
  }
  const uint64_t now_us = clock_->now_us();
  std::vector<CallPtr> slow;
  std::erase_if(stalled_, [&](const CallPtr& call) {
    if (!call->ended && call->has_waiting.load()) {
      if (now_us < call->progress_us.load() + kSlowReaderUs) {
        return false;
      }
      slow.push_back(call);
    }
    call->stalled = false;
    return true;
  });
  for (const CallPtr& call : slow) {
    if (!call->end) {
      call->model->engine->cancel(call->engine_id);
    }
    fail(call, slow_reader());
  }
}

void TextStage::send_waiting(CallState& call, bool all) {
  for (ChoiceStream& choice : call.choices) {
    v1::Delta* delta = scratch_.mutable_delta();
    if (choice.next_delta(all, delta)) {
      delta->set_seq(call.next_seq++);
      call.events->on_event(scratch_);
    }
    if (choice.next_finished(scratch_.mutable_finished())) {
      call.events->on_event(scratch_);
    }
  }
}

void TextStage::send_started(CallState& call, const std::vector<uint32_t>& prompt_ids) {
  call.started = true;
  fill_started(call, prompt_ids, scratch_.mutable_started());
  call.events->on_event(scratch_);
}

void TextStage::send_summary(CallState& call) {
  fill_summary(call, clock_->now_us(), scratch_.mutable_summary());
  call.events->on_event(scratch_);
}

void TextStage::cancel(const CallPtr& call) {
  if (call->started && !call->end) {
    call->model->engine->cancel(call->engine_id);
  }
  metrics_->call_cancelled(call->started ? "engine" : "text");
  fail(call, cancelled_by_client());
}

void TextStage::fail(const CallPtr& call, ApiError error) {
  end(call, error.request_id(call->request_id).build());
}

void TextStage::end(const CallPtr& call, const google::rpc::Status& status) {
  STET_CHECK(!call->ended, "a call ends once");
  call->ended = true;
  if (call->started) {
    calls_.erase(call->engine_id);
  } else if (call->waits_for_room) {
    std::erase_if(waiting_for_room_, [&](const Prepared& p) { return p.call == call; });
  }
  if (status.code() != 0) {
    metrics_->call_failed(reason_of(status));
  }
  log_call(*call, status, clock_->now_us());
  on_ended_(*call);
  const std::shared_ptr<CallEvents> events = std::move(call->events);
  events->on_done(status);
}

}  // namespace stet::server
