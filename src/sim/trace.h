// What is replayed: who comes when, with how long a prompt, and how long the answer will be. No
// text.
//
// CSV with the header `arrival_s,prompt_tokens,output_tokens[,prefix_hash_ids]`, rows by arrival.
// prefix_hash_ids are ids of the prompt's consecutive blocks of 512 tokens, apart by spaces, runs
// written first-last; equal ids at equal positions mean equal prefixes (Mooncake, FAST 2025).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "stet/base/status.h"

namespace stet::sim {

inline constexpr uint32_t kPrefixBlockTokens = 512;
inline constexpr uint32_t kMaxTraceTokens = 1U << 24;  // of a prompt, or of an output

// A request that is a turn of a program: its prompt begins with the turn before, answer included,
// and it comes so long after that one's end as the tool took. See agents.h.
struct ProgramTurn {
  uint32_t program = 0;  // counted from 1; 0: the request is no turn
  uint32_t turn = 0;     // of the program, counted from 1
  bool last = false;
  uint64_t gap_us = 0;      // from the end of the turn before
  uint32_t new_tokens = 0;  // of the prompt: those behind the turn before and its answer
  uint8_t tool = 0;         // that is called when it ends
  friend bool operator==(const ProgramTurn&, const ProgramTurn&) = default;
};

struct TraceRequest {
  uint64_t arrival_us = 0;
  uint32_t prompt_tokens = 0;
  uint32_t output_tokens = 0;
  std::vector<uint64_t> prefix_ids{};  // [ceil(prompt_tokens / 512)]; empty: shares with nobody
  ProgramTurn turn{};                  // the turns of a program stand together, in their order
  friend bool operator==(const TraceRequest&, const TraceRequest&) = default;
};

struct Trace {
  std::string name;
  std::vector<TraceRequest> requests;  // by arrival

  bool has_prefix_ids() const { return !requests.empty() && !requests[0].prefix_ids.empty(); }
  uint32_t longest_output() const;
  double requests_per_s() const;  // requests / last arrival; 0 when all come at once
};

// Errors name file, line, what was found and what was expected.
Result<Trace> parse_trace(std::string_view csv, const std::string& file_name);
Result<Trace> load_trace(const std::string& path);
std::string to_csv(const Trace& trace);

struct TraceShape {
  uint32_t num_requests = 0;  // 0 = as many as the trace has
  double rate = 0.0;          // requests per second in the mean; 0 = as recorded
  bool batch = false;         // all at t = 0
  uint64_t seed = 1;          // which rows stand in the passes beyond the first
};
// Beyond the trace's own rows its arrival times repeat, each time with rows drawn anew from it
// (same lengths, prefix ids of their own), so that a longer run is as bursty and not the same
// again.
Trace shape_trace(const Trace& trace, const TraceShape& shape);

// scheduler.md sec. 10: Poisson arrivals; prompt = lognormal(5.6, 0.8) in 20..4000, output =
// lognormal(7.2, 0.8) in 20..8192.
Trace long_output_trace(uint32_t num_requests, double rate, uint64_t seed);

}  // namespace stet::sim
