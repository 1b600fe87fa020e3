// Signals as events on a thread of their own (signalfd): no handler ever interrupts a computation.
#pragma once

#include <functional>
#include <thread>

namespace stet::daemon {

// Blocks TERM, INT, HUP and USR1 for the calling thread and all it starts from now on, ignores
// PIPE. Before any thread.
void block_signals();

// Calls `on_signal(signo)` on its thread for each. The destructor joins.
class SignalThread {
 public:
  explicit SignalThread(std::function<void(int)> on_signal);
  ~SignalThread();
  SignalThread(const SignalThread&) = delete;
  SignalThread& operator=(const SignalThread&) = delete;

 private:
  void run();

  const std::function<void(int)> on_signal_;
  int signal_fd_ = -1;
  int stop_fd_ = -1;
  std::thread thread_;
};

}  // namespace stet::daemon
