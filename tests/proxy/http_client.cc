#include "tests/proxy/http_client.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace stet::proxy::testing {

HttpConnection::HttpConnection(uint16_t port, int receive_buffer_bytes) {
  fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (receive_buffer_bytes > 0) {
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof receive_buffer_bytes);
  }
  const timeval deadline{20, 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
  ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof deadline);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0)
      << std::strerror(errno);
}

HttpConnection::~HttpConnection() {
  close();
}

void HttpConnection::close() {
  if (fd_ >= 0) {
    ::close(fd_);
    fd_ = -1;
  }
}

void HttpConnection::reset() {
  const linger hard{1, 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  close();
}

void HttpConnection::half_close() {
  ::shutdown(fd_, SHUT_WR);
}

bool HttpConnection::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) {
      return false;
    }
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

bool HttpConnection::fill() {
  char chunk[16384];
  const ssize_t received = ::recv(fd_, chunk, sizeof chunk, 0);
  if (received < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
    ADD_FAILURE() << "nothing came for 20 s; so far: " << buffer_.substr(0, 2000);
  }
  if (received <= 0) {
    return false;
  }
  buffer_.append(chunk, static_cast<size_t>(received));
  return true;
}

std::string HttpConnection::read_until(std::string_view text) {
  while (buffer_.find(text) == std::string::npos) {
    if (!fill()) {
      ADD_FAILURE() << "the connection ended without '" << text << "': " << buffer_;
      return buffer_;
    }
  }
  return buffer_;
}

bool HttpConnection::read_eof() {
  while (fill()) {
    buffer_.clear();
  }
  return !::testing::Test::HasFailure();
}

HttpAnswer HttpConnection::read_answer(bool head_only) {
  HttpAnswer answer;
  size_t head_end;
  while ((head_end = buffer_.find("\r\n\r\n")) == std::string::npos) {
    if (!fill()) {
      return answer;
    }
  }
  const std::string head = buffer_.substr(0, head_end + 2);
  buffer_.erase(0, head_end + 4);
  EXPECT_TRUE(head.starts_with("HTTP/1.1 ")) << head;
  answer.status = std::stoi(head.substr(9, 3));
  for (size_t at = head.find("\r\n") + 2; at < head.size();) {
    const size_t end = head.find("\r\n", at);
    const size_t colon = head.find(": ", at);
    std::string name = head.substr(at, colon - at);
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    EXPECT_TRUE(answer.headers.emplace(name, head.substr(colon + 2, end - colon - 2)).second)
        << name << " twice";
    at = end + 2;
  }
  if (answer.status == 100) {
    return read_answer(head_only);
  }
  if (head_only) {
    answer.complete = true;
  } else if (answer.headers.contains("content-length")) {
    const size_t length = std::stoul(answer.headers["content-length"]);
    while (buffer_.size() < length) {
      if (!fill()) {
        answer.body = buffer_;
        return answer;
      }
    }
    answer.body = buffer_.substr(0, length);
    buffer_.erase(0, length);
    answer.complete = true;
  } else if (answer.header("transfer-encoding") == "chunked") {
    for (;;) {
      size_t line_end;
      while ((line_end = buffer_.find("\r\n")) == std::string::npos) {
        if (!fill()) {
          return answer;
        }
      }
      const size_t length = std::stoul(buffer_.substr(0, line_end), nullptr, 16);
      while (buffer_.size() < line_end + 2 + length + 2) {
        if (!fill()) {
          return answer;
        }
      }
      answer.body += buffer_.substr(line_end + 2, length);
      EXPECT_EQ(buffer_.substr(line_end + 2 + length, 2), "\r\n");
      buffer_.erase(0, line_end + 2 + length + 2);
      if (length == 0) {
        answer.complete = true;
        break;
      }
    }
  } else {
    while (fill()) {
    }
    answer.body = std::move(buffer_);
    buffer_.clear();
    answer.complete = true;
  }
  return answer;
}

std::string post_text(std::string_view path, std::string_view body,
                      std::string_view extra_headers) {
  std::string text =
      "POST " + std::string(path) + " HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n";
  text += extra_headers;
  text += "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n";
  text += body;
  return text;
}

HttpAnswer HttpConnection::request(std::string_view method, std::string_view path,
                                   std::string_view body, std::string_view extra_headers) {
  if (method == "POST") {
    send(post_text(path, body, extra_headers));
  } else {
    send(std::string(method) + " " + std::string(path) + " HTTP/1.1\r\nHost: test\r\n" +
         std::string(extra_headers) + "\r\n");
  }
  return read_answer(method == "HEAD");
}

std::vector<std::string> sse_frames(std::string_view body) {
  std::vector<std::string> frames;
  while (!body.empty()) {
    const size_t end = body.find("\n\n");
    if (end == std::string_view::npos) {
      ADD_FAILURE() << "a frame without its end: " << body;
      break;
    }
    const std::string_view frame = body.substr(0, end);
    EXPECT_EQ(frame.find('\n'), std::string_view::npos) << frame;
    if (frame.starts_with("data: ")) {
      frames.emplace_back(frame.substr(6));
    } else {
      EXPECT_EQ(frame, ": keep-alive");
    }
    body.remove_prefix(end + 2);
  }
  return frames;
}

}  // namespace stet::proxy::testing
