// Temporary folders and real binaries as processes, for the tests of stetd and of stet.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/support/tiny_gguf.h"

namespace stet::daemon::testing {

// Removed with everything in it at the end of the test.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  std::string file(std::string_view name) const { return path_ + "/" + std::string(name); }
  std::string write(std::string_view name,
                    std::string_view content) const;  // gives the file's path
  std::string write_model(std::string_view name, const stet::testing::TinyModelSpec& spec) const;

 private:
  std::string path_;
};

using Variables = std::vector<std::pair<std::string, std::string>>;

// A child process with its output in pipes. Every wait fails the test after 30 s instead of
// hanging.
class Process {
 public:
  Process(const std::string& binary, const std::vector<std::string>& args,
          const Variables& environment = {}, const std::string& stdin_path = "/dev/null");
  ~Process();  // kills what still runs
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  bool wait_for_line(std::string_view part, std::string* line = nullptr);  // on stderr
  void signal(int signo) const;
  int wait();  // exit code; 128 + signal when killed by one
  const std::string& out() const { return out_; }
  const std::string& err() const { return err_; }

 private:
  bool read_some(int timeout_ms);  // false: both pipes are closed, or the time is over
  pid_t pid_ = -1;
  int out_fd_ = -1, err_fd_ = -1;
  std::string out_, err_;
  std::optional<int> status_;  // of waitpid
};

}  // namespace stet::daemon::testing
