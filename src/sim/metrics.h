// The figures of one run (scheduler.md sec. 9), and how they are written down.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "src/sim/replay.h"

namespace stet::sim {

struct RunMetrics {
  std::string label;  // policy, and what it was helped with
  double rate = 0.0;  // of arrivals, requests per second; 0 = all at once
  uint64_t num_requests = 0, num_refused = 0;
  double makespan_s = 0.0;  // until the last end
  double goodput = 0.0;     // requests per second that met the SLA, over the makespan
  double throughput = 0.0;  // requests per second that were served, over the makespan
  double in_sla = 0.0;      // share of all requests, refused ones included
  uint64_t num_preemptions = 0;
  double recomputed = 0.0;  // share of prefill positions that were computed again
  double queue_mean_s = 0.0, queue_p99_s = 0.0;  // arrival to first scheduled
  double pool_mean = 0.0, pool_peak = 0.0;       // shares of the pool in use
  double ttft_p50_s = 0.0, ttft_p95_s = 0.0, ttft_p99_s = 0.0;
  double itl_p50_s = 0.0, itl_p99_s = 0.0;  // over all gaps of all requests
  double max_itl_p99_s = 0.0;               // over the longest gaps of the requests
  double hit_share = 0.0;     // of prompt tokens at first starts, from the prefix cache
  uint64_t saved_tokens = 0;  // prefill that the prefix cache saved, resumes included
  uint64_t num_steps = 0;
  double scheduler_us_per_step = 0.0;  // host time: differs from run to run
  double host_s = 0.0;                 // host time
  uint64_t plan_digest = 0;
};

RunMetrics summarise(const Trace& trace, const ReplayResult& result, const ReplayOptions& options);
std::string label_of(const ReplayOptions& options);
bool met(const Sla& sla, const TraceRequest& request, const RequestOutcome& outcome);

// Of the same policy over several traces: means of every figure, and of counts their rounded mean.
RunMetrics average(const std::vector<RunMetrics>& runs);

// A Markdown table, one row per run.
std::string markdown_table(const std::vector<RunMetrics>& runs);
nlohmann::ordered_json to_json(const RunMetrics& run);

}  // namespace stet::sim
