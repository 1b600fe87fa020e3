// What the daemon's tests share beside process.h: configurations and whole daemons in process.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "stet/daemon/config.h"
#include "stet/daemon/daemon.h"
#include "tests/daemon/process.h"

namespace stet::daemon::testing {

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

std::string stetd_binary();
std::string source_dir();

}  // namespace stet::daemon::testing
