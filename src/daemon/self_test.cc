#include "src/daemon/self_test.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <map>

namespace stet::daemon {
namespace {

constexpr uint32_t kPromptTokens = 40;  // shorter than a block: the prefix cache has no part in it
constexpr uint32_t kOutputTokens = 6;
constexpr uint32_t kTopLogprobs = 5;
constexpr uint64_t kTimeoutUs = 120'000'000;

Request canary(uint32_t vocab_size, uint32_t max_model_len) {
  Request request;
  request.name = "self-test";
  const uint32_t num_prompt = std::max(1u, std::min(kPromptTokens, max_model_len / 2));
  for (uint32_t i = 0; i < num_prompt; ++i) {
    request.prompt_token_ids.push_back((13 + i * 7919) % vocab_size);
  }
  request.sampling.temperature = 0.0f;
  request.sampling.max_tokens = std::min(kOutputTokens, std::max(1u, max_model_len / 4));
  request.sampling.num_logprobs = std::min(kTopLogprobs, vocab_size);
  return request;
}

// Token ids and log-probabilities of one request, as bits.
using Bits = std::vector<uint32_t>;

Status collect(const std::vector<engine::EngineEvent>& events, std::map<uint64_t, Bits>* answers) {
  for (const engine::EngineEvent& event : events) {
    if (event.kind == engine::EngineEventKind::kRequestEnded && !event.status.ok()) {
      const std::string message =
          "self-test: the canary request ended with " + event.status.to_string();
      return event.error_reason == "non_finite" ? data_loss(message) : internal_error(message);
    }
    Bits& bits = (*answers)[event.request.v];
    for (const engine::EngineToken& token : event.tokens) {
      bits.push_back(token.token_id);
      bits.push_back(std::bit_cast<uint32_t>(token.logprob));
      for (const TopLogprob& top : token.top) {
        bits.push_back(top.token_id);
        bits.push_back(std::bit_cast<uint32_t>(top.logprob));
      }
    }
  }
  return {};
}

}  // namespace

void SinkSwitch::on_events(std::vector<engine::EngineEvent> events) {
  if (forwarding_.load(std::memory_order_acquire)) {
    service_->on_events(std::move(events));
    return;
  }
  {
    std::lock_guard lock(mutex_);
    for (engine::EngineEvent& event : events) {
      num_ended_ += event.kind == engine::EngineEventKind::kRequestEnded ? 1 : 0;
      kept_.push_back(std::move(event));
    }
  }
  changed_.notify_one();
}

std::vector<engine::EngineEvent> SinkSwitch::take_ended(size_t num_requests, uint64_t timeout_us) {
  std::unique_lock lock(mutex_);
  const bool ended = changed_.wait_for(lock, std::chrono::microseconds(timeout_us),
                                       [&] { return num_ended_ >= num_requests; });
  std::vector<engine::EngineEvent> events;
  if (ended) {
    events.swap(kept_);
    num_ended_ = 0;
  }
  return events;
}

void SinkSwitch::forward() {
  forwarding_.store(true, std::memory_order_release);
}

Status run_self_test(engine::Engine* engine, SinkSwitch* sink, uint32_t vocab_size) {
  std::map<uint64_t, Bits> answers;
  for (const size_t num_requests : {size_t{1}, size_t{2}}) {  // alone, then in company
    for (size_t i = 0; i < num_requests; ++i) {
      const engine::Submission submission =
          engine->submit(canary(vocab_size, engine->max_model_len()));
      if (submission.refusal != engine::Refusal::kNone) {
        return internal_error("self-test: the engine refused the canary request");
      }
    }
    const std::vector<engine::EngineEvent> events = sink->take_ended(num_requests, kTimeoutUs);
    if (events.empty()) {
      return internal_error("self-test: no answer within " +
                            std::to_string(kTimeoutUs / 1'000'000) + " s");
    }
    STET_RETURN_IF_ERROR(collect(events, &answers));
  }
  const Bits& first = answers.begin()->second;
  for (const auto& [id, bits] : answers) {
    if (bits.empty() || bits != first) {
      return internal_error(
          "self-test: the same prompt gave different bits: this machine computes wrongly, or the "
          "build "
          "does; try --isa scalar");
    }
  }
  return {};
}

}  // namespace stet::daemon
