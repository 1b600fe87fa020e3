// The experiment table of scheduler.md sec. 9: every policy on every trace at several loads.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "src/sim/metrics.h"
#include "src/sim/replay.h"

namespace stet::sim {

// One row of the table per load; several traces (seeds of a generator) are averaged.
struct Experiment {
  std::string name;       // "azure conv"
  std::string file_stem;  // of its chart
  std::vector<Trace> traces;
  bool prefix_cache = false;
};

struct LoadPoint {
  double load = 0.0;  // share of the oracle's capacity
  std::vector<RunMetrics> runs;
};

struct ExperimentResult {
  double capacity = 0.0;  // requests per second
  std::vector<LoadPoint> points;
};

// What the oracle (past_future with true lengths) serves per second while it never lacks requests:
// all come at t = 0, and the rate is that of the starts, from the first fifth to the last of them.
// Until then somebody always waits, and the first fifth fills the pool.
Result<double> oracle_capacity(const Trace& trace, const MachineModel& machine, bool prefix_cache);

// Every registered policy, the oracle, and three of them with late = last.
std::vector<ReplayOptions> variants(bool prefix_cache, const Sla& sla);

Result<ExperimentResult> run_experiment(const Experiment& experiment, const MachineModel& machine,
                                        const Sla& sla);

std::string to_markdown(const Experiment& experiment, const ExperimentResult& result);
nlohmann::ordered_json to_json(const Experiment& experiment, const ExperimentResult& result);
std::string goodput_svg(const Experiment& experiment, const ExperimentResult& result);

}  // namespace stet::sim
