#include "src/daemon/lifecycle.h"

#include <algorithm>

namespace stet::daemon {
namespace {
// While draining, calls are counted this often: nobody waits on the moment the last one ends.
constexpr std::chrono::milliseconds kDrainTick{5};
}  // namespace

server::ServingState Lifecycle::state() const {
  std::lock_guard lock(mutex_);
  return state_;
}

void Lifecycle::set_state(server::ServingState state) {
  std::lock_guard lock(mutex_);
  state_ = state;
}

void Lifecycle::request_drain(DrainRequest request) {
  {
    std::lock_guard lock(mutex_);
    if (drain_requested_) {
      request.exit_when_done |= drain_.exit_when_done;
      request.timeout_ms = std::min(request.timeout_ms, drain_.timeout_ms);
    }
    drain_ = request;
    drain_requested_ = true;
  }
  changed_.notify_all();
}

void Lifecycle::request_end() {
  {
    std::lock_guard lock(mutex_);
    end_requested_ = true;
    drain_requested_ = true;
    drain_.exit_when_done = true;
  }
  changed_.notify_all();
}

bool Lifecycle::end_requested() const {
  std::lock_guard lock(mutex_);
  return end_requested_;
}

Lifecycle::DrainRequest Lifecycle::wait_for_drain() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return drain_requested_; });
  return drain_;
}

void Lifecycle::wait_for_exit() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return end_requested_ || drain_.exit_when_done; });
}

bool Lifecycle::wait_until(const std::function<bool()>& done, uint64_t timeout_ms,
                           bool despite_end) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  std::unique_lock lock(mutex_);
  while (true) {
    lock.unlock();
    const bool is_done = done();
    lock.lock();
    if (is_done || (end_requested_ && !despite_end) ||
        std::chrono::steady_clock::now() >= deadline) {
      return is_done;
    }
    changed_.wait_for(lock, kDrainTick);
  }
}

void Lifecycle::pause(uint64_t timeout_ms) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms), [&] { return end_requested_; });
}

}  // namespace stet::daemon
