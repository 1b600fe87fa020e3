// stet-sim agents, stet-sim gen agents.
#include <cstdio>

#include "src/sim/agents.h"
#include "src/sim/commands.h"

namespace stet::sim {
namespace {

struct AgentRow {
  const char* name;
  kv::Eviction eviction;
  bool program_ids, pins, gaps_told;
};
// What Continuum compares: first come, first served by request; by program; by program with pins.
// And what pins are instead of or beside: the orders of eviction.
constexpr AgentRow kAgentRows[] = {
    {"by request, lru", kv::Eviction::kLru, false, false, false},
    {"by program, lru", kv::Eviction::kLru, true, false, false},
    {"by program, lru, pins", kv::Eviction::kLru, true, true, false},
    {"by program, lru, pins, gaps told", kv::Eviction::kLru, true, true, true},
    {"by program, ttl, pins", kv::Eviction::kTtl, true, true, false},
    {"by program, future", kv::Eviction::kFuture, true, false, false},
    {"by program, future, pins", kv::Eviction::kFuture, true, true, false},
};

std::string row_of(const char* name, const AgentFigures& f, double fastest_s) {
  char text[320];
  std::snprintf(text, sizeof text,
                "| %s | %.1f | %.1f | %+.1f %% | %.2f | %.2f | %.1f | %.0f | %.0f | %.0f | %.0f | "
                "%.0f |\n",
                name, f.jct_mean_s, f.jct_p95_s, 100.0 * (f.jct_mean_s / fastest_s - 1.0),
                f.queue_mean_s, f.saved_tokens * 1e-6, 100.0 * f.saved_tokens / f.savable_tokens,
                f.num_preemptions, f.pins_placed, f.pins_followed, f.pins_expired,
                f.pins_for_memory);
  return text;
}

}  // namespace

int GenAgentsCommand::run() const {
  const std::string csv = agents_csv(agent_trace(num_programs, rate, seed));
  return std::fwrite(csv.data(), 1, csv.size(), stdout) == csv.size() ? 0 : 1;
}

int AgentsCommand::run() const {
  Result<MachineModel> machine = load_machine(model);
  if (!machine.ok()) {
    return fail(machine.status());
  }
  std::printf(
      "Means over seeds 1 to %u of `stet-sim gen agents`, %u programs each at %g programs/s; "
      "policy %s; step times: %s\n",
      num_seeds, num_programs, rate, policy.c_str(), machine->name.c_str());
  for (const uint32_t pool_tokens : pools) {
    machine->pool_tokens = pool_tokens;
    std::printf(
        "\nPool of %u tokens\n\n| | mean job s | p95 job s | mean against the first | mean queue s "
        "of later turns | prefill tokens saved, M | %% of what an endless cache would | "
        "preemptions "
        "| pins | followed up | expired | gave way |\n|---|---|---|---|---|---|---|---|---|---|---|"
        "---|\n",
        pool_tokens);
    double first_s = 0.0;
    for (const AgentRow& row : kAgentRows) {
      std::vector<AgentFigures> runs;
      for (uint64_t seed = 1; seed <= num_seeds; ++seed) {
        const Trace trace = agent_trace(num_programs, rate, seed);
        ReplayOptions options = {.policy = policy, .prefix_cache = true};
        options.eviction = row.eviction;
        options.program_ids = row.program_ids;
        options.expect_followups = row.pins;
        options.expected_gaps = row.gaps_told;
        const Result<ReplayResult> result = replay(trace, *machine, options);
        if (!result.ok()) {
          return fail(result.status());
        }
        runs.push_back(judge_agents(trace, *result, machine->block_tokens));
        std::fprintf(
            stderr, "%u, %s, seed %llu: %.1f s, refused %.0f, makespan %.0f s, host %.1f s\n",
            pool_tokens, row.name, static_cast<unsigned long long>(seed), runs.back().jct_mean_s,
            runs.back().num_refused, runs.back().makespan_s, result->host_s);
      }
      const AgentFigures means = average(runs);
      first_s = first_s == 0.0 ? means.jct_mean_s : first_s;
      std::fputs(row_of(row.name, means, first_s).c_str(), stdout);
      std::fflush(stdout);
    }
  }
  return 0;
}

}  // namespace stet::sim
