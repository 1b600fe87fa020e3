// The state of a daemon and what was asked of it. Thread-safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>

#include "stet/server/service.h"

namespace stet::daemon {

class Lifecycle {
 public:
  struct DrainRequest {
    uint64_t timeout_ms = 0;
    bool exit_when_done = true;
  };

  server::ServingState state() const;
  void set_state(server::ServingState state);

  // Later calls can only shorten: exit_when_done stays once set, the smaller timeout holds.
  void request_drain(DrainRequest request);
  void request_end();
  bool end_requested() const;

  DrainRequest wait_for_drain();  // blocks until a drain is asked for
  void wait_for_exit();  // blocks until some drain with exit_when_done, or the end, is asked for
  // Waits until `done`, asked again every few milliseconds, or the time is over. True if done. When
  // the end is asked for the time is over at once, unless `despite_end`.
  bool wait_until(const std::function<bool()>& done, uint64_t timeout_ms, bool despite_end = false);
  void pause(uint64_t timeout_ms);  // until the end is asked for

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  server::ServingState state_ = server::ServingState::kStarting;
  bool drain_requested_ = false;
  bool end_requested_ = false;
  DrainRequest drain_;
};

}  // namespace stet::daemon
