// Asserts "owned by one thread" in debug builds; costs nothing in release builds.
#pragma once

#include <atomic>
#include <thread>

#include "stet/base/check.h"

namespace stet {

class ThreadChecker {
 public:
  // Binds to the first thread that calls it.
  void check() const {
#ifndef NDEBUG
    std::thread::id none{};
    const std::thread::id self = std::this_thread::get_id();
    if (!owner_.compare_exchange_strong(none, self)) {
      STET_CHECK(none == self, "state used by a thread that does not own it");
    }
#endif
  }
  void detach() {
#ifndef NDEBUG
    owner_.store(std::thread::id{});
#endif
  }

 private:
#ifndef NDEBUG
  mutable std::atomic<std::thread::id> owner_{};
#endif
};

}  // namespace stet
