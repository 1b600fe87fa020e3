// One line on a terminal that is redrawn while something long goes on; nothing where stderr is no
// terminal. Thread-safe.
#pragma once

#include <mutex>
#include <string>

namespace stet::daemon {

class ProgressLine {
 public:
  explicit ProgressLine(std::string what);
  void show(double fraction);  // 0..1
  void finish();               // clears the line

 private:
  const std::string what_;
  const bool terminal_;
  std::mutex mutex_;
  int shown_percent_ = -1;
};

}  // namespace stet::daemon
