#include "tests/daemon/testing.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>

namespace stet::daemon::testing {
namespace {
constexpr auto kPatience = std::chrono::seconds(30);
}

TempDir::TempDir() {
  std::string name = (std::filesystem::temp_directory_path() / "stet-daemon-XXXXXX").string();
  EXPECT_NE(mkdtemp(name.data()), nullptr);
  path_ = name;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TempDir::write(std::string_view name, std::string_view content) const {
  std::ofstream(file(name), std::ios::binary) << content;
  return file(name);
}

std::string TempDir::write_model(std::string_view name,
                                 const stet::testing::TinyModelSpec& spec) const {
  const std::vector<std::byte> bytes = stet::testing::make_tiny_gguf(spec);
  return write(name, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

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

Process::Process(const std::string& binary, const std::vector<std::string>& args,
                 const Variables& environment) {
  int out[2], err[2];
  EXPECT_EQ(pipe2(out, O_CLOEXEC), 0);
  EXPECT_EQ(pipe2(err, O_CLOEXEC), 0);
  std::vector<std::string> words = {binary};
  words.insert(words.end(), args.begin(), args.end());
  std::vector<char*> argv;
  for (std::string& word : words) {
    argv.push_back(word.data());
  }
  argv.push_back(nullptr);
  std::vector<std::string> variables = {"PATH=/usr/bin:/bin"};
  for (const auto& [name, value] : environment) {
    variables.push_back(name + "=" + value);
  }
  std::vector<char*> envp;
  for (std::string& variable : variables) {
    envp.push_back(variable.data());
  }
  envp.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  posix_spawn_file_actions_adddup2(&actions, err[1], 2);
  EXPECT_EQ(posix_spawn(&pid_, binary.c_str(), &actions, nullptr, argv.data(), envp.data()), 0)
      << binary;
  posix_spawn_file_actions_destroy(&actions);
  close(out[1]);
  close(err[1]);
  out_fd_ = out[0];
  err_fd_ = err[0];
}

Process::~Process() {
  if (!waited_ && pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  close(out_fd_);
  close(err_fd_);
}

bool Process::read_some(int timeout_ms) {
  pollfd fds[] = {{out_fd_, POLLIN, 0}, {err_fd_, POLLIN, 0}};
  if (poll(fds, 2, timeout_ms) <= 0) {
    return false;
  }
  bool any = false;
  for (int i = 0; i < 2; ++i) {
    char buffer[4096];
    if (fds[i].revents != 0) {
      const ssize_t n = read(fds[i].fd, buffer, sizeof buffer);
      if (n > 0) {
        (i == 0 ? out_ : err_).append(buffer, static_cast<size_t>(n));
        any = true;
      }
    }
  }
  return any;
}

bool Process::wait_for_line(std::string_view part, std::string* line) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (std::chrono::steady_clock::now() < deadline) {
    const size_t at = err_.find(part);
    const size_t end = at == std::string::npos ? at : err_.find('\n', at);
    if (end != std::string::npos) {
      if (line != nullptr) {
        const size_t begin = err_.rfind('\n', at);
        const size_t from = begin == std::string::npos ? 0 : begin + 1;
        *line = err_.substr(from, end - from);
      }
      return true;
    }
    if (!read_some(1000) && waitpid(pid_, nullptr, WNOHANG) != 0) {
      waited_ = true;
      break;
    }
  }
  ADD_FAILURE() << "no line with '" << part << "' in:\n" << err_;
  return false;
}

void Process::signal(int signo) const {
  kill(pid_, signo);
}

int Process::wait() {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (read_some(30'000) && std::chrono::steady_clock::now() < deadline) {
  }
  int status = 0;
  if (waitpid(pid_, &status, 0) != pid_) {
    ADD_FAILURE() << "the process is gone";
    return -1;
  }
  waited_ = true;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string stetd_binary() {
  return STETD_BINARY;
}
std::string source_dir() {
  return STET_SOURCE_DIR;
}

}  // namespace stet::daemon::testing
