// Is the engine making progress? Not live when work is pending and no step has finished for
// watchdog.stall_ms: never because of load, a drain or a full queue. One thread, one look per tick.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

#include "stet/base/clock.h"
#include "stet/engine/engine.h"

namespace stet::daemon {

// The rule alone, fed with counts and time. External synchronisation.
class StallRule {
 public:
  explicit StallRule(uint64_t stall_us) : stall_us_(stall_us) {}
  bool live(const engine::EngineStats& stats, uint64_t now_us);

 private:
  const uint64_t stall_us_;
  uint64_t num_steps_ = 0;
  uint64_t last_progress_us_ = 0;  // a step finished, or there was nothing to do
};

// Thread-safe.
class Watchdog {
 public:
  // `on_change(live)` is called from the watchdog's thread.
  Watchdog(const engine::Engine* engine, const Clock* clock, uint64_t stall_us, uint64_t tick_us,
           std::function<void(bool)> on_change);
  ~Watchdog();
  bool live() const { return live_.load(std::memory_order_relaxed); }

 private:
  void run();

  const engine::Engine* const engine_;
  const Clock* const clock_;
  const uint64_t tick_us_;
  const std::function<void(bool)> on_change_;
  StallRule rule_;
  std::atomic<bool> live_{true};
  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace stet::daemon
