// What the server counts. Thread-safe.
#pragma once

#include <string_view>

#include "stet/obs/metrics.h"

namespace stet::server {

class ServerMetrics {
 public:
  explicit ServerMetrics(obs::Metrics* metrics);

  void call_failed(std::string_view reason);    // stet_errors_total{reason}
  void call_cancelled(std::string_view stage);  // "text", "engine"
  void deadline_missed(std::string_view stage);
  void deltas_merged(uint64_t count);
  void slow_reader_parked();

 private:
  obs::Metrics* metrics_;
  obs::Counter merged_;
  obs::Counter parked_;
};

}  // namespace stet::server
