#include "src/sim/metrics.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace stet::sim {
namespace {

double seconds(uint64_t us) {
  return static_cast<double>(us) * 1e-6;
}

std::string fixed(double value, int digits) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}
// More digits than a run can claim only make the file long.
double six_digits(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return std::strtod(text, nullptr);
}

std::string percent(double share, int digits) {
  return fixed(100.0 * share, digits);
}

void take_times(const Trace& trace, const ReplayResult& result, RunMetrics* run) {
  std::vector<double> queue, ttft, gaps;
  uint64_t prompt_tokens = 0, cached_tokens = 0;
  for (size_t i = 0; i < result.outcomes.size(); ++i) {
    const RequestOutcome& o = result.outcomes[i];
    if (o.refused) {
      continue;
    }
    const uint64_t arrival_us = trace.requests[i].arrival_us;
    queue.push_back(seconds(o.first_scheduled_us - arrival_us));
    ttft.push_back(seconds(o.first_token_us - arrival_us));
    gaps.push_back(seconds(o.longest_gap_us));
    prompt_tokens += trace.requests[i].prompt_tokens;
    cached_tokens += o.cached_prompt_tokens;
  }
  run->queue_mean_s = mean(queue);
  run->queue_p99_s = quantile(queue, 0.99);
  run->ttft_p50_s = quantile(ttft, 0.5);
  run->ttft_p95_s = quantile(ttft, 0.95);
  run->ttft_p99_s = quantile(ttft, 0.99);
  run->max_itl_p99_s = quantile(gaps, 0.99);
  run->itl_p50_s = result.gaps_us.quantile(0.5) * 1e-6;
  run->itl_p99_s = result.gaps_us.quantile(0.99) * 1e-6;
  run->hit_share = prompt_tokens == 0
                       ? 0.0
                       : static_cast<double>(cached_tokens) / static_cast<double>(prompt_tokens);
}

}  // namespace

bool met(const Sla& sla, const TraceRequest& request, const RequestOutcome& outcome) {
  return !outcome.refused && seconds(outcome.first_token_us - request.arrival_us) <= sla.ttft_s &&
         seconds(outcome.longest_gap_us) <= sla.gap_s;
}

std::string label_of(const ReplayOptions& options) {
  return options.policy + (options.true_lengths ? ", true lengths" : "") +
         (options.late_last ? ", late last" : "");
}

RunMetrics summarise(const Trace& trace, const ReplayResult& result, const ReplayOptions& options) {
  RunMetrics run{.label = label_of(options),
                 .rate = trace.requests_per_s(),
                 .num_requests = result.outcomes.size()};
  uint64_t in_sla = 0;
  for (size_t i = 0; i < result.outcomes.size(); ++i) {
    run.num_refused += result.outcomes[i].refused ? 1 : 0;
    in_sla += met(options.sla, trace.requests[i], result.outcomes[i]) ? 1 : 0;
  }
  run.makespan_s = seconds(result.end_us);
  const double span = run.makespan_s == 0.0 ? 1.0 : run.makespan_s;  // nothing ran
  run.goodput = static_cast<double>(in_sla) / span;
  run.throughput = static_cast<double>(run.num_requests - run.num_refused) / span;
  run.in_sla = static_cast<double>(in_sla) / static_cast<double>(run.num_requests);
  run.num_preemptions = result.num_preemptions;
  run.recomputed = result.work.recomputed_share();
  run.pool_mean = result.pool_use_mean;
  run.pool_peak = result.pool_use_peak;
  run.saved_tokens = result.work.from_cache;
  run.num_steps = result.work.num_steps;
  run.scheduler_us_per_step = result.scheduler_us_per_step;
  run.host_s = result.host_s;
  run.plan_digest = result.plan_digest;
  take_times(trace, result, &run);
  return run;
}

