// stet-sim score.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "src/sim/commands.h"
#include "src/sim/forecast.h"

namespace stet::sim {
namespace {

Status write_json(const std::string& path, const std::vector<ForecastError>& errors,
                  const std::vector<ForecastSample>& samples) {
  nlohmann::ordered_json report = {{"errors_percent_of_pool", nlohmann::ordered_json::array()},
                                   {"batches", nlohmann::ordered_json::array()}};
  for (const ForecastError& e : errors) {
    report["errors_percent_of_pool"].push_back({{"estimator", e.estimator},
                                                {"num_batches", e.num_batches},
                                                {"mean", e.mean},
                                                {"p5", e.p5},
                                                {"p50", e.p50},
                                                {"p95", e.p95},
                                                {"too_low_share", e.too_low}});
  }
  for (const ForecastSample& s : samples) {
    report["batches"].push_back({{"at_us", s.at_us},
                                 {"num_sequences", s.num_seqs},
                                 {"used_tokens", s.used_tokens},
                                 {"true_peak_tokens", s.true_peak},
                                 {"moments_tokens", s.moments},
                                 {"sampled_tokens", s.sampled}});
  }
  return write_file(path, report.dump() + "\n");
}

}  // namespace

int ScoreCommand::run() const {
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
  const Trace shaped = shape_trace(*recorded, wanted);
  ForecastScore score(shaped, every);
  ReplayOptions options = replay;
  options.observer = &score;
  const Result<ReplayResult> result = stet::sim::replay(shaped, *machine, options);
  if (!result.ok()) {
    return fail(result.status());
  }
  const uint64_t pool_tokens = uint64_t{machine->num_blocks()} * machine->block_tokens;
  const std::vector<ForecastError> errors = forecast_errors(score.samples(), pool_tokens);
  std::printf("Batches that %s formed from %zu requests of %s, %.3f requests/s; %s\n\n%s",
              options.policy.c_str(), shaped.requests.size(), shaped.name.c_str(),
              shaped.requests_per_s(), machine->name.c_str(), markdown_table(errors).c_str());
  Status written;
  if (!json.empty()) {
    written = write_json(json, errors, score.samples());
  }
  if (written.ok() && !svg.empty()) {
    written = write_file(
        svg, forecast_svg(score.samples(), pool_tokens,
                          "Forecast and memory: " + options.policy + ", " + shaped.name));
  }
  return written.ok() ? 0 : fail(written);
}

}  // namespace stet::sim
