#include "src/server/server_metrics.h"

#include <string>

namespace stet::server {

// The registry gives the same series for the same name and labels; failures are rare enough to look
// it up each time.
ServerMetrics::ServerMetrics(obs::Metrics* metrics)
    : metrics_(metrics),
      merged_(metrics->counter("stet_deltas_merged_total",
                               "Token events that joined a Delta because the receiver was busy")),
      parked_(metrics->counter("stet_slow_readers_parked_total",
                               "Times a request left the batch because its reader was slow")) {}

void ServerMetrics::call_failed(std::string_view reason) {
  metrics_
      ->counter("stet_errors_total", "Calls that ended with an error, by reason (docs/errors.md)",
                {{"reason", std::string(reason)}})
      .add();
}

void ServerMetrics::call_cancelled(std::string_view stage) {
  metrics_
      ->counter("stet_cancelled_total", "Calls cancelled by their client, by stage",
                {{"stage", std::string(stage)}})
      .add();
}

void ServerMetrics::deadline_missed(std::string_view stage) {
  metrics_
      ->counter("stet_deadline_missed_total", "Calls whose deadline passed, by stage",
                {{"stage", std::string(stage)}})
      .add();
}

void ServerMetrics::deltas_merged(uint64_t count) {
  merged_.add(static_cast<double>(count));
}

void ServerMetrics::slow_reader_parked() {
  parked_.add();
}

}  // namespace stet::server
