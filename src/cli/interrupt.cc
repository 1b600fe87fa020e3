#include "src/cli/interrupt.h"

#include <unistd.h>

namespace stet::cli {
namespace {
constexpr int kStop = SIGUSR2;                  // from the destructor
constexpr int kExitInterrupted = 128 + SIGINT;  // as shells report it
}  // namespace

InterruptThread::InterruptThread(std::function<bool()> cancel) {
  sigemptyset(&signals_);
  sigaddset(&signals_, SIGINT);
  sigaddset(&signals_, kStop);
  pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  thread_ = std::thread([this, cancel = std::move(cancel)] {
    int signo = 0;
    while (sigwait(&signals_, &signo) == 0 && signo != kStop) {
      if (!cancel()) {
        _exit(kExitInterrupted);
      }
    }
  });
}

InterruptThread::~InterruptThread() {
  pthread_kill(thread_.native_handle(), kStop);
  thread_.join();
}

}  // namespace stet::cli