RunMetrics average(const std::vector<RunMetrics>& runs) {
  RunMetrics result = runs.at(0);
  const auto n = static_cast<double>(runs.size());
  for (double RunMetrics::*figure :
       {&RunMetrics::rate, &RunMetrics::makespan_s, &RunMetrics::goodput, &RunMetrics::throughput,
        &RunMetrics::in_sla, &RunMetrics::recomputed, &RunMetrics::queue_mean_s,
        &RunMetrics::queue_p99_s, &RunMetrics::pool_mean, &RunMetrics::pool_peak,
        &RunMetrics::ttft_p50_s, &RunMetrics::ttft_p95_s, &RunMetrics::ttft_p99_s,
        &RunMetrics::itl_p50_s, &RunMetrics::itl_p99_s, &RunMetrics::max_itl_p99_s,
        &RunMetrics::hit_share, &RunMetrics::scheduler_us_per_step, &RunMetrics::host_s}) {
    double sum = 0.0;
    for (const RunMetrics& run : runs) {
      sum += run.*figure;
    }
    result.*figure = sum / n;
  }
  for (uint64_t RunMetrics::*count :
       {&RunMetrics::num_requests, &RunMetrics::num_refused, &RunMetrics::num_preemptions,
        &RunMetrics::saved_tokens, &RunMetrics::num_steps}) {
    uint64_t sum = 0;
    for (const RunMetrics& run : runs) {
      sum += run.*count;
    }
    result.*count = (sum + runs.size() / 2) / runs.size();
  }
  for (const RunMetrics& run : runs) {
    result.plan_digest = runs.size() == 1 ? run.plan_digest : 0;  // of several runs there is none
  }
  return result;
}

std::string markdown_table(const std::vector<RunMetrics>& runs) {
  std::string text =
      "| policy | goodput req/s | % in SLA | refused | preemptions | recomputed % of prefill | "
      "queue mean / p99 s | pool mean / peak % | TTFT p50 / p95 / p99 s | ITL p50 / p99 ms | "
      "max ITL p99 s | cache hit % | prefill tokens saved | served req/s | scheduler us/step |\n"
      "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";
  for (const RunMetrics& r : runs) {
    const std::string cells[] = {
        r.label,
        fixed(r.goodput, 3),
        percent(r.in_sla, 1),
        std::to_string(r.num_refused),
        std::to_string(r.num_preemptions),
        percent(r.recomputed, 1),
        fixed(r.queue_mean_s, 2) + " / " + fixed(r.queue_p99_s, 1),
        percent(r.pool_mean, 0) + " / " + percent(r.pool_peak, 0),
        fixed(r.ttft_p50_s, 2) + " / " + fixed(r.ttft_p95_s, 2) + " / " + fixed(r.ttft_p99_s, 1),
        fixed(1e3 * r.itl_p50_s, 1) + " / " + fixed(1e3 * r.itl_p99_s, 1),
        fixed(r.max_itl_p99_s, 2),
        percent(r.hit_share, 1),
        std::to_string(r.saved_tokens),
        fixed(r.throughput, 3),
        fixed(r.scheduler_us_per_step, 1)};
    for (const std::string& cell : cells) {
      text += "| " + cell + " ";
    }
    text += "|\n";
  }
  return text;
}

nlohmann::ordered_json to_json(const RunMetrics& r) {
  char digest[24];
  std::snprintf(digest, sizeof digest, "%016llx", static_cast<unsigned long long>(r.plan_digest));
  return {{"policy", r.label},
          {"arrivals_per_s", six_digits(r.rate)},
          {"num_requests", r.num_requests},
          {"num_refused", r.num_refused},
          {"makespan_s", six_digits(r.makespan_s)},
          {"goodput_per_s", six_digits(r.goodput)},
          {"served_per_s", six_digits(r.throughput)},
          {"in_sla_share", six_digits(r.in_sla)},
          {"num_preemptions", r.num_preemptions},
          {"recomputed_prefill_share", six_digits(r.recomputed)},
          {"queue_mean_s", six_digits(r.queue_mean_s)},
          {"queue_p99_s", six_digits(r.queue_p99_s)},
          {"pool_use_mean", six_digits(r.pool_mean)},
          {"pool_use_peak", six_digits(r.pool_peak)},
          {"ttft_p50_s", six_digits(r.ttft_p50_s)},
          {"ttft_p95_s", six_digits(r.ttft_p95_s)},
          {"ttft_p99_s", six_digits(r.ttft_p99_s)},
          {"itl_p50_s", six_digits(r.itl_p50_s)},
          {"itl_p99_s", six_digits(r.itl_p99_s)},
          {"max_itl_p99_s", six_digits(r.max_itl_p99_s)},
          {"cache_hit_share", six_digits(r.hit_share)},
          {"prefill_tokens_saved", r.saved_tokens},
          {"num_steps", r.num_steps},
          {"scheduler_us_per_step", six_digits(r.scheduler_us_per_step)},
          {"host_s", six_digits(r.host_s)},
          {"plan_digest", digest}};
}

}  // namespace stet::sim
