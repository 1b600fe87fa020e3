// stet-sim overload.
#include <cstdio>

#include "src/sim/commands.h"
#include "src/sim/metrics.h"

namespace stet::sim {
namespace {

struct Row {
  const char* policy;
  bool late_last, true_lengths;
};
constexpr Row kRows[] = {
    {"fcfs_conservative", false, false}, {"aggressive", false, false},
    {"past_future", false, false},       {"past_future", false, true},
    {"aggressive", true, false},         {"past_future", true, false},
    {"past_future", true, true},
};
constexpr uint64_t kNumSeeds = 5;

Result<RunMetrics> run_row(const OverloadCommand& command, const MachineModel& machine,
                           const Row& row, double rate) {
  std::vector<RunMetrics> runs;
  for (uint64_t seed = 1; seed <= kNumSeeds; ++seed) {
    const Trace trace = long_output_trace(command.num_requests, rate, seed);
    ReplayOptions options = {
        .policy = row.policy, .true_lengths = row.true_lengths, .late_last = row.late_last};
    STET_ASSIGN_OR_RETURN(const ReplayResult result, replay(trace, machine, options));
    runs.push_back(summarise(trace, result, options));
    std::fprintf(stderr, "%s, %.2f/s, seed %llu: %.1f %% in SLA, %llu preemptions, %.0f s\n",
                 runs.back().label.c_str(), rate, static_cast<unsigned long long>(seed),
                 100.0 * runs.back().in_sla,
                 static_cast<unsigned long long>(runs.back().num_preemptions), result.host_s);
  }
  return average(runs);
}

}  // namespace

int OverloadCommand::run() const {
  const Result<MachineModel> machine = load_machine(model);
  if (!machine.ok()) {
    return fail(machine.status());
  }
  std::printf(
      "Means over seeds 1 to %llu of `stet-sim gen long-output`, %u requests each; %s; SLA: TTFT "
      "10 "
      "s, longest gap 1.5 s\n\n",
      static_cast<unsigned long long>(kNumSeeds), num_requests, machine->name.c_str());
  for (const double rate : rates) {
    std::vector<RunMetrics> means;
    for (const Row& row : kRows) {
      const Result<RunMetrics> mean = run_row(*this, *machine, row, rate);
      if (!mean.ok()) {
        return fail(mean.status());
      }
      means.push_back(*mean);
    }
    std::printf("%.2f requests/s\n\n%s\n", rate, markdown_table(means).c_str());
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace stet::sim
