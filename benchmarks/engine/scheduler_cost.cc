// What the engine costs around a step with a thousand sequences running and ten thousand waiting
// (budgets: scheduler.md sec. 11). The production engine, scheduler and KV cache; a backend that
// computes nothing.
//
//   scheduler_cost [--policy NAME ...] [--running 1000] [--waiting 10000] [--steps 2000]
//
// - plan: from the start of a step to Backend::submit: inbox, view, plan, commit, batch.
// - update: from the result to the end of the step: tokens, ends, publication, events, metrics.
//   An ended request is replaced by a new one outside of the measured time, so the crowd stays.
// - admission: a plan that admits 64 at once, per admitted request, nobody else running.
// - arrival: from submit() to its place in the queue, per request, its prompt's block hashes
//   included.
// - cancel: one of the waiting ones, in random order, per request.
// - allocations: calls of operator new. Of plans whose inbox was empty: a request that arrives is
//   made of a few dozen. Of updates per event: an event belongs to the sink that is given it.
#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>
#include <unordered_map>
#include <vector>

#include "benchmarks/engine/counting_new.h"
#include "stet/base/check.h"
#include "stet/engine/stepped_engine.h"
#include "stet/sched/policy.h"

namespace stet::engine {
namespace {

using Steady = std::chrono::steady_clock;

constexpr uint32_t kBlockTokens = 64;
constexpr uint32_t kMaxStepTokens = 4096;
constexpr uint32_t kMaxTokens = 8192;
constexpr uint32_t kEndToken = 0;

double us_between(Steady::time_point from, Steady::time_point to) {
  return std::chrono::duration<double, std::micro>(to - from).count();
}

// Ends a sequence after as many outputs as its sampling seed says.
class NoBackend final : public executor::Backend {
 public:
  NoBackend(uint32_t num_blocks, uint32_t max_sequences)
      : info_{.name = "none",
              .device = "none",
              .num_blocks = num_blocks,
              .block_tokens = kBlockTokens,
              .vocab_size = 1U << 20,
              .max_model_len = 1U << 20,
              .max_step_tokens = kMaxStepTokens,
              .max_sequences = max_sequences} {}

  const executor::BackendInfo& info() const override { return info_; }
  executor::Ticket submit(const StepBatch& batch) override {
    submitted_at = Steady::now();
    allocations_at_submit = num_allocations();
    step_ = batch.step;
    for (const NewSequence& s : batch.new_sequences) {
      left_[s.seq] = static_cast<uint32_t>(s.sampling.seed);
    }
    result_.clear();
    for (const BatchRow& row : batch.rows) {
      if (row.sample) {
        uint32_t& left = left_.at(row.seq);
        result_.sampled.push_back({.seq = row.seq, .token_id = --left == 0 ? kEndToken : 1 + left});
      }
    }
    return {batch.step};
  }
  void wait(executor::Ticket ticket, StepResult* result) override {
    STET_CHECK(ticket.step == step_, "one step is in flight at a time");
    result->clear();
    result->step = step_;
    result->step_us = 20'000;
    result->sampled.assign(result_.sampled.begin(), result_.sampled.end());
    waited_at = Steady::now();
    allocations_at_wait = num_allocations();
  }

  Steady::time_point submitted_at, waited_at;
  uint64_t allocations_at_submit = 0, allocations_at_wait = 0;

 private:
  const executor::BackendInfo info_;
  std::unordered_map<SeqId, uint32_t> left_;
  StepResult result_;
  uint64_t step_ = 0;
};

class CountingSink final : public EventSink {
 public:
  void on_events(std::vector<EngineEvent> events) override {
    handed_over_at = Steady::now();
    allocations_at_handover = num_allocations();
    num_events += events.size();
    for (const EngineEvent& e : events) {
      num_ended += e.kind == EngineEventKind::kRequestEnded ? 1 : 0;
    }
  }
  Steady::time_point handed_over_at;
  uint64_t allocations_at_handover = 0;
  uint64_t num_events = 0, num_ended = 0;
};

struct Distribution {
  std::vector<double> values;
  void add(double v) { values.push_back(v); }
  double quantile(double q) {
    if (values.empty()) {
      return 0.0;
    }
    std::sort(values.begin(), values.end());
    return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
  }
};

class World {
 public:
  World(const std::string& policy, uint32_t num_blocks, uint32_t max_running)
      : backend_(num_blocks, kMaxStepTokens) {
    EngineOptions options;
    options.policy = policy;
    options.max_running = max_running;
    options.max_queued_requests = 1U << 20;
    options.max_queued_prompt_tokens = 1ULL << 40;
    options.queue_timeout_us = UINT64_MAX / 4;
    engine_ = std::move(
        SteppedEngine::create(&backend_, &sink_, &clock_, &metrics_, std::move(options)).value());
  }

