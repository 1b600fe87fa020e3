#include "src/server/prepare_stage.h"

#include <utility>

#include "src/server/call_errors.h"
#include "src/server/prompt.h"

namespace stet::server {
namespace {

// A prompt takes about a millisecond per 10 KiB, so a full queue of usual prompts is gone within a
// second.
constexpr uint64_t kRetryUs = 1'000'000;

}  // namespace

PrepareStage::PrepareStage(const Limits& limits, const Clock* clock, ServerMetrics* metrics,
                           TextStage* text)
    : limits_(limits),
      clock_(clock),
      metrics_(metrics),
      text_(text),
      queue_(SIZE_MAX) {}  // `add` has the bounds

PrepareStage::~PrepareStage() {
  stop();
}

void PrepareStage::start() {
  thread_ = std::jthread([this] { run(); });
}

void PrepareStage::stop() {
  stopping_.store(true);
  queue_.close();
  if (thread_.joinable()) {
    thread_.join();
  }
}

std::optional<ApiError> PrepareStage::add(const CallPtr& call) {
  const uint32_t calls = num_calls_.fetch_add(1) + 1;
  const uint64_t bytes = num_bytes_.fetch_add(call->request_bytes) + call->request_bytes;
  const auto give_back = [&] {
    num_calls_.fetch_sub(1);
    num_bytes_.fetch_sub(call->request_bytes);
  };
  const bool bounded = !call->waits_for_room;
  if (bounded && calls > limits_.max_preparing_calls) {
    give_back();
    return queue_full("requests before tokenisation", limits_.max_preparing_calls, calls, kRetryUs);
  }
  if (bounded && bytes > limits_.max_preparing_bytes) {
    give_back();
    return queue_full("bytes before tokenisation", limits_.max_preparing_bytes, bytes, kRetryUs);
  }
  CallPtr item = call;
  if (!queue_.try_push(std::move(item))) {
    give_back();
    return not_ready(ServingState::kStopped);
  }
  return std::nullopt;
}

void PrepareStage::run() {
  std::vector<CallPtr> calls;
  while (queue_.wait_drain(&calls)) {
    for (CallPtr& call : calls) {
      prepare(call);
      num_calls_.fetch_sub(1);
      num_bytes_.fetch_sub(call->request_bytes);
      call.reset();
    }
  }
}

void PrepareStage::prepare(const CallPtr& call) {
  if (call->cancelled.load()) {
    return;  // the poke that came with it ends the call
  }
  const auto refuse = [&](ApiError error) {
    text_->post_refused(call, error.request_id(call->request_id).build());
  };
  if (stopping_.load()) {
    return refuse(not_ready(ServingState::kStopped));
  }
  if (call->deadline_us != 0 && clock_->now_us() >= call->deadline_us) {
    metrics_->deadline_missed("text");
    return refuse(deadline_passed("before the prompt was tokenised"));
  }
  const ServedModel& model = *call->model;
  PromptTokens tokens = prepare_prompt(model, limits_, model.engine->max_model_len(), &call->spec);
  if (auto* error = std::get_if<google::rpc::Status>(&tokens)) {
    text_->post_refused(call, with_request_id(std::move(*error), call->request_id));
    return;
  }
  text_->post_prepared(call, std::move(std::get<0>(tokens)));
}

}  // namespace stet::server
