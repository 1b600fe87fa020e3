#include "tests/daemon/testing.h"

#include <gtest/gtest.h>

namespace stet::daemon::testing {

CommandLine load(std::initializer_list<std::string> args, const Variables& environment) {
  const std::vector<std::string> list(args);
  return load_config(list, environment);
}

std::vector<std::string> errors_of(const CommandLine& line) {
  std::vector<std::string> texts;
  for (const ConfigError& error : line.errors) {
    texts.push_back(error.to_string());
  }
  return texts;
}

RunningDaemon::RunningDaemon(std::vector<std::string> extra_args) {
  std::vector<std::string> args = {"--model",   dir_.write_model("tiny.gguf", {}),
                                   "--grpc",    "127.0.0.1:0",
                                   "--openai",  "127.0.0.1:0",
                                   "--threads", "1"};
  args.insert(args.end(), extra_args.begin(), extra_args.end());
  CommandLine line = load_config(args, {});
  EXPECT_EQ(errors_of(line), std::vector<std::string>{});
  daemon_ = Daemon::create(std::move(line.config), {});
  const auto failure = daemon_->start();
  EXPECT_FALSE(failure.has_value()) << failure->message;
  waiter_ = std::thread([this] { code_ = daemon_->wait(); });
}

RunningDaemon::~RunningDaemon() {
  if (waiter_.joinable()) {
    daemon_->begin_drain();
    daemon_->end_now();
    waiter_.join();
  }
}

uint16_t RunningDaemon::http_port() const {
  const std::string address = daemon_->openai_address();
  return static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1)));
}

ExitCode RunningDaemon::join() {
  waiter_.join();
  return code_;
}

std::string stetd_binary() {
  return STETD_BINARY;
}
std::string source_dir() {
  return STET_SOURCE_DIR;
}

}  // namespace stet::daemon::testing
