// stet-sim: the production scheduler on a simulated machine.
#include <CLI/CLI.hpp>
#include <exception>
#include <map>
#include <string>

#include "src/sim/commands.h"

namespace {

void add_machine(CLI::App* app, std::string* model) {
  app->add_option("--model", *model, "The machine: step times and pool, configs/sim/*.json")
      ->capture_default_str();
}

void add_trace(CLI::App* app, std::string* trace, stet::sim::TraceShape* shape) {
  app->add_option("trace", *trace,
                  "CSV: arrival_s,prompt_tokens,output_tokens[,prefix_hash_ids] with a header")
      ->required();
  app->add_option("--rate", shape->rate,
                  "Stretch the arrival times to so many requests per second; default: as recorded")
      ->check(CLI::PositiveNumber);
  app->add_option("--requests", shape->num_requests,
                  "So many requests. Beyond the trace's rows its arrival times repeat, with rows "
                  "drawn anew from it by --seed; default: all rows once")
      ->check(CLI::PositiveNumber);
}

void add_replay(CLI::App* app, stet::sim::ReplayOptions* replay) {
  app->add_option(
         "--max-tokens", replay->max_tokens,
         "max_tokens of every request. Traces do not record it. Default: 4096, or the next "
         "power of two that cuts no output: clients leave their limit large, and no run is "
         "shortened")
      ->check(CLI::PositiveNumber);
  app->add_option("--ttft", replay->sla.ttft_s, "SLA: first token after so many seconds at most")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app->add_option("--gap", replay->sla.gap_s,
                  "SLA: so many seconds between two tokens at most, ever")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app->add_flag("--true-lengths", replay->true_lengths,
                "The oracle: every request states its true output length as its hint "
                "(expected_output_tokens). Policies that do not predict do not look at it");
  app->add_flag("--late-last", replay->late_last,
                "Every request states the SLA's TTFT as its target (ttft_target_us): those past it "
                "yield to those that can still meet it");
  app->add_flag(
      "--prefix-cache", replay->prefix_cache,
      "With the prefix cache. Off by default, as in scheduler.md section 10: with it even "
      "a trace without prefix ids hits when a preempted request resumes");
  app->add_option("--seed", replay->seed,
                  "Of the token ids, and of the rows drawn beyond the trace's own")
      ->capture_default_str();
}

std::map<std::string, stet::kv::Eviction> evictions_by_name() {
  std::map<std::string, stet::kv::Eviction> evictions;
  for (const stet::kv::Eviction eviction : stet::kv::all_evictions()) {
    evictions[stet::kv::eviction_name(eviction)] = eviction;
  }
  return evictions;
}

void add_run(CLI::App& app, stet::sim::RunCommand* run) {
  CLI::App* sub = app.add_subcommand("run", "Replay a trace under one or more policies: one table");
  add_trace(sub, &run->trace, &run->shape);
  add_machine(sub, &run->model);
  sub->add_option("--policy", run->policies, "A policy by name; may be repeated; default: all");
  add_replay(sub, &run->replay);
  sub->add_option("--eviction", run->replay.eviction,
                  "Which cached block is given up first, as kv.eviction of stetd; default: lru. "
                  "ttl evicts as lru here, for no trace has programs; tail gives every request the "
                  "SLA's TTFT as its target")
      ->transform(CLI::CheckedTransformer(evictions_by_name()));
  sub->add_flag("--batch", run->replay.batch_class,
                "All requests at t = 0, in the service class batch");
  sub->add_option("--json", run->json, "Write the figures to this file too");
  sub->add_option("--plan-log", run->plan_log, "Write every plan of every run to this file");
}

void add_cache(CLI::App& app, stet::sim::CacheCommand* cache) {
  CLI::App* sub = app.add_subcommand("cache",
                                     "Prefill tokens saved by order and eviction policy on a trace "
                                     "with prefix ids, beside what an "
                                     "infinite cache, Belady and LRU would save");
  add_trace(sub, &cache->trace, &cache->shape);
  add_machine(sub, &cache->model);
  sub->add_option("--pool-share", cache->pool_share,
                  "The pool as a share of the trace's distinct prompt tokens")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  sub->add_flag("--batch", cache->batch, "All requests at t = 0, in the service class batch");
}

void add_overload(CLI::App& app, stet::sim::OverloadCommand* overload) {
  CLI::App* sub = app.add_subcommand(
      "overload",
      "long-output near and above capacity (scheduler.md section 10): policies with and without "
      "late last, and with true lengths; means over five seeds");
  add_machine(sub, &overload->model);
  sub->add_option("--requests", overload->num_requests, "Of each seed")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  sub->add_option("--rate", overload->rates, "Requests per second; may be repeated")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
}

void add_agents(CLI::App& app, stet::sim::AgentsCommand* agents) {
  CLI::App* sub = app.add_subcommand("agents",
                                     "Programs of many turns (gen agents): job completion time and "
                                     "prefill tokens saved, with pins "
                                     "and without, by order of eviction; means over seeds");
  add_machine(sub, &agents->model);
  sub->add_option("--policy", agents->policy, "A policy by name")->capture_default_str();
  sub->add_option("--programs", agents->num_programs, "Of each seed")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  sub->add_option("--rate", agents->rate, "Programs per second in the mean")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  sub->add_option("--seeds", agents->num_seeds, "How many, from 1")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  sub->add_option("--pool", agents->pools, "Tokens of KV; may be repeated")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
}

void add_score(CLI::App& app, stet::sim::ScoreCommand* score) {
  CLI::App* sub = app.add_subcommand("score",
                                     "Forecast peak memory beside the true peak, for every batch "
                                     "that a replay forms by admission");
  add_trace(sub, &score->trace, &score->shape);
  add_machine(sub, &score->model);
  sub->add_option("--policy", score->replay.policy, "The policy that forms the batches")
      ->capture_default_str();
  add_replay(sub, &score->replay);
  sub->add_option("--every", score->every, "Score each so many-th step that admits")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  sub->add_option("--json", score->json, "Write the figures and every batch to this file");
  sub->add_option("--svg", score->svg, "Draw memory, forecast and truth over time into this file");
}

void add_experiments(CLI::App& app, stet::sim::ExperimentsCommand* experiments) {
  CLI::App* sub = app.add_subcommand(
      "experiments",
      "The experiment table of scheduler.md section 9: policies x traces x load, with charts");
  sub->add_option("--data", experiments->data,
                  "Folder of the trace slices (azure_llm_*_first.csv, mooncake_*_first.csv); those "
                  "that are missing are left out and named. long-output needs none");
  sub->add_option("--out", experiments->out, "Folder for the results; made if it is not there")
      ->required();
  add_machine(sub, &experiments->model);
  sub->add_option("--requests", experiments->num_requests,
                  "Of each recorded trace at most so many; 0 = all")
      ->capture_default_str();
  sub->add_option("--long-output-requests", experiments->num_long_output,
                  "Of each of the three long-output traces")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  sub->add_option("--ttft", experiments->sla.ttft_s, "SLA: seconds to the first token")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  sub->add_option("--gap", experiments->sla.gap_s, "SLA: seconds between two tokens, ever")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
}

void add_gen(CLI::App& app, stet::sim::GenCommand* gen, stet::sim::GenAgentsCommand* agents) {
  CLI::App* sub = app.add_subcommand("gen", "Write a synthetic trace to standard output");
  sub->require_subcommand(1);
  CLI::App* kind = sub->add_subcommand(
      "long-output",
      "Poisson arrivals; prompt lognormal(5.6, 0.8) in 20..4000, output lognormal(7.2, 0.8) in "
      "20..8192 (scheduler.md section 10)");
  kind->add_option("--requests", gen->num_requests, "How many")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  kind->add_option("--rate", gen->rate, "Requests per second in the mean")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  kind->add_option("--seed", gen->seed, "Equal seeds give equal traces on every platform")
      ->capture_default_str();
  CLI::App* of_agents = sub->add_subcommand(
      "agents",
      "Programs of many turns with tools in between (src/sim/agents.h says what is assumed); "
      "replayed by `stet-sim agents`");
  of_agents->add_option("--programs", agents->num_programs, "How many")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  of_agents->add_option("--rate", agents->rate, "Programs per second in the mean")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  of_agents->add_option("--seed", agents->seed, "Equal seeds give equal traces on every platform")
      ->capture_default_str();
}

int run(int argc, char** argv) {
  CLI::App app(
      "stet-sim: the production engine, scheduler and KV cache on a simulated machine and virtual "
      "time");
  app.require_subcommand(1);
  stet::sim::GenCommand gen;
  stet::sim::RunCommand replay;
  stet::sim::GenAgentsCommand gen_agents;
  add_gen(app, &gen, &gen_agents);
  add_run(app, &replay);
  stet::sim::CacheCommand cache;
  add_cache(app, &cache);
  stet::sim::OverloadCommand overload;
  add_overload(app, &overload);
  stet::sim::ScoreCommand score;
  add_score(app, &score);
  stet::sim::ExperimentsCommand experiments;
  add_experiments(app, &experiments);
  stet::sim::AgentsCommand agents;
  add_agents(app, &agents);
  CLI11_PARSE(app, argc, argv);
  if (app.got_subcommand("gen")) {
    return app.get_subcommand("gen")->got_subcommand("agents") ? gen_agents.run() : gen.run();
  }
  if (app.got_subcommand("agents")) {
    return agents.run();
  }
  if (app.got_subcommand("cache")) {
    return cache.run();
  }
  if (app.got_subcommand("overload")) {
    return overload.run();
  }
  if (app.got_subcommand("score")) {
    return score.run();
  }
  if (app.got_subcommand("experiments")) {
    return experiments.run();
  }
  return replay.run();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "stet-sim: %s\n", error.what());
    return 70;  // EX_SOFTWARE
  }
}
