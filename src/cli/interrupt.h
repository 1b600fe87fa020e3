// Ctrl-C ends the running answer; with none running it ends the program. Make it before any other
// thread starts.
#pragma once

#include <atomic>
#include <csignal>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "src/cli/client.h"

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

// A client whose running call Ctrl-C ends.
class InterruptedClient {
 public:
  explicit InterruptedClient(std::string address)
      : interrupt_([this] {
          Client* const client = running_.load();
          return client != nullptr && client->cancel();
        }) {
    running_ = &client_.emplace(std::move(address));
  }
  Client& client() { return *client_; }

 private:
  std::optional<Client> client_;  // made after the thread that takes the signals, gone after it
  std::atomic<Client*> running_{nullptr};
  const InterruptThread interrupt_;
};

}  // namespace stet::cli
