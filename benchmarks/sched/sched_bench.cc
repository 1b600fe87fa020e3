// What a plan costs with a thousand sequences running (budgets: scheduler.md sec. 11). The queue
// behind the head does not matter: a plan sees at most 64 waiting sequences, and the first that
// must wait ends admission.
//
// - plan/POLICY/idle: nothing waits
// - plan/POLICY/blocked: the head waits for memory, in every step: one estimate of the batch
// - plan/POLICY/sharing: the same, a system prompt of 1024 tokens shared by all: one estimate that
//   includes the candidate
// - plan/POLICY/admits: 16 small ones join
// - check/ESTIMATOR: one more candidate against a batch that is estimated already
// - refresh: survival curves after an end, with everybody's outputs as cuts
// - step_time/observe: a step learned from; every eighth one fits anew
// - token_budget: with ITL targets
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "stet/sched/memory_estimator.h"
#include "stet/sched/output_lengths.h"
#include "stet/sched/scheduler.h"
#include "stet/sched/step_time.h"
#include "stet/sched/token_budget.h"

namespace stet::sched {
namespace {

constexpr uint32_t kNumRunning = 1000;
constexpr uint32_t kBlockTokens = 64;
constexpr uint32_t kSharedBlocks = 16;

uint32_t hashed(uint32_t x) {
  return static_cast<uint32_t>(x * 0x9E3779B97F4A7C15ULL >> 40);
}

// Decoding sequences of 300..1500 tokens, 20 clients, lengths like the long-output trace's.
struct Crowd {
  explicit Crowd(bool sharing) {
    for (uint32_t i = 0; i < 20; ++i) {
      classes.push_back(learned.lengths.class_of("client " + std::to_string(i), 300));
    }
    for (uint32_t i = 0; i < 10'000; ++i) {
      end_one(i);
    }
    uint32_t next_block = kSharedBlocks;
    tables.resize(kNumRunning);
    for (uint32_t i = 0; i < kNumRunning; ++i) {
      const uint32_t known = 300 + hashed(i) % 1200 + (sharing ? kSharedBlocks * kBlockTokens : 0);
      for (uint32_t b = 0; b < blocks_for(known, kBlockTokens); ++b) {
        tables[i].push_back(BlockId{sharing && b < kSharedBlocks ? b : next_block++});
      }
      running.push_back({.seq = SeqId{i + 1},
                         .order_key = i,
                         .num_known_tokens = known,
                         .num_computed_tokens = known - 1,
                         .num_blocks = static_cast<uint32_t>(tables[i].size()),
                         .max_blocks = blocks_for(known + 8192, kBlockTokens),
                         .output = {.num_outputs = 1 + hashed(i + 7) % 200,
                                    .max_tokens = 8192,
                                    .length_class = classes[i % 20]},
                         .table = tables[i]});
    }
    for (uint32_t i = 0; i < 64; ++i) {
      WaitingSeq w{.seq = SeqId{5000 + i},
                   .order_key = 5000 + i,
                   .num_known_tokens = 64,
                   .max_blocks = 129,
                   .fork_source = {}};
      w.output = {.max_tokens = 8192, .length_class = classes[i % 20]};
      if (sharing) {
        w.first_pos = kSharedBlocks * kBlockTokens;
        w.num_known_tokens = w.first_pos + 64;
        w.table = std::span(tables[0]).first(kSharedBlocks);
      }
      waiting.push_back(w);
    }
    view = {.step = 1000,
            .block_tokens = kBlockTokens,
            .num_blocks = next_block + 100,
            .num_available_blocks = 100,
            .max_step_tokens = 2048,
            .chunk_cap = 2048,
            .max_running = 4000,
            .max_new_sequences = 4000,
            .running = running,
            .waiting = waiting,
            .learned = &learned};
    learned.lengths.refresh(view);
  }
  void end_one(uint32_t i) {
    learned.on_finish({.num_outputs = 100 + hashed(i) % 1000, .length_class = classes[i % 20]},
                      false);
  }
  Learned learned;
  std::vector<LengthClass> classes;
  std::vector<std::vector<BlockId>> tables;
  std::vector<RunningSeq> running;
  std::vector<WaitingSeq> waiting;
  SchedView view;
};

void plan(benchmark::State& state, const std::string& policy_name, const std::string& what) {
  Crowd crowd(what == "sharing");
  if (what == "peak" || what == "sharing") {
    crowd.view.num_blocks += 500;
    crowd.view.num_available_blocks += 500;
  } else if (what == "idle") {
    crowd.view.waiting = {};
  } else if (what == "admits") {
    crowd.view.num_blocks *= 100;
    crowd.view.num_available_blocks = crowd.view.num_blocks / 2;
    crowd.view.max_new_sequences = 16;
  }
  Policy policy = std::move(make_policy(policy_name)).value();
  Scheduler scheduler;
  StepPlan step;
  for (auto _ : state) {
    scheduler.plan(crowd.view, policy, &step);
    benchmark::DoNotOptimize(step.scheduled.data());
  }
  state.counters["admitted"] = static_cast<double>(step.admitted.size());
}

void check(benchmark::State& state, std::unique_ptr<MemoryEstimator> estimator) {
  const Crowd crowd(false);
  std::vector<SeqMemory> seqs;
  for (const RunningSeq& s : crowd.running) {
    seqs.push_back({.seq = s.seq,
                    .num_known_tokens = s.num_known_tokens,
                    .num_outputs = s.output.num_outputs,
                    .max_outputs = s.output.max_tokens,
                    .lengths = &crowd.learned.lengths.curve(s.output.length_class)});
  }
  const SeqMemory candidate = seqs.back();
  seqs.pop_back();
  estimator->build(seqs, {.num_blocks = crowd.view.num_blocks, .block_tokens = kBlockTokens});
  for (auto _ : state) {
    benchmark::DoNotOptimize(estimator->peak_with(candidate));
  }
}

void refresh(benchmark::State& state) {
  Crowd crowd(false);
  uint32_t i = 0;
  for (auto _ : state) {
    crowd.end_one(i++);
    ++crowd.view.step;
    crowd.learned.lengths.refresh(crowd.view);
  }
}

StepShape some_shape(uint32_t i) {
  const uint32_t chunk = i % 3 == 0 ? 2 + hashed(i) % 1000 : 0;
  return {.num_tokens = 1 + hashed(i + 1) % 60 + chunk,
          .decode_context = hashed(i + 2) % 50'000,
          .chunk_context = attended(hashed(i + 3) % 4000, chunk)};
}

StepTimeModel taught() {
  StepTimeModel model;
  for (uint32_t i = 0; i < 1000; ++i) {
    model.observe(some_shape(i), 1000 + 100 * some_shape(i).num_tokens);
  }
  return model;
}

void observe(benchmark::State& state) {
  StepTimeModel model = taught();
  uint32_t i = 0;
  for (auto _ : state) {
    const StepShape shape = some_shape(i++);
    model.observe(shape, 1000 + 100 * shape.num_tokens);
  }
}

void budget(benchmark::State& state) {
  Crowd crowd(false);
  for (RunningSeq& s : crowd.running) {
    s.itl_target_us = 150'000;
  }
  const StepTimeModel model = taught();
  for (auto _ : state) {
    benchmark::DoNotOptimize(token_budget(crowd.view, model).num_tokens);
  }
}

const int registered = [] {
  for (const std::string_view policy : policy_names()) {
    for (const char* what : {"idle", "full", "peak", "sharing", "admits"}) {
      const std::string name(policy);
      benchmark::RegisterBenchmark(
          ("plan/" + name + "/" + what).c_str(),
          [name, what](benchmark::State& state) { plan(state, name, what); });
    }
  }
  benchmark::RegisterBenchmark("check/moments",
                               [](benchmark::State& state) { check(state, moments_estimator()); });
  benchmark::RegisterBenchmark("check/sampled",
                               [](benchmark::State& state) { check(state, sampled_estimator()); });
  benchmark::RegisterBenchmark("refresh", refresh);
  benchmark::RegisterBenchmark("step_time/observe", observe);
  benchmark::RegisterBenchmark("token_budget", budget);
  return 0;
}();

}  // namespace
}  // namespace stet::sched
