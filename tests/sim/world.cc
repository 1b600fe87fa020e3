#include "tests/sim/world.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <utility>

#include "src/engine/engine_core.h"
#include "stet/base/clock.h"
#include "stet/obs/metrics.h"
#include "tests/sim/clients.h"

namespace stet::sim {
namespace {

constexpr uint64_t kMaxSteps = 200'000;  // far above any run: reached only by a livelock

Sha256Digest eight_bit_chain(const Sha256Digest& parent,
                             std::span<const uint32_t> block_token_ids) {
  Sha256Digest hash{};
  hash[0] = kv::sha256_chain(parent, block_token_ids)[0];
  return hash;
}

class World {
 public:
  World(const WorldConfig& config, Planted planted);
  RunReport run();

 private:
  static executor::FakeOptions with_hooks(const WorldConfig& config, World* world);
  void make_core(Planted planted);
  void orders(uint64_t now_us);
  void check_step();
  void check_budget(const StepPlan& plan);
  void check_end();
  bool idle(uint64_t acted_at_us);  // false: nothing will ever happen again
  uint64_t fair_share_of_steps() const;

  const WorldConfig& config_;
  ManualClock clock_;
  obs::Metrics metrics_;
  RunReport report_;
  executor::FakeBackend fake_;
  WatchedBackend backend_;
  Clients clients_;
  std::unique_ptr<engine::EngineCore> core_;
  bool drained_ = false, aborted_ = false;
};

executor::FakeOptions World::with_hooks(const WorldConfig& config, World* world) {
  executor::FakeOptions options = config.fake;
  options.clock = &world->clock_;
  options.on_violation = [world](const std::string& what) {
    world->clients_.fail("backend: " + what);
  };
  return options;
}

World::World(const WorldConfig& config, Planted planted)
    : config_(config),
      fake_(with_hooks(config, this)),
      backend_(&fake_, planted, &report_.coverage),
      clients_(&config_, &fake_.model(), planted, &report_.coverage) {
  clock_.advance_us(1);
  make_core(planted);
}

void World::make_core(Planted planted) {
  const kv::KvOptions kv_options = {
      .num_blocks = config_.fake.num_blocks,
      .block_tokens = config_.fake.block_tokens,
      .prefix_cache = config_.options.prefix_cache,
      .eviction = config_.options.eviction,
      .chain_hash = config_.short_hash ? eight_bit_chain : kv::sha256_chain};
  sched::Policy policy = std::move(sched::make_policy(config_.options.policy)).value();
  policy.admission = std::make_unique<PlantedAdmission>(std::move(policy.admission), planted);
  Result<std::unique_ptr<engine::EngineCore>> core = engine::EngineCore::create(
      {.backend = &backend_,
       .sink = &clients_,
       .clock = &clock_,
       .metrics = &metrics_,
       .options = config_.options,
       .kv = std::make_unique<PlantedKvCache>(kv_options, planted, &clock_,
                                              config_.pins ? &report_.coverage : nullptr),
       .policy = std::move(policy)});
  STET_CHECK(core.ok(), core.status().message().c_str());
  core_ = std::move(core).value();
}

void World::orders(uint64_t now_us) {
  if (config_.drain_at_us != 0 && now_us >= config_.drain_at_us && !std::exchange(drained_, true)) {
    core_->begin_drain();
  }
  if (config_.abort_at_us != 0 && now_us >= config_.abort_at_us && !std::exchange(aborted_, true)) {
    core_->push(engine::CommandKind::kAbortAll, RequestId{});
  }
  clients_.act(core_.get(), now_us);
}

// A sequence makes progress whenever it is the oldest, so the steps of a run are bounded by its
// work.
uint64_t World::fair_share_of_steps() const {
  uint64_t positions = 0;
  for (const ClientPlan& c : config_.clients) {
    positions +=
        (c.request.prompt_token_ids.size() + c.request.sampling.max_tokens) * c.request.num_choices;
  }
  return 2 * positions + 100;
}

void World::check_step() {
  const Status integrity = core_->check_integrity();
  if (!integrity.ok()) {
    clients_.fail(integrity.message());
  }
  report_.coverage.followed += core_->stats().num_following;
  report_.coverage.late += core_->stats().num_late;
  const StepPlan& plan = core_->last_plan();
  if (plan.num_tokens() > config_.fake.max_step_tokens) {
    clients_.fail("a plan beyond the token budget");
  }
  check_budget(plan);
  const std::string text = plan.to_string();
  report_.plan_digest = report_.plan_digest * 1099511628211ULL ^ std::hash<std::string>{}(text);
  ++report_.coverage.steps;
  if (report_.coverage.steps > fair_share_of_steps()) {
    clients_.fail("more steps than work: somebody starves or is computed again and again");
  }
}

// A step is within the target, or no longer than one with the least of prefill beside its decodes.
// The backend's time is linear in positions: the model knows it after the first steps, and before
// that it must have been careful.
void World::check_budget(const StepPlan& plan) {
  const sched::TokenBudget& budget = core_->last_budget();
  if (plan.num_tokens() > budget.num_tokens) {
    clients_.fail("a plan beyond the step's own budget");
  }
  const auto num_decodes = static_cast<uint32_t>(
      std::count_if(plan.scheduled.begin(), plan.scheduled.end(),
                    [](const ScheduledSeq& s) { return s.num_scheduled_tokens == 1; }));
  const uint32_t least = num_decodes + sched::kLeastPrefillTokens;
  const uint64_t step_us = config_.fake.step_us + plan.num_tokens() * config_.fake.position_us;
  const uint64_t target_us = budget.itl_limit_us * 5 / 4 + 2;
  // A model of a few steps cannot tell what a step costs from what a token does. Where even
  // the least is too long it takes more of them to know.
  const bool attainable = config_.fake.step_us + least * config_.fake.position_us <= target_us;
  const bool known = report_.coverage.steps > (attainable ? 8U : 32U);
  if (budget.itl_limit_us != 0 && plan.num_tokens() > least && step_us > target_us && known) {
    clients_.fail("a step of " + std::to_string(step_us) + " us where the smallest ITL target is " +
                  std::to_string(target_us) + " us");
  }
  const bool cut = budget.num_tokens < config_.fake.max_step_tokens;
  report_.coverage.cut_to_target += cut && !budget.at_floor ? 1 : 0;
  report_.coverage.at_floor += budget.at_floor ? 1 : 0;
}

// The clock may have moved since the clients acted: a flush of operations takes a step's time.
bool World::idle(uint64_t acted_at_us) {
  uint64_t next = clients_.next_event_us(acted_at_us);
  for (const uint64_t at : {config_.drain_at_us, config_.abort_at_us}) {
    next = at > acted_at_us ? std::min(next, at) : next;
  }
  if (next == UINT64_MAX) {
    return false;
  }
  const uint64_t now = clock_.now_us();
  clock_.advance_us(next > now ? next - now : 0);
  return true;
}

void World::check_end() {
  report_.coverage.preemptions = core_->stats().preemptions;
  clients_.check_at_end(*core_);
  const kv::BlockCounts& blocks = core_->kv().counts();
  if (blocks.used() != 0 || blocks.available() != config_.fake.num_blocks) {
    clients_.fail("blocks are held though everything has ended");
  }
  if (fake_.num_sequences() != 0) {
    clients_.fail("the backend still has sequences");
  }
}

RunReport World::run() {
  uint64_t turns = 0;
  while (clients_.failures().empty() && !clients_.all_ended() && ++turns < kMaxSteps) {
    const uint64_t acted_at_us = clock_.now_us();
    orders(acted_at_us);
    if (!core_->begin_step()) {
      clients_.check_orders();
      const Status integrity = core_->check_integrity();
      if (!integrity.ok()) {
        clients_.fail(integrity.message());
      }
      if (!clients_.all_ended() && !idle(acted_at_us)) {
        clients_.fail("nothing runs, nothing will come, and somebody waits");
      }
      continue;
    }
    orders(clock_.now_us());  // while the step is in flight
    core_->finish_step();
    clients_.check_orders();
    check_step();
  }
  if (clients_.failures().empty()) {
    while (core_->step()) {
    }
    check_end();
  }
  if (!clients_.failures().empty()) {
    report_.failure =
        "after step " + std::to_string(report_.coverage.steps) + ": " + clients_.failures().front();
  }
  return std::move(report_);
}

}  // namespace

RunReport run_world(const WorldConfig& world, Planted planted) {
  return World(world, planted).run();
}

}  // namespace stet::sim
