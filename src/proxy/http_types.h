// What a handler sees of a request and what it may say to its connection. No Beast, no Asio.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stet::proxy {

using HeaderList = std::vector<std::pair<std::string_view, std::string>>;

struct HttpRequest {
  std::string method;
  std::string path;  // without query, percent-decoded
  std::string content_type;
  std::string timeout_ms;  // x-request-timeout-ms
  std::string traceparent;
  std::string request_id;       // from the header, or drawn
  bool bad_request_id = false;  // the header broke the rule of ids; request_id was drawn
  std::string peer;             // address:port
};

struct HttpResponse {
  int status = 200;
  std::string_view content_type = "application/json";
  std::string body;
  HeaderList headers;  // beside those that every answer has
};

// Owned by the I/O thread. One answer per request: send(), or begin_stream(), stream() any number
// of times, end_stream().
class ResponseSink {
 public:
  virtual ~ResponseSink() = default;
  // The id to echo: a body's request_id comes later than the head.
  virtual void set_request_id(const std::string& request_id) = 0;
  virtual void send(HttpResponse response) = 0;
  virtual void begin_stream(const HeaderList& headers) = 0;
  virtual void stream(std::string_view bytes) = 0;
  virtual void end_stream() = 0;
};

}  // namespace stet::proxy
