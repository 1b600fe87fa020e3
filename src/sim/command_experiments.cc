// stet-sim experiments: what there is to run, and where the results go.
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "src/sim/commands.h"
#include "src/sim/experiments.h"
#include "src/sim/forecast.h"

namespace stet::sim {
namespace {

struct Recorded {
  const char* name;
  const char* file_stem;
  const char* file;
};
constexpr Recorded kRecorded[] = {
    {"azure conv", "azure-conv", "azure_llm_conv_2023_first.csv"},
    {"azure code", "azure-code", "azure_llm_code_2023_first.csv"},
    {"mooncake conversation", "mooncake-conversation", "mooncake_conversation_first.csv"},
    {"mooncake synthetic", "mooncake-synthetic", "mooncake_synthetic_first.csv"},
};
// One seed says little: some 18 of 1500 requests reach the longest output, and a few more
// or less of them move it by a tenth of its load.
constexpr uint64_t kLongOutputSeeds[] = {1, 2, 3};
constexpr double kScoredLoad = 0.9;

Trace first_of(const Trace& trace, uint32_t num_requests) {
  const auto most = static_cast<uint32_t>(trace.requests.size());
  return shape_trace(trace,
                     {.num_requests = num_requests == 0 ? most : std::min(num_requests, most)});
}

class Report {
 public:
  Report(const ExperimentsCommand& command, const MachineModel& machine)
      : command_(command), machine_(machine) {
    page_ =
        "# Policies on a simulated machine\n\nMade by `make experiments`: the production engine, "
        "scheduler and KV cache on virtual time (`src/sim`). Nothing here ran on a device.\n\n"
        "Machine: " +
        machine.name + ". " + machine.source + ".\n\n";
    char text[120];
    std::snprintf(text, sizeof text, "SLA: first token within %g s, longest gap %g s.\n\n",
                  command.sla.ttft_s, command.sla.gap_s);
    page_ += text;
    json_ = {{"machine", machine.name},
             {"machine_source", machine.source},
             {"ttft_s", command.sla.ttft_s},
             {"gap_s", command.sla.gap_s},
             {"experiments", nlohmann::ordered_json::array()}};
  }

  Status add(const Experiment& experiment) {
    STET_ASSIGN_OR_RETURN(const ExperimentResult result,
                          run_experiment(experiment, machine_, command_.sla));
    STET_RETURN_IF_ERROR(
        write("goodput-" + experiment.file_stem + ".svg", goodput_svg(experiment, result)));
    page_ += to_markdown(experiment, result) + "\n";
    json_["experiments"].push_back(to_json(experiment, result));
    return add_score(experiment, kScoredLoad * result.capacity);
  }

  void left_out(const std::string& what) {
    page_ += "Left out: " + what + ".\n\n";
    std::fprintf(stderr, "stet-sim: left out: %s\n", what.c_str());
  }

  Status finish() {
    STET_RETURN_IF_ERROR(write("experiments.md", page_));
    return write("experiments.json", json_.dump(1) + "\n");
  }

 private:
  Status add_score(const Experiment& experiment, double rate) {
    const Trace trace = shape_trace(experiment.traces[0], {.rate = rate});
    ForecastScore score(trace, 1);
    STET_ASSIGN_OR_RETURN(
        const ReplayResult result,
        replay(trace, machine_,
               {.prefix_cache = experiment.prefix_cache, .sla = command_.sla, .observer = &score}));
    const uint64_t pool_tokens = uint64_t{machine_.num_blocks()} * machine_.block_tokens;
    char text[300];
    std::snprintf(text, sizeof text,
                  "### %s: forecast beside the truth, past_future at %.1f of capacity\n\n"
                  "![forecast](forecast-%s.svg)\n\n",
                  experiment.name.c_str(), kScoredLoad, experiment.file_stem.c_str());
    page_ += text + markdown_table(forecast_errors(score.samples(), pool_tokens)) + "\n";
    return write("forecast-" + experiment.file_stem + ".svg",
                 forecast_svg(score.samples(), pool_tokens,
                              "Forecast and memory under past_future: " + experiment.name));
  }
  Status write(const std::string& name, const std::string& text) const {
    return write_file((std::filesystem::path(command_.out) / name).string(), text);
  }

  const ExperimentsCommand& command_;
  const MachineModel& machine_;
  std::string page_;
  nlohmann::ordered_json json_;
};

Status add_long_output(const ExperimentsCommand& command, Report* report) {
  Experiment experiment{.name = "long-output", .file_stem = "long-output", .traces = {}};
  for (const uint64_t seed : kLongOutputSeeds) {
    experiment.traces.push_back(long_output_trace(command.num_long_output, 1.0, seed));
  }
  return report->add(experiment);
}

Status add_recorded(const ExperimentsCommand& command, const Recorded& recorded, Report* report) {
  const std::filesystem::path path = std::filesystem::path(command.data) / recorded.file;
  if (command.data.empty() || !std::filesystem::exists(path)) {
    report->left_out(std::string(recorded.name) + ", for want of " + recorded.file);
    return {};
  }
  STET_ASSIGN_OR_RETURN(const Trace trace, load_trace(path.string()));
  return report->add({.name = recorded.name,
                      .file_stem = recorded.file_stem,
                      .traces = {first_of(trace, command.num_requests)},
                      .prefix_cache = trace.has_prefix_ids()});
}

}  // namespace

int ExperimentsCommand::run() const {
  const Result<MachineModel> machine = load_machine(model);
  if (!machine.ok()) {
    return fail(machine.status());
  }
  std::error_code error;
  std::filesystem::create_directories(out, error);
  if (error) {
    return fail(unavailable(out + ": " + error.message()));
  }
  Report report(*this, *machine);
  Status status = add_long_output(*this, &report);
  for (const Recorded& recorded : kRecorded) {
    if (status.ok()) {
      status = add_recorded(*this, recorded, &report);
    }
  }
  if (status.ok()) {
    status = report.finish();
  }
  return status.ok() ? 0 : fail(status);
}

}  // namespace stet::sim
