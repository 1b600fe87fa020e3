// An EngineCore over a FakeBackend and a clock that moves by steps, and a sink that holds what
// every client would have seen.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "src/engine/engine_core.h"
#include "stet/executor/fake_backend.h"

namespace stet::engine {

struct SeenChoice {
  std::vector<uint32_t> token_ids;
  std::vector<EngineToken> tokens;
  bool finished = false;
  FinishReason reason = FinishReason::kStop;
  int64_t stop_token_id = -1;
};
struct SeenRequest {
  std::map<uint32_t, SeenChoice> choices;
  uint32_t num_ends = 0;
  EngineEvent end;
};

// Checks the order of events as it takes them. Thread-safe.
class SeenSink final : public EventSink {
 public:
  void on_events(std::vector<EngineEvent> events) override {
    std::lock_guard lock(mutex_);
    ++num_calls_;
    for (EngineEvent& event : events) {
      take(std::move(event));
    }
  }
  SeenRequest request(RequestId id) const {
    std::lock_guard lock(mutex_);
    const auto it = seen_.find(id);
    return it == seen_.end() ? SeenRequest() : it->second;
  }
  size_t num_ended() const {
    std::lock_guard lock(mutex_);
    return num_ended_;
  }
  uint64_t num_calls() const { return num_calls_; }
  size_t num_rooms() const {  // kQueueRoom events
    std::lock_guard lock(mutex_);
    return num_rooms_;
  }
  std::vector<std::string> faults() const {
    std::lock_guard lock(mutex_);
    return faults_;
  }

 private:
  void take(EngineEvent event) {
    if (event.kind == EngineEventKind::kQueueRoom) {
      ++num_rooms_;
      return;
    }
    SeenRequest& r = seen_[event.request];
    if (r.num_ends != 0) {
      faults_.push_back("an event after the end of a request");
    }
    if (event.kind == EngineEventKind::kRequestEnded) {
      ++r.num_ends;
      ++num_ended_;
      r.end = std::move(event);
      return;
    }
    SeenChoice& c = r.choices[event.choice];
    if (c.finished) {
      faults_.push_back("an event after the end of a choice");
    }
    if (c.token_ids.empty()) {
      first_pos_[{event.request, event.choice}] = event.first_output_pos;
    }
    if (event.first_output_pos != first_pos_[{event.request, event.choice}] + c.token_ids.size()) {
      faults_.push_back("a gap in a choice's tokens");
    }
    for (EngineToken& token : event.tokens) {
      c.token_ids.push_back(token.token_id);
      c.tokens.push_back(std::move(token));
    }
    if (event.kind == EngineEventKind::kChoiceFinished) {
      c.finished = true;
      c.reason = event.reason;
      c.stop_token_id = event.stop_token_id;
    }
  }

  mutable std::mutex mutex_;
  std::map<RequestId, SeenRequest> seen_;
  std::map<std::pair<RequestId, uint32_t>, uint32_t> first_pos_;
  std::vector<std::string> faults_;
  size_t num_ended_ = 0;
  size_t num_rooms_ = 0;
  uint64_t num_calls_ = 0;
};

inline executor::FakeOptions small_fake(ManualClock* clock) {
  return {.num_blocks = 16,
          .block_tokens = 64,
          .max_model_len = 512,
          .max_step_tokens = 128,
          .max_sequences = 16,
          .step_us = 1000,
          .clock = clock,
          .on_violation = {}};
}

inline Request make_request(uint32_t prompt_len, uint32_t max_tokens, uint32_t salt = 0) {
  Request request;
  for (uint32_t i = 0; i < prompt_len; ++i) {
    request.prompt_token_ids.push_back((salt * 1000003 + i * 7919) % 997);
  }
  request.sampling.max_tokens = max_tokens;
  request.sampling.seed = salt;
  return request;
}

struct CoreHarness {
  explicit CoreHarness(EngineOptions options = {}, executor::FakeOptions fake = {}) {
    fake.clock = &clock;
    backend = std::make_unique<executor::FakeBackend>(std::move(fake));
    Result<std::unique_ptr<EngineCore>> made = EngineCore::create({.backend = backend.get(),
                                                                   .sink = &sink,
                                                                   .clock = &clock,
                                                                   .metrics = &metrics,
                                                                   .options = std::move(options),
                                                                   .kv = nullptr});
    STET_CHECK(made.ok(), made.status().message().c_str());
    core = std::move(made).value();
  }
  static CoreHarness* small(EngineOptions options = {}) {
    return new CoreHarness(std::move(options), small_fake(nullptr));
  }
  // Steps until idle; the number of steps.
  uint32_t run() {
    uint32_t steps = 0;
    while (core->step()) {
      ++steps;
      STET_CHECK(steps < 100'000, "the run ends");
    }
    return steps;
  }
  SeenRequest seen(RequestId id) const { return sink.request(id); }

  ManualClock clock;
  obs::Metrics metrics;
  SeenSink sink;
  std::unique_ptr<executor::FakeBackend> backend;
  std::unique_ptr<EngineCore> core;
};

using Harness = std::unique_ptr<CoreHarness>;
inline Harness small(EngineOptions options = {}) {
  return Harness(CoreHarness::small(std::move(options)));
}

}  // namespace stet::engine
