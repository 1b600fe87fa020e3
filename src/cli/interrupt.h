// Ctrl-C ends the running answer; with none running it ends the program. Make it before any other
// thread starts.
#pragma once

#include <csignal>
#include <functional>
#include <thread>

namespace stet::cli {

class InterruptThread {
 public:
  // `cancel` gives false when nothing was running.
  explicit InterruptThread(std::function<bool()> cancel);
  ~InterruptThread();
  InterruptThread(const InterruptThread&) = delete;
  InterruptThread& operator=(const InterruptThread&) = delete;

 private:
  sigset_t signals_{};
  std::thread thread_;
};

}  // namespace stet::cli
