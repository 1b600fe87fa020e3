// A bounded multi-producer queue of values with one wake-up per push. Thread-safe.
// Cost: one short mutex hold per push or drain. Trap: push never blocks; a full queue is the
// caller's answer to give.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

namespace stet {

template <class T>
class BoundedQueue {
 public:
  explicit BoundedQueue(size_t capacity) : capacity_(capacity) {}

  // False when full or closed; `value` is left untouched then.
  [[nodiscard]] bool try_push(T&& value) {
    {
      std::lock_guard lock(mutex_);
      if (closed_ || items_.size() >= capacity_) {
        return false;
      }
      items_.push_back(std::move(value));
    }
    ready_.notify_one();
    return true;
  }

  // Takes all items at once into `out` (cleared first). Never blocks.
  void drain(std::vector<T>* out) {
    out->clear();
    std::lock_guard lock(mutex_);
    std::swap(*out, items_);
  }

  // Waits until there is an item, the queue is closed, wake() is called or the time is over; then
  // drains. `timeout_us` = UINT64_MAX waits without limit. False when closed and empty.
  bool wait_drain(std::vector<T>* out, uint64_t timeout_us = UINT64_MAX) {
    out->clear();
    std::unique_lock lock(mutex_);
    auto ready = [&] { return !items_.empty() || closed_ || woken_; };
    if (timeout_us == UINT64_MAX) {
      ready_.wait(lock, ready);
    } else {
      ready_.wait_for(lock, std::chrono::microseconds(timeout_us), ready);
    }
    woken_ = false;
    std::swap(*out, items_);
    return !(closed_ && out->empty());
  }

  void wake() {
    {
      std::lock_guard lock(mutex_);
      woken_ = true;
    }
    ready_.notify_one();
  }

  void close() {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
    }
    ready_.notify_all();
  }

  size_t size() const {
    std::lock_guard lock(mutex_);
    return items_.size();
  }
  size_t capacity() const { return capacity_; }

 private:
  const size_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable ready_;
  std::vector<T> items_;
  bool closed_ = false;
  bool woken_ = false;
};

}  // namespace stet
