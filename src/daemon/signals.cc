#include "src/daemon/signals.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>

#include "stet/base/check.h"

namespace stet::daemon {
namespace {

sigset_t handled_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signo : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) {
    sigaddset(&set, signo);
  }
  return set;
}

}  // namespace

void block_signals() {
  const sigset_t set = handled_signals();
  STET_CHECK(pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0, "signals can be blocked");
  std::signal(SIGPIPE, SIG_IGN);
}

SignalThread::SignalThread(std::function<void(int)> on_signal) : on_signal_(std::move(on_signal)) {
  const sigset_t set = handled_signals();
  signal_fd_ = signalfd(-1, &set, SFD_CLOEXEC);
  stop_fd_ = eventfd(0, EFD_CLOEXEC);
  STET_CHECK(signal_fd_ >= 0 && stop_fd_ >= 0, "signalfd and eventfd");
  thread_ = std::thread([this] { run(); });
}

SignalThread::~SignalThread() {
  const uint64_t one = 1;
  STET_CHECK(write(stop_fd_, &one, sizeof one) == sizeof one, "eventfd takes a number");
  thread_.join();
  close(signal_fd_);
  close(stop_fd_);
}

void SignalThread::run() {
  pollfd fds[] = {{signal_fd_, POLLIN, 0}, {stop_fd_, POLLIN, 0}};
  while (true) {
    if (poll(fds, 2, -1) < 0) {
      continue;  // EINTR
    }
    if ((fds[1].revents & POLLIN) != 0) {
      return;
    }
    signalfd_siginfo info{};
    if (read(signal_fd_, &info, sizeof info) == sizeof info) {
      on_signal_(static_cast<int>(info.ssi_signo));
    }
  }
}

}  // namespace stet::daemon
