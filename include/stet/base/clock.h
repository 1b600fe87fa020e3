// Injected time. Everything that decides by time takes a Clock, so that tests and the simulator own
// it.
#pragma once

#include <atomic>
#include <cstdint>

namespace stet {

// Monotonic microseconds since an arbitrary origin. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual uint64_t now_us() const = 0;
};

class SteadyClock final : public Clock {
 public:
  uint64_t now_us() const override;
};

// Moves only when told. Thread-safe.
class ManualClock final : public Clock {
 public:
  uint64_t now_us() const override { return now_us_.load(std::memory_order_relaxed); }
  void advance_us(uint64_t delta) { now_us_.fetch_add(delta, std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> now_us_{0};
};

int64_t wall_clock_unix_ms();  // for `created` and log stamps only, never for decisions

}  // namespace stet
