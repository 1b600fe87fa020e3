#include "src/daemon/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace stet::daemon {

ProgressLine::ProgressLine(std::string what)
    : what_(std::move(what)), terminal_(isatty(STDERR_FILENO) == 1) {}

void ProgressLine::show(double fraction) {
  if (!terminal_) {
    return;
  }
  const int percent = static_cast<int>(std::clamp(fraction, 0.0, 1.0) * 100);
  std::lock_guard lock(mutex_);
  if (percent > shown_percent_) {
    shown_percent_ = percent;
    std::fprintf(stderr, "\r%s %3d %%", what_.c_str(), percent);
  }
}

void ProgressLine::finish() {
  std::lock_guard lock(mutex_);
  if (shown_percent_ >= 0) {
    std::fprintf(stderr, "\r\033[K");
    shown_percent_ = -1;
  }
}

}  // namespace stet::daemon
