#include "src/daemon/watchdog.h"

#include <chrono>

namespace stet::daemon {

bool StallRule::live(const engine::EngineStats& stats, uint64_t now_us) {
  const bool pending = stats.num_running + stats.num_waiting > 0;
  if (!pending || stats.num_steps != num_steps_ || last_progress_us_ == 0) {
    num_steps_ = stats.num_steps;
    last_progress_us_ = now_us;
  }
  return now_us - last_progress_us_ < stall_us_;
}

Watchdog::Watchdog(const engine::Engine* engine, const Clock* clock, uint64_t stall_us,
                   uint64_t tick_us, std::function<void(bool)> on_change)
    : engine_(engine),
      clock_(clock),
      tick_us_(tick_us),
      on_change_(std::move(on_change)),
      rule_(stall_us),
      thread_([this] { run(); }) {}

Watchdog::~Watchdog() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  stopped_.notify_one();
  thread_.join();
}

void Watchdog::run() {
  std::unique_lock lock(mutex_);
  while (!stopped_.wait_for(lock, std::chrono::microseconds(tick_us_), [&] { return stop_; })) {
    const bool live = rule_.live(engine_->stats(), clock_->now_us());
    if (live_.exchange(live) != live) {
      on_change_(live);
    }
  }
}

}  // namespace stet::daemon
