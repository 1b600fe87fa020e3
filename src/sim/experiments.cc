#include "src/sim/experiments.h"

#include <algorithm>
#include <cstdio>

#include "src/sim/line_chart.h"
#include "stet/sched/policy.h"

namespace stet::sim {
namespace {

// The table shows those of scheduler.md sec. 9; the chart needs more to be a curve.
constexpr double kLoads[] = {0.5, 0.7, 0.9, 1.1, 1.3};
constexpr double kTableLoads[] = {0.7, 0.9, 1.1};
constexpr size_t kRampShare = 5;  // one in so many requests starts before capacity is measured
constexpr const char* kOraclePolicy = "past_future";

Result<std::vector<RunMetrics>> run_at(const Experiment& experiment, const MachineModel& machine,
                                       const Sla& sla, double rate) {
  std::vector<RunMetrics> runs;
  for (const ReplayOptions& options : variants(experiment.prefix_cache, sla)) {
    std::vector<RunMetrics> of_traces;
    for (const Trace& trace : experiment.traces) {
      const Trace shaped = shape_trace(trace, {.rate = rate});
      STET_ASSIGN_OR_RETURN(const ReplayResult result, replay(shaped, machine, options));
      of_traces.push_back(summarise(shaped, result, options));
    }
    runs.push_back(average(of_traces));
  }
  return runs;
}

}  // namespace

Result<double> oracle_capacity(const Trace& trace, const MachineModel& machine, bool prefix_cache) {
  const Trace at_once = shape_trace(trace, {.batch = true});
  STET_ASSIGN_OR_RETURN(const ReplayResult result, replay(at_once, machine,
                                                          {.policy = kOraclePolicy,
                                                           .true_lengths = true,
                                                           .prefix_cache = prefix_cache,
                                                           .batch_class = true}));
  std::vector<uint64_t> starts_us;
  for (const RequestOutcome& outcome : result.outcomes) {
    if (!outcome.refused) {
      starts_us.push_back(outcome.first_scheduled_us);
    }
  }
  std::sort(starts_us.begin(), starts_us.end());
  const size_t first = starts_us.size() / kRampShare;
  if (starts_us.empty() || starts_us.back() == starts_us[first]) {
    return failed_precondition(trace.name + ": too few requests wait to tell a capacity");
  }
  return static_cast<double>(starts_us.size() - 1 - first) * 1e6 /
         static_cast<double>(starts_us.back() - starts_us[first]);
}

std::vector<ReplayOptions> variants(bool prefix_cache, const Sla& sla) {
  std::vector<ReplayOptions> all;
  const auto add = [&](std::string_view policy, bool true_lengths, bool late_last) {
    all.push_back({.policy = std::string(policy),
                   .true_lengths = true_lengths,
                   .late_last = late_last,
                   .prefix_cache = prefix_cache,
                   .sla = sla});
  };
  for (const std::string_view policy : sched::policy_names()) {
    add(policy, false, false);
  }
  add(kOraclePolicy, true, false);
  add("aggressive", false, true);
  add("past_future", false, true);
  add(kOraclePolicy, true, true);
  return all;
}

Result<ExperimentResult> run_experiment(const Experiment& experiment, const MachineModel& machine,
                                        const Sla& sla) {
  ExperimentResult result;
  for (const Trace& trace : experiment.traces) {
    STET_ASSIGN_OR_RETURN(const double capacity,
                          oracle_capacity(trace, machine, experiment.prefix_cache));
    result.capacity += capacity / static_cast<double>(experiment.traces.size());
  }
  for (const double load : kLoads) {
    LoadPoint& point = result.points.emplace_back();
    point.load = load;
    STET_ASSIGN_OR_RETURN(point.runs, run_at(experiment, machine, sla, load * result.capacity));
    std::fprintf(stderr, "%s: load %.1f done\n", experiment.name.c_str(), load);
  }
  return result;
}

std::string to_markdown(const Experiment& experiment, const ExperimentResult& result) {
  char text[400];
  std::snprintf(text, sizeof text,
                "## %s\n\n%zu requests%s; max_tokens %u; prefix cache %s; the oracle's capacity is "
                "%.3f requests/s.\n\n![goodput](goodput-%s.svg)\n",
                experiment.name.c_str(), experiment.traces[0].requests.size(),
                experiment.traces.size() > 1 ? " in each of several traces, figures are means" : "",
                default_max_tokens(experiment.traces[0]), experiment.prefix_cache ? "on" : "off",
                result.capacity, experiment.file_stem.c_str());
  std::string page = text;
  for (const LoadPoint& point : result.points) {
    if (std::find(std::begin(kTableLoads), std::end(kTableLoads), point.load) ==
        std::end(kTableLoads)) {
      continue;
    }
    std::snprintf(text, sizeof text, "\n### %s at %.1f of capacity (%.3f requests/s)\n\n",
                  experiment.name.c_str(), point.load, point.load * result.capacity);
    page += text + markdown_table(point.runs);
  }
  return page;
}

nlohmann::ordered_json to_json(const Experiment& experiment, const ExperimentResult& result) {
  nlohmann::ordered_json json = {{"name", experiment.name},
                                 {"num_traces", experiment.traces.size()},
                                 {"prefix_cache", experiment.prefix_cache},
                                 {"max_tokens", default_max_tokens(experiment.traces[0])},
                                 {"capacity_per_s", result.capacity},
                                 {"loads", nlohmann::ordered_json::array()}};
  for (const LoadPoint& point : result.points) {
    nlohmann::ordered_json runs = nlohmann::ordered_json::array();
    for (const RunMetrics& run : point.runs) {
      runs.push_back(to_json(run));
    }
    json["loads"].push_back({{"load", point.load}, {"runs", std::move(runs)}});
  }
  return json;
}

std::string goodput_svg(const Experiment& experiment, const ExperimentResult& result) {
  Chart chart{.title = "Goodput against load: " + experiment.name,
              .x_label = "arrivals, requests/s",
              .y_label = "requests/s within the SLA",
              .series = {},
              .markers = true};
  for (size_t i = 0; i < result.points[0].runs.size(); ++i) {
    Series& series = chart.series.emplace_back();
    series.name = result.points[0].runs[i].label;
    for (const LoadPoint& point : result.points) {
      series.points.emplace_back(point.load * result.capacity, point.runs[i].goodput);
    }
  }
  return line_chart(chart);
}

}  // namespace stet::sim
