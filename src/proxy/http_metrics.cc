#include "src/proxy/http_metrics.h"

#include <algorithm>
#include <vector>

#include "src/proxy/routes.h"

namespace stet::proxy {
namespace {

const std::vector<double>& duration_buckets() {
  static const std::vector<double> kBuckets{.3, .5, .8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                            30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
  return kBuckets;
}

std::string_view known_method(std::string_view method) {
  constexpr std::string_view kKnown[] = {"GET",   "HEAD",   "POST",   "PUT",
                                         "PATCH", "DELETE", "OPTIONS"};
  const auto* found = std::find(std::begin(kKnown), std::end(kKnown), method);
  return found == std::end(kKnown) ? "other" : *found;
}

}  // namespace

HttpMetrics::HttpMetrics(obs::Metrics* metrics)
    : metrics_(metrics),
      connections_(metrics->gauge("stet_http_connections", "Open HTTP connections")),
      refused_(metrics->counter("stet_http_connections_refused_total",
                                "HTTP connections refused over a cap")) {}

void HttpMetrics::record(std::string_view path, std::string_view method, int status,
                         double seconds) {
  const Route* route = find_route(path);
  const std::string handler(route == nullptr ? "none" : route->handler);
  const std::string name(known_method(method));
  const std::string status_class = std::to_string(status / 100) + "xx";
  const std::string pair = name + ' ' + handler;

  auto [request, request_is_new] = requests_.try_emplace(pair + ' ' + status_class);
  if (request_is_new) {
    request->second = metrics_->counter(
        "http_requests_total", "HTTP requests by handler, method and status class",
        {{"handler", handler}, {"method", name}, {"status", status_class}});
  }
  request->second.add();
  auto [duration, duration_is_new] = durations_.try_emplace(pair);
  if (duration_is_new) {
    duration->second =
        metrics_->histogram("http_request_duration_seconds",
                            "Seconds from the head of a request to the end of its answer",
                            duration_buckets(), {{"handler", handler}, {"method", name}});
  }
  duration->second.observe(seconds);
}

}  // namespace stet::proxy
