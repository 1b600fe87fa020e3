// OpenAI-compatible HTTP/1.1 server over an InferenceClient (api.md sec. 4, 5; Boost.Beast inside
// src/proxy only).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "stet/base/status.h"
#include "stet/obs/metrics.h"
#include "stet/proxy/inference_client.h"

namespace stet::proxy {

struct HttpOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 8000;  // 0 = any free port: see OpenAiServer::port
  uint64_t max_body_bytes = 4u << 20;
  uint32_t max_header_bytes = 16u << 10;
  uint32_t max_connections = 1024;
  uint32_t max_connections_per_peer = 64;
  uint32_t max_json_depth = 32;
  uint32_t max_messages = 1024;
  uint64_t header_timeout_us = 10'000'000;
  uint64_t body_timeout_us = 15'000'000;
  uint64_t idle_timeout_us = 75'000'000;
  uint64_t first_byte_wait_us =
      15'000'000;  // how long the status line of a stream waits for the first token
  uint64_t keep_alive_comment_us = 15'000'000;
  uint64_t slow_reader_us = 60'000'000;
  uint64_t max_buffered_bytes = 64u << 10;  // per stream
  bool warn_unknown_fields = false;         // answer, and name them in stet-warning, instead of 400
  bool serve_metrics = true;                // GET /metrics and /debug/scheduler on this listener
  std::function<std::string()> debug_scheduler;  // JSON; any thread. Empty: there is no such page
  uint64_t max_total_body_bytes = 64u << 20;     // of all requests being received; beyond it 429
  std::string commit;                            // GET /version; "" = not known
};

// Owns one I/O thread. start and stop from one thread; the rest thread-safe.
class OpenAiServer {
 public:
  // `metrics` and `client` must outlive the server. bind happens here: a taken port is an error
  // now.
  static Result<std::unique_ptr<OpenAiServer>> create(const HttpOptions& options,
                                                      InferenceClient* client,
                                                      obs::Metrics* metrics);
  virtual ~OpenAiServer() = default;
  virtual void start() = 0;
  virtual uint16_t port() const = 0;
  // Draining: `Connection: close` on every answer; streams go on.
  virtual void begin_drain() = 0;
  virtual void stop() = 0;  // closes what is left
  virtual size_t num_open_streams() const = 0;
};

}  // namespace stet::proxy