  // Prompts differ from their first block on, unless `shared` tokens are common to all.
  RequestId submit(uint32_t prompt, uint32_t outputs, uint32_t shared = 0) {
    Request request;
    request.prompt_token_ids.resize(prompt);
    for (uint32_t i = 0; i < prompt; ++i) {
      request.prompt_token_ids[i] = i < shared ? i : static_cast<uint32_t>(random_() % (1U << 20));
    }
    request.sampling.max_tokens = kMaxTokens;
    request.sampling.seed = outputs;
    request.sampling.stop_token_ids = {kEndToken};
    request.tenant = "client " + std::to_string(random_() % 20);
    clock_.advance_us(1);
    const Submission submission = engine_->submit(std::move(request));
    STET_CHECK(submission.refusal == Refusal::kNone, "the queue is open");
    return submission.id;
  }
  RequestId submit_some(uint32_t shared) {
    return submit(shared + 100 + static_cast<uint32_t>(random_() % 400),
                  200 + static_cast<uint32_t>(random_() % 1600), shared);
  }

  bool step() {
    clock_.advance_us(20'000);
    return engine_->step();
  }
  SteppedEngine& engine() { return *engine_; }
  NoBackend& backend() { return backend_; }
  CountingSink& sink() { return sink_; }
  std::mt19937_64& random() { return random_; }

 private:
  std::mt19937_64 random_{7};
  ManualClock clock_;
  obs::Metrics metrics_;
  NoBackend backend_;
  CountingSink sink_;
  std::unique_ptr<SteppedEngine> engine_;
};

struct Shape {
  uint32_t running = 0, waiting = 0, steps = 0;
};

void steady_state(const std::string& policy, const Shape& shape, uint32_t shared) {
  // A pool that `running` sequences in the middle of their lives fill: the head waits for memory.
  const uint32_t each = (300 + 500) / kBlockTokens + 1;
  World world(policy, shape.running * each + shared / kBlockTokens, kMaxStepTokens);
  for (uint32_t i = 0; i < shape.running + shape.waiting; ++i) {
    world.submit_some(shared);
  }
  Distribution plan, update;
  uint64_t plan_allocations = 0, update_allocations = 0, events = 0, running = 0, ended = 0;
  uint32_t num_quiet = 0;  // steps into which nobody arrived
  bool arrivals = true;
  const uint32_t warm_up = 2500;  // long enough for histories to fill and ends to spread
  for (uint32_t i = 0; i < warm_up + shape.steps; ++i) {
    const uint64_t ended_before = world.sink().num_ended;
    const uint64_t events_before = world.sink().num_events;
    const uint64_t allocations = num_allocations();
    const Steady::time_point start = Steady::now();
    STET_CHECK(world.step(), "there is always work");
    const Steady::time_point end = Steady::now();
    if (i >= warm_up) {
      const NoBackend& b = world.backend();
      plan.add(us_between(start, b.submitted_at));
      update.add(us_between(b.waited_at, end));
      plan_allocations += arrivals ? 0 : b.allocations_at_submit - allocations;
      num_quiet += arrivals ? 0 : 1;
      update_allocations += world.sink().allocations_at_handover - b.allocations_at_wait;
      events += world.sink().num_events - events_before;
      running += world.engine().stats().num_running;
      ended += world.sink().num_ended - ended_before;
    }
    arrivals = world.sink().num_ended != ended_before;
    for (uint64_t n = world.sink().num_ended - ended_before; n > 0; --n) {
      world.submit_some(shared);
    }
  }
  const EngineStats stats = world.engine().stats();
  const double n = shape.steps;
  std::printf("| %s%s | %.0f | %u | %.2f | %llu | %.0f / %.0f | %.0f / %.0f | %.1f | %.2f |\n",
              policy.c_str(), shared == 0 ? "" : ", shared prefix",
              static_cast<double>(running) / n, stats.num_waiting, static_cast<double>(ended) / n,
              static_cast<unsigned long long>(stats.preemptions), plan.quantile(0.5),
              plan.quantile(0.99), update.quantile(0.5), update.quantile(0.99),
              static_cast<double>(plan_allocations) / std::max(num_quiet, 1U),
              static_cast<double>(update_allocations) / static_cast<double>(events));
  std::fflush(stdout);
}

double admission_us(const std::string& policy, uint32_t num_waiting) {
  Distribution all;
  for (uint32_t round = 0; round < 20; ++round) {
    World world(policy, 1U << 18, kMaxStepTokens);
    world.submit(64, 1);
    world.step();  // everything that happens once has happened
    for (uint32_t i = 0; i < num_waiting / 10; ++i) {
      world.submit(60, 2000);
    }
    world.engine().step();
    const uint32_t before = world.engine().stats().num_running;
    const Steady::time_point start = Steady::now();
    world.step();
    const uint32_t admitted = world.engine().stats().num_running - before;
    STET_CHECK(admitted > 0, "there was room");
    all.add(us_between(start, world.backend().submitted_at) / admitted);
  }
  return all.quantile(0.5);
}

struct QueueCosts {
  double arrival_us = 0.0, cancel_us = 0.0;
};

QueueCosts queue_costs(const std::string& policy, uint32_t num_waiting) {
  World world(policy, 1024, /*max_running=*/1);
  world.submit(64, 10'000);  // nobody else starts
  world.step();
  std::vector<RequestId> ids;
  for (uint32_t i = 0; i < num_waiting; ++i) {
    ids.push_back(world.submit(1024, 100));
  }
  QueueCosts costs;
  Steady::time_point start = Steady::now();
  world.step();
  costs.arrival_us = us_between(start, Steady::now()) / num_waiting;
  std::shuffle(ids.begin(), ids.end(), world.random());
  const size_t num_cancelled = std::min<size_t>(ids.size() / 2, 1000);
  for (size_t i = 0; i < num_cancelled; ++i) {
    world.engine().cancel(ids[i]);
  }
  const uint64_t before = world.sink().num_ended;
  start = Steady::now();
  world.step();
  costs.cancel_us = us_between(start, Steady::now()) / static_cast<double>(num_cancelled);
  STET_CHECK(world.sink().num_ended - before == num_cancelled, "all were cancelled");
  return costs;
}

int run(const std::vector<std::string>& policies, const Shape& shape) {
  std::printf(
      "| policy | running | waiting | ends per step | preemptions | plan us, median / p99 | "
      "update us, median / p99 | allocations per plan | allocations per event |\n"
      "|---|---|---|---|---|---|---|---|---|\n");
  for (const std::string& policy : policies) {
    steady_state(policy, shape, 0);
    steady_state(policy, shape, 1024);
  }
  std::printf(
      "\n| policy | admission us | arrival us, 1,024 tokens | cancel us of 1,000 waiting | cancel "
      "us "
      "of %u waiting |\n|---|---|---|---|---|\n",
      shape.waiting);
  for (const std::string& policy : policies) {
    const QueueCosts few = queue_costs(policy, 1000);
    const QueueCosts many = queue_costs(policy, shape.waiting);
    std::printf("| %s | %.1f | %.1f | %.1f | %.1f |\n", policy.c_str(),
                admission_us(policy, shape.waiting), many.arrival_us, few.cancel_us,
                many.cancel_us);
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace stet::engine

int main(int argc, char** argv) {
  CLI::App app("What the engine costs around a step: plan, update, admission, arrival, cancel.");
  std::vector<std::string> policies;
  stet::engine::Shape shape{.running = 1000, .waiting = 10'000, .steps = 2000};
  app.add_option("--policy", policies, "policies to measure (default: all)");
  app.add_option("--running", shape.running, "sequences that the pool is made for")
      ->capture_default_str()
      ->check(CLI::Range(10, 4000));
  app.add_option("--waiting", shape.waiting, "requests in the queue")
      ->capture_default_str()
      ->check(CLI::Range(1000, 1'000'000));
  app.add_option("--steps", shape.steps, "measured steps")
      ->capture_default_str()
      ->check(CLI::Range(10, 1'000'000));
  CLI11_PARSE(app, argc, argv);
  if (policies.empty()) {
    for (const std::string_view name : stet::sched::policy_names()) {
      policies.emplace_back(name);
    }
  }
  return stet::engine::run(policies, shape);
}
