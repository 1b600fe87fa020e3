#include "src/sim/agents.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>

#include "src/sim/hash_random.h"
#include "src/sim/quantiles.h"

namespace stet::sim {
namespace {

struct Tool {
  double up_to;  // of a uniform number: which calls are its
  const char* name;
  double median_s, sigma;
};
constexpr Tool kTools[] = {
    {0.5, "read", 0.3, 0.6}, {0.8, "search", 2.0, 1.0}, {1.0, "test", 15.0, 1.0}};

uint64_t to_us(double seconds) {
  return static_cast<uint64_t>(std::llround(seconds * 1e6));
}

uint32_t tokens(HashRandom* random, double mu, double sigma, double least, double most) {
  return static_cast<uint32_t>(std::clamp(random->lognormal(mu, sigma), least, most));
}

// The system prompt's blocks, then blocks of the program's own.
std::vector<uint64_t> first_prompt_ids(uint32_t program, uint32_t prompt_tokens) {
  std::vector<uint64_t> ids((prompt_tokens + kPrefixBlockTokens - 1) / kPrefixBlockTokens);
  for (size_t i = 0; i < ids.size(); ++i) {
    ids[i] = i < kSystemPromptTokens / kPrefixBlockTokens ? i : uint64_t{program} << 32 | i;
  }
  return ids;
}

void append_program(uint32_t program, uint64_t arrival_us, HashRandom* random, Trace* trace) {
  const uint32_t num_turns = tokens(random, 2.2, 0.5, 2.0, 32.0);
  uint32_t known = kSystemPromptTokens;
  uint64_t gap_us = 0;
  for (uint32_t turn = 1; turn <= num_turns; ++turn) {
    const uint32_t added =
        turn == 1 ? tokens(random, 6.2, 0.6, 64.0, 4096.0) : tokens(random, 6.2, 1.0, 16.0, 8192.0);
    TraceRequest row;
    row.arrival_us = arrival_us;
    row.prompt_tokens = known + added;
    row.output_tokens = tokens(random, 4.8, 0.6, 16.0, 1024.0);
    const double draw = random->uniform();
    uint8_t tool = 0;
    while (draw > kTools[tool].up_to) {
      ++tool;
    }
    row.turn = {.program = program,
                .turn = turn,
                .last = turn == num_turns,
                .gap_us = gap_us,
                .new_tokens = added,
                .tool = tool};
    if (turn == 1) {
      row.prefix_ids = first_prompt_ids(program, row.prompt_tokens);
    }
    gap_us = to_us(random->lognormal(std::log(kTools[tool].median_s), kTools[tool].sigma));
    known = row.prompt_tokens + row.output_tokens;
    trace->requests.push_back(std::move(row));
  }
}

// What a cache that forgets nothing has of the turn's prompt: the turn before without its last
// token, which is never computed; or the system prompt, if somebody came before.
uint64_t savable(const Trace& trace, size_t index, uint32_t block_tokens) {
  if (trace.requests[index].turn.turn == 1) {
    return index == 0 ? 0 : kSystemPromptTokens / block_tokens * block_tokens;
  }
  const TraceRequest& before = trace.requests[index - 1];
  return (before.prompt_tokens + before.output_tokens - 1) / block_tokens * block_tokens;
}

}  // namespace

Trace agent_trace(uint32_t num_programs, double programs_per_s, uint64_t seed) {
  Trace trace{.name = "agents", .requests = {}};
  HashRandom random(seed);
  double at_s = 0.0;
  for (uint32_t program = 1; program <= num_programs; ++program) {
    at_s += random.exponential(1.0 / programs_per_s);
    HashRandom own(mix64(seed) ^ program);
    append_program(program, to_us(at_s), &own, &trace);
  }
  return trace;
}

std::string agents_csv(const Trace& trace) {
  std::string csv = "program,turn,after_s,prompt_tokens,output_tokens,tool\n";
  for (const TraceRequest& r : trace.requests) {
    const uint64_t after_us = r.turn.turn == 1 ? r.arrival_us : r.turn.gap_us;
    char line[128];
    std::snprintf(line, sizeof line, "%u,%u,%llu.%06llu,%u,%u,%s\n", r.turn.program, r.turn.turn,
                  static_cast<unsigned long long>(after_us / 1'000'000),
                  static_cast<unsigned long long>(after_us % 1'000'000), r.prompt_tokens,
                  r.output_tokens, r.turn.last ? "" : kTools[r.turn.tool].name);
    csv += line;
  }
  return csv;
}

AgentFigures judge_agents(const Trace& trace, const ReplayResult& result, uint32_t block_tokens) {
  AgentFigures f;
  std::vector<double> jct_s, queue_s;
  for (size_t i = 0; i < trace.requests.size(); ++i) {
    const TraceRequest& row = trace.requests[i];
    const RequestOutcome& outcome = result.outcomes[i];
    f.num_programs += row.turn.turn == 1 ? 1 : 0;
    f.num_refused += outcome.refused && row.turn.last ? 1 : 0;
    if (outcome.refused) {
      continue;
    }
    f.saved_tokens += outcome.cached_prompt_tokens;
    f.savable_tokens += static_cast<double>(savable(trace, i, block_tokens));
    if (row.turn.turn > 1) {
      queue_s.push_back(static_cast<double>(outcome.first_scheduled_us - outcome.submitted_us) *
                        1e-6);
    }
    if (row.turn.last) {
      jct_s.push_back(static_cast<double>(outcome.ended_us - row.arrival_us) * 1e-6);
    }
  }
  f.jct_mean_s = mean(jct_s);
  f.jct_p95_s = quantile(jct_s, 0.95);
  f.queue_mean_s = mean(queue_s);
  f.num_preemptions = static_cast<double>(result.num_preemptions);
  f.pins_placed = static_cast<double>(result.pins.placed);
  f.pins_followed = static_cast<double>(result.pins.handed_over);
  f.pins_expired = static_cast<double>(result.pins.expired);
  f.pins_for_memory = static_cast<double>(result.pins.released_for_memory);
  f.makespan_s = static_cast<double>(result.end_us) * 1e-6;
  return f;
}

AgentFigures average(const std::vector<AgentFigures>& runs) {
  constexpr double AgentFigures::*kAll[] = {
      &AgentFigures::num_programs,   &AgentFigures::num_refused,     &AgentFigures::jct_mean_s,
      &AgentFigures::jct_p95_s,      &AgentFigures::queue_mean_s,    &AgentFigures::saved_tokens,
      &AgentFigures::savable_tokens, &AgentFigures::num_preemptions, &AgentFigures::pins_placed,
      &AgentFigures::pins_followed,  &AgentFigures::pins_expired,    &AgentFigures::pins_for_memory,
      &AgentFigures::makespan_s};
  static_assert(std::size(kAll) * sizeof(double) == sizeof(AgentFigures));
  AgentFigures means;
  for (const auto field : kAll) {
    for (const AgentFigures& run : runs) {
      means.*field += run.*field / static_cast<double>(runs.size());
    }
  }
  return means;
}

}  // namespace stet::sim
