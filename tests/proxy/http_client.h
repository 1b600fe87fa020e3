// A raw HTTP/1.1 client for tests: sends exactly the bytes it is given, parses answers strictly,
// and never waits for ever.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace stet::proxy::testing {

struct HttpAnswer {
  int status = 0;                              // 0: the connection ended before a whole answer
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // chunks joined
  bool complete = false;                       // ended as its head announced

  std::string header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? "" : found->second;
  }
};

// One connection. Every read fails after 20 s.
class HttpConnection {
 public:
  explicit HttpConnection(uint16_t port, int receive_buffer_bytes = 0);
  ~HttpConnection();
  HttpConnection(HttpConnection&& other) noexcept
      : fd_(other.fd_), buffer_(std::move(other.buffer_)) {
    other.fd_ = -1;
  }

  bool send(std::string_view bytes);  // false: the peer has closed
  // head_only: the answer to HEAD, whose length announces a body that does not come.
  HttpAnswer read_answer(bool head_only = false);
  HttpAnswer request(std::string_view method, std::string_view path, std::string_view body = "",
                     std::string_view extra_headers = "");
  // Reads until `text` is in the raw bytes received so far (and returns them); what was read stays
  // for read_answer.
  std::string read_until(std::string_view text);
  bool read_eof();    // true when the peer closes; bytes before it are thrown away
  void half_close();  // no more from us
  void reset();       // RST
  void close();

 private:
  bool fill();
  int fd_ = -1;
  std::string buffer_;
};

std::string post_text(std::string_view path, std::string_view body,
                      std::string_view extra_headers = "");

// The payloads of `data: ` frames; fails the test on any other line than frames and comments.
std::vector<std::string> sse_frames(std::string_view body);

}  // namespace stet::proxy::testing
