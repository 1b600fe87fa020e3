#include "tests/daemon/process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
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

Process::Process(const std::string& binary, const std::vector<std::string>& args,
                 const Variables& environment, const std::string& stdin_path) {
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
  posix_spawn_file_actions_addopen(&actions, 0, stdin_path.c_str(), O_RDONLY, 0);
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
  if (!status_ && pid_ > 0) {
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
    int status = 0;
    if (!read_some(1000) && waitpid(pid_, &status, WNOHANG) == pid_) {
      status_ = status;
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
  if (!status_) {
    int status = 0;
    if (std::chrono::steady_clock::now() >= deadline) {
      ADD_FAILURE() << "still running after 30 s; stderr so far:\n" << err_;
      kill(pid_, SIGKILL);
    }
    EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
    status_ = status;
  }
  return WIFEXITED(*status_) ? WEXITSTATUS(*status_) : 128 + WTERMSIG(*status_);
}

}  // namespace stet::daemon::testing
