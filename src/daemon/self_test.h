// The canary: before READY the real engine answers one fixed prompt alone and again in company.
// Equal bits or no start.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <vector>

#include "stet/base/status.h"
#include "stet/engine/engine.h"

namespace stet::daemon {

// The engine's sink: keeps events for the self-test first, hands them to the service ever after.
// Thread-safe.
class SinkSwitch final : public engine::EventSink {
 public:
  explicit SinkSwitch(engine::EventSink* service) : service_(service) {}
  void on_events(std::vector<engine::EngineEvent> events) override;
  // Waits until `num_requests` have ended and gives all events so far; empty when `timeout_us` is
  // over first.
  std::vector<engine::EngineEvent> take_ended(size_t num_requests, uint64_t timeout_us);
  void forward();  // from now on everything goes to the service; nothing may be in flight

 private:
  engine::EventSink* const service_;
  std::atomic<bool> forwarding_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<engine::EngineEvent> kept_;
  size_t num_ended_ = 0;
};

// DATA_LOSS: the model gives non-finite numbers. INTERNAL: bits differ, or no answer came.
Status run_self_test(engine::Engine* engine, SinkSwitch* sink, uint32_t vocab_size);

}  // namespace stet::daemon
