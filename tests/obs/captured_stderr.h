// Descriptor 2 led elsewhere for the length of a test: to a file, a pipe or a terminal.
#pragma once

#include <fcntl.h>
#include <pty.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <string>

#include "stet/base/check.h"

namespace stet::obs::testing {

class StderrTo {
 public:
  explicit StderrTo(int fd) : saved_(dup(STDERR_FILENO)) {
    STET_CHECK(saved_ >= 0 && dup2(fd, STDERR_FILENO) == STDERR_FILENO, "descriptors");
  }
  ~StderrTo() { restore(); }
  StderrTo(const StderrTo&) = delete;
  StderrTo& operator=(const StderrTo&) = delete;
  void restore() {
    if (saved_ >= 0) {
      dup2(saved_, STDERR_FILENO);
      close(saved_);
      saved_ = -1;
    }
  }

 private:
  int saved_;
};

// A file without a name.
class TempFile {
 public:
  TempFile() : file_(std::tmpfile()) { STET_CHECK(file_ != nullptr, "a temporary file"); }
  ~TempFile() { std::fclose(file_); }
  TempFile(const TempFile&) = delete;
  TempFile& operator=(const TempFile&) = delete;
  int fd() const { return fileno(file_); }
  std::string read() const {
    std::string text;
    std::array<char, 4096> buffer;
    ssize_t n = 0;
    while ((n = pread(fd(), buffer.data(), buffer.size(), static_cast<off_t>(text.size()))) > 0) {
      text.append(buffer.data(), static_cast<size_t>(n));
    }
    return text;
  }

 private:
  std::FILE* const file_;
};

// Two ends of a pipe or of a terminal; closed at the end.
struct Ends {
  int read_fd = -1, write_fd = -1;
  ~Ends() {
    close_write();
    close(read_fd);
  }
  void close_write() {
    if (write_fd >= 0) {
      close(write_fd);
      write_fd = -1;
    }
  }
  static void make_pipe(Ends* ends) {
    int fds[2];
    STET_CHECK(pipe2(fds, O_CLOEXEC) == 0, "a pipe");
    ends->read_fd = fds[0];
    ends->write_fd = fds[1];
  }
  static void make_terminal(Ends* ends) {
    STET_CHECK(openpty(&ends->read_fd, &ends->write_fd, nullptr, nullptr, nullptr) == 0,
               "a terminal");
  }
};

}  // namespace stet::obs::testing
