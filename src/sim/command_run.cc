// stet-sim gen, stet-sim run.
#include <cstdio>
#include <fstream>

#include "src/sim/commands.h"
#include "src/sim/metrics.h"
#include "stet/sched/policy.h"

namespace stet::sim {

int fail(const Status& status) {
  std::fprintf(stderr, "stet-sim: %s\n", status.message().c_str());
  return 65;  // EX_DATAERR
}

Status write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  return file ? Status() : unavailable(path + ": cannot be written");
}

int GenCommand::run() const {
  const std::string csv = to_csv(long_output_trace(num_requests, rate, seed));
  return std::fwrite(csv.data(), 1, csv.size(), stdout) == csv.size() ? 0 : 1;
}

namespace {

std::string heading(const Trace& trace, const MachineModel& machine, const RunCommand& command) {
  char text[512];
  std::snprintf(
      text, sizeof text,
      "%zu requests of %s, %.3f requests/s; %s (%u tokens of KV); max_tokens %u; SLA: TTFT "
      "%g s, longest gap %g s; prefix cache %s\n\n",
      trace.requests.size(), trace.name.c_str(), trace.requests_per_s(), machine.name.c_str(),
      machine.num_blocks() * machine.block_tokens,
      command.replay.max_tokens == 0 ? default_max_tokens(trace) : command.replay.max_tokens,
      command.replay.sla.ttft_s, command.replay.sla.gap_s,
      command.replay.prefix_cache ? "on" : "off");
  return text;
}

Result<std::vector<RunMetrics>> replay_all(const RunCommand& command, const Trace& trace,
                                           const MachineModel& machine) {
  std::vector<std::string> policies = command.policies;
  if (policies.empty()) {
    for (const std::string_view name : sched::policy_names()) {
      policies.emplace_back(name);
    }
  }
  std::ofstream plan_log;
  if (!command.plan_log.empty()) {
    plan_log.open(command.plan_log, std::ios::binary);
    if (!plan_log) {
      return unavailable(command.plan_log + ": cannot be written");
    }
  }
  std::vector<RunMetrics> runs;
  for (const std::string& policy : policies) {
    ReplayOptions options = command.replay;
    options.policy = policy;
    if (plan_log.is_open()) {
      plan_log << "policy " << policy << "\n";
      options.plan_log = &plan_log;
    }
    STET_ASSIGN_OR_RETURN(const ReplayResult result, replay(trace, machine, options));
    runs.push_back(summarise(trace, result, options));
    const RunMetrics& r = runs.back();
    std::fprintf(stderr, "%s: %llu steps, %.1f s, %.0f requests/s of wall time\n", r.label.c_str(),
                 static_cast<unsigned long long>(r.num_steps), r.host_s,
                 static_cast<double>(r.num_requests) / r.host_s);
  }
  return runs;
}

}  // namespace

int RunCommand::run() const {
  const Result<MachineModel> machine = load_machine(model);
  if (!machine.ok()) {
    return fail(machine.status());
  }
  const Result<Trace> recorded = load_trace(trace);
  if (!recorded.ok()) {
    return fail(recorded.status());
  }
  TraceShape wanted = shape;
  wanted.seed = replay.seed;
  wanted.batch = replay.batch_class;
  const Trace shaped = shape_trace(*recorded, wanted);
  const Result<std::vector<RunMetrics>> runs = replay_all(*this, shaped, *machine);
  if (!runs.ok()) {
    return fail(runs.status());
  }
  const std::string text = heading(shaped, *machine, *this) + markdown_table(*runs);
  std::fputs(text.c_str(), stdout);
  if (!json.empty()) {
    nlohmann::ordered_json report = {{"trace", shaped.name},
                                     {"machine", machine->name},
                                     {"machine_source", machine->source},
                                     {"runs", nlohmann::ordered_json::array()}};
    for (const RunMetrics& r : *runs) {
      report["runs"].push_back(to_json(r));
    }
    const Status written = write_file(json, report.dump(2) + "\n");
    return written.ok() ? 0 : fail(written);
  }
  return 0;
}

}  // namespace stet::sim
