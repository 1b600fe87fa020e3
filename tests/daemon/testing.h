// What the daemon's tests share: temporary folders, tiny models, whole daemons in process, real
// binaries as processes.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "stet/daemon/config.h"
#include "stet/daemon/daemon.h"
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
CommandLine load(std::initializer_list<std::string> args, const Variables& environment = {});
// The texts of all errors.
std::vector<std::string> errors_of(const CommandLine& line);

// A daemon on free ports over a tiny model, READY; drained at the end if the test has not done it.
class RunningDaemon {
 public:
  explicit RunningDaemon(std::vector<std::string> extra_args = {});
  ~RunningDaemon();
  Daemon* operator->() { return daemon_.get(); }
  uint16_t http_port() const;
  std::string grpc() const { return daemon_->grpc_address(); }
  ExitCode join();  // waits for the end of a drain that was asked for

 private:
  TempDir dir_;
  std::unique_ptr<Daemon> daemon_;
  std::thread waiter_;
  ExitCode code_ = ExitCode::kInternal;
};

// A child process with its output in pipes. Every wait fails the test after 30 s instead of
// hanging.
class Process {
 public:
  Process(const std::string& binary, const std::vector<std::string>& args,
          const Variables& environment = {});
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
  bool waited_ = false;
};

std::string stetd_binary();
std::string source_dir();

}  // namespace stet::daemon::testing
