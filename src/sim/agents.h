// A made trace of agents, as Continuum (Li et al., arXiv 2511.02230) looks at them: programs of
// many turns, between which a tool runs. A turn's prompt is all that came before, the last answer,
// and what the tool returned; it comes as long after that answer as the tool took. Every program
// begins with the same system prompt.
//
// Assumed, measured on no agents: Poisson arrivals of programs; turns lognormal(2.2, 0.5) in 2..32
// (mean 9); the task lognormal(6.2, 0.6) in 64..4096 tokens behind a system prompt of 2,048; a
// tool's result lognormal(6.2, 1.0) in 16..8192; an answer lognormal(4.8, 0.6) in 16..1024. Half of
// the calls read (lognormal, median 0.3 s, sigma 0.6), 3 of 10 search (2 s, 1.0), 2 of 10 run tests
// (15 s, 1.0).
#pragma once

#include <cstdint>
#include <string>

#include "src/sim/replay.h"
#include "src/sim/trace.h"

namespace stet::sim {

inline constexpr uint32_t kSystemPromptTokens = 2048;  // four blocks of prefix ids

// Rows by program and turn; equal seeds give equal traces. A turn's arrival_us is its program's.
Trace agent_trace(uint32_t num_programs, double programs_per_s, uint64_t seed);
// program,turn,after_s,prompt_tokens,output_tokens,tool: after_s is the arrival of a first turn,
// and of later ones the time since the turn before ended. For reading; load_trace does not take it.
std::string agents_csv(const Trace& trace);

struct AgentFigures {
  double num_programs = 0, num_refused = 0;
  double jct_mean_s = 0.0, jct_p95_s = 0.0;  // job completion: arrival to the end of the last turn
  double queue_mean_s = 0.0;                 // of turns behind the first: arrival to start
  double saved_tokens = 0.0;                 // prompt tokens found in the cache at first starts
  double savable_tokens = 0.0;               // ... with a cache that forgets nothing
  double num_preemptions = 0;
  double pins_placed = 0, pins_followed = 0, pins_expired = 0, pins_for_memory = 0;
  double makespan_s = 0.0;
};
AgentFigures judge_agents(const Trace& trace, const ReplayResult& result, uint32_t block_tokens);
AgentFigures average(const std::vector<AgentFigures>& runs);

}  // namespace stet::sim
