// http_requests_total{handler, method, status} and http_request_duration_seconds{handler, method}
// (api.md sec. 7).
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "stet/obs/metrics.h"

namespace stet::proxy {

// Owned by the I/O thread.
class HttpMetrics {
 public:
  explicit HttpMetrics(obs::Metrics* metrics);

  // `path` as asked for: paths and methods outside the route table share one label, so that a
  // client cannot make series.
  void record(std::string_view path, std::string_view method, int status, double seconds);
  void connection_opened() { connections_.add(1); }
  void connection_closed() { connections_.add(-1); }
  void connection_refused() { refused_.add(1); }

 private:
  obs::Metrics* const metrics_;
  obs::Gauge connections_;
  obs::Counter refused_;
  std::map<std::string, obs::Counter> requests_;
  std::map<std::string, obs::Histogram> durations_;
};

}  // namespace stet::proxy
