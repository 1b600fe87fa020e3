// The subcommands of stet-sim; main.cc gives them their flags. Each returns an exit code.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/sim/replay.h"
#include "src/sim/trace.h"

namespace stet::sim {

struct GenCommand {
  uint32_t num_requests = 1500;
  double rate = 1.3;
  uint64_t seed = 7;
  int run() const;  // CSV on standard output
};

struct GenAgentsCommand {
  uint32_t num_programs = 400;
  double rate = 0.4;  // programs per second
  uint64_t seed = 1;
  int run() const;  // CSV on standard output
};

struct RunCommand {
  std::string trace;
  std::string model = "configs/sim/70b-h200-assumed.json";
  std::vector<std::string> policies;  // empty: all
  TraceShape shape;
  ReplayOptions replay;  // all but the policy
  std::string json, plan_log;
  int run() const;
};

// What the production cache saves with a pool that is a share of the trace's distinct tokens,
// beside what could be saved.
struct CacheCommand {
  std::string trace;
  std::string model = "configs/sim/70b-h200-assumed.json";
  TraceShape shape;
  double pool_share = 0.25;
  bool batch = false;
  int run() const;
};

// Near and above capacity, where order and admission decide: means over seeds of long-output.
struct OverloadCommand {
  std::string model = "configs/sim/70b-h200-assumed.json";
  uint32_t num_requests = 6000;
  std::vector<double> rates = {1.3, 1.45};
  int run() const;
};

// Programs of many turns: with pins, without, and by order of eviction, at several pool sizes.
struct AgentsCommand {
  std::string model = "configs/sim/70b-h200-assumed.json";
  std::string policy = "past_future";
  uint32_t num_programs = 400;
  double rate = 0.4;  // programs per second
  uint32_t num_seeds = 3;
  std::vector<uint32_t> pools = {98000, 196000, 392000};  // tokens
  int run() const;
};

struct ScoreCommand {
  std::string trace;
  std::string model = "configs/sim/70b-h200-assumed.json";
  TraceShape shape;
  ReplayOptions replay;
  uint32_t every = 1;
  std::string json, svg;
  int run() const;
};

struct ExperimentsCommand {
  std::string data;
  std::string out;
  std::string model = "configs/sim/70b-h200-assumed.json";
  uint32_t num_requests = 3000;     // of each recorded trace at most; 0 = all
  uint32_t num_long_output = 1500;  // of each of its seeds
  Sla sla;
  int run() const;
};

// One line on standard error; the exit code of a wrong argument or file.
int fail(const Status& status);
Status write_file(const std::string& path, const std::string& text);

}  // namespace stet::sim
