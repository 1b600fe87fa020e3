#include "src/engine/inbox.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "src/engine/request_state.h"

namespace stet::engine {
namespace {
constexpr double kPaceWeight = 0.1;  // of the newest interval in the mean
constexpr uint64_t kMinRetryUs = 1'000'000, kMaxRetryUs = 60'000'000;  // operations.md sec. 6
}  // namespace

// Forecast of when the queue has room for those that wait: the surplus leaves at the mean pace.
Submission Inbox::refuse_full(uint64_t limit, uint64_t requested) const {
  const double surplus =
      static_cast<double>(num_requests_) -
      static_cast<double>(kWaitingSharePercent) / 100 * static_cast<double>(limits_.max_requests);
  const auto forecast = static_cast<uint64_t>(std::max(surplus, 1.0) * mean_interval_us_);
  return {.refusal = Refusal::kQueueFull,
          .limit = limit,
          .requested = requested,
          .retry_after_us = std::clamp(forecast, kMinRetryUs, kMaxRetryUs)};
}

Inbox::Inbox(const InboxLimits& limits)
    : limits_(limits),
      waiting_limits_({.max_requests = limits.max_requests * kWaitingSharePercent / 100,
                       .max_prompt_tokens = limits.max_prompt_tokens * kWaitingSharePercent / 100,
                       .max_total_tokens = limits.max_total_tokens}) {}

Submission Inbox::submit(Request request, uint64_t now_us) {
  return take_slot(std::move(request), limits_, now_us);
}

Submission Inbox::submit_or_wait(Request request, uint64_t now_us) {
  return take_slot(std::move(request), waiting_limits_, now_us);
}

// An empty queue takes any request: otherwise one larger than a bound could never be served.
Submission Inbox::check_room(uint64_t num_choices, uint64_t prompt_tokens,
                             const InboxLimits& limits) const {
  if (num_requests_ > 0 && num_requests_ + num_choices > limits.max_requests) {
    return refuse_full(limits.max_requests, num_requests_ + num_choices);
  }
  if (num_requests_ > 0 && num_prompt_tokens_ + prompt_tokens > limits.max_prompt_tokens) {
    return refuse_full(limits.max_prompt_tokens, num_prompt_tokens_ + prompt_tokens);
  }
  return {};
}

Submission Inbox::take_slot(Request request, const InboxLimits& limits, uint64_t now_us) {
  const uint64_t prompt_tokens = request.prompt_token_ids.size();
  const uint64_t total_tokens = prompt_tokens + request.sampling.max_tokens;
  if (total_tokens > limits.max_total_tokens) {
    return {.refusal = Refusal::kNeverFits,
            .limit = limits.max_total_tokens,
            .requested = total_tokens};
  }
  Submission submission;
  {
    std::lock_guard lock(mutex_);
    if (closed_ != Refusal::kNone) {
      return {.refusal = closed_};
    }
    submission = check_room(request.num_choices, prompt_tokens, limits);
    if (submission.refusal != Refusal::kNone) {
      room_wanted_ = room_wanted_ || &limits == &waiting_limits_;
      return submission;
    }
    num_requests_ += request.num_choices;
    num_prompt_tokens_ += prompt_tokens;
    submission.id = request.id = RequestId{next_id_++};
    commands_.push_back({.kind = CommandKind::kSubmit,
                         .request_id = submission.id,
                         .request = std::make_unique<Request>(std::move(request)),
                         .at_us = now_us});
  }
  ready_.notify_one();
  return submission;
}

void Inbox::push(Command command) {
  {
    std::lock_guard lock(mutex_);
    if (closed_ == Refusal::kStopped && command.kind != CommandKind::kAbortAll) {
      return;
    }
    commands_.push_back(std::move(command));
  }
  ready_.notify_one();
}

void Inbox::close(Refusal refusal) {
  {
    std::lock_guard lock(mutex_);
    closed_ = closed_ == Refusal::kStopped ? closed_ : refusal;
  }
  ready_.notify_one();
}

void Inbox::drain(std::vector<Command>* out) {
  out->clear();
  std::lock_guard lock(mutex_);
  std::swap(*out, commands_);
}

void Inbox::wait(uint64_t timeout_us) {
  std::unique_lock lock(mutex_);
  const auto ready = [&] { return !commands_.empty() || woken_; };
  if (timeout_us == UINT64_MAX) {
    ready_.wait(lock, ready);
  } else {
    ready_.wait_for(lock, std::chrono::microseconds(timeout_us), ready);
  }
  woken_ = false;
}

void Inbox::wake() {
  {
    std::lock_guard lock(mutex_);
    woken_ = true;
  }
  ready_.notify_one();
}

Refusal Inbox::closed() const {
  std::lock_guard lock(mutex_);
  return closed_;
}

bool Inbox::free_slot(const RequestState& state, uint64_t now_us) {
  std::lock_guard lock(mutex_);
  num_requests_ -= state.request.num_choices;
  num_prompt_tokens_ -= state.prompt_len;
  if (last_freed_us_ != 0) {
    const auto interval = static_cast<double>(now_us - last_freed_us_);
    mean_interval_us_ = mean_interval_us_ == 0.0
                            ? interval
                            : (1.0 - kPaceWeight) * mean_interval_us_ + kPaceWeight * interval;
  }
  last_freed_us_ = now_us;
  // For the smallest request: a larger one asks again and is told again, at the latest when the
  // queue is empty.
  const bool room = check_room(1, 1, waiting_limits_).refusal == Refusal::kNone;
  return room && std::exchange(room_wanted_, false);
}

uint64_t Inbox::num_queued_prompt_tokens() const {
  std::lock_guard lock(mutex_);
  return num_prompt_tokens_;
}

}  // namespace stet::engine
