#include "tests/sim/world_config.h"

#include <algorithm>

#include "stet/sched/policy.h"

namespace stet::sim {
namespace {

constexpr uint32_t kVocab = 50;  // small, so that stop tokens and equal continuations happen

void draw_engine(Random& random, WorldConfig* world) {
  executor::FakeOptions& fake = world->fake;
  fake.block_tokens = random.pick({8U, 16U, 64U});
  fake.num_blocks = random.between(3, 24);
  fake.vocab_size = kVocab;
  fake.max_model_len = random.pick({64U, 200U, 512U});
  fake.max_step_tokens = random.pick({4U, 16U, 70U, 256U});
  fake.max_sequences = random.between(1, 20);
  fake.seed = random.next();
  fake.fault_period = random.one_in(3) ? 500 + random.below(3000) : 0;
  fake.step_us = random.between(50, 2000);
  fake.position_us = random.between(0, 20);
  engine::EngineOptions& options = world->options;
  const std::vector<std::string_view> policies = sched::policy_names();
  options.policy = policies[random.below(policies.size())];
  options.prefix_cache = !random.one_in(4);
  const uint32_t most_running = std::min(fake.max_step_tokens, fake.max_sequences);
  options.max_running = random.one_in(2) ? 0 : random.between(1, most_running);
  options.max_queued_requests = random.pick({4U, 20U, 256U, 256U});
  options.queue_timeout_us = random.one_in(4) ? random.between(1000, 100'000) : 60'000'000;
  options.chunk_cap = random.one_in(3) ? random.pick({1U, 7U, 64U}) : 0;
  options.eviction = kv::all_evictions()[random.below(kv::all_evictions().size())];
  options.group_window_us = random.pick({1ULL, 2'000ULL, 20'000ULL, 200'000ULL});
  const bool targets = random.one_in(3) || options.eviction == kv::Eviction::kTail;
  options.ttft_target_us = targets ? random.between(500, 50'000) : 0;
  world->pins = random.one_in(2);
  options.min_follow_tokens = random.one_in(2) ? 2 * fake.block_tokens : 1U << 20;
  options.short_first_percent = random.pick({0U, 25U, 25U, 50U});
  options.itl_target_us = random.one_in(4) ? random.between(100, 5000) : 0;
  world->short_hash = random.one_in(6);
  world->long_outputs = random.one_in(3);
}

// Prompts share prefixes in three ways: families with a common start, exact repeats, and
// continuations of earlier answers.
std::vector<uint32_t> draw_prompt(Random& random, const WorldConfig& world, uint32_t most) {
  const executor::FakeModel model(world.fake.seed, kVocab, world.fake.fault_period);
  std::vector<uint32_t> prompt;
  if (!world.clients.empty() && random.one_in(3)) {
    const Request& earlier = world.clients[random.below(world.clients.size())].request;
    prompt = earlier.prompt_token_ids;
    if (random.one_in(2)) {
      const std::vector<uint32_t> answer = model.solo(earlier, 0).output_token_ids;
      prompt.insert(prompt.end(), answer.begin(), answer.end());
      prompt.push_back(static_cast<uint32_t>(random.below(kVocab)));
    }
  } else {
    const uint64_t family = random.below(3);
    const uint32_t shared = random.between(0, most);
    for (uint32_t i = 0; i < shared; ++i) {
      prompt.push_back(static_cast<uint32_t>((family * 31 + i * 7) % kVocab));
    }
    for (uint32_t i = random.between(0, 20); i > 0; --i) {
      prompt.push_back(static_cast<uint32_t>(random.below(kVocab)));
    }
  }
  prompt.resize(std::clamp<size_t>(prompt.size(), 1, most));
  return prompt;
}

Request draw_request(Random& random, const WorldConfig& world) {
  const uint64_t capacity = std::min<uint64_t>(
      world.fake.max_model_len, uint64_t{world.fake.num_blocks} * world.fake.block_tokens);
  Request request;
  // Now and then too long on purpose: refused as never fitting.
  const auto most =
      static_cast<uint32_t>(std::min<uint64_t>(capacity, random.one_in(4) ? 400 : 90));
  request.prompt_token_ids = draw_prompt(random, world, most);
  SamplingParams& sampling = request.sampling;
  sampling.max_tokens = world.long_outputs ? random.between(20, 150) : random.between(1, 25);
  if (request.prompt_token_ids.size() + sampling.max_tokens > capacity && !random.one_in(10)) {
    request.prompt_token_ids.resize(capacity -
                                    std::min<uint64_t>(capacity - 1, sampling.max_tokens));
    sampling.max_tokens = static_cast<uint32_t>(capacity - request.prompt_token_ids.size());
    sampling.max_tokens = std::max(sampling.max_tokens, 1U);
  }
  sampling.temperature = random.one_in(3) ? 0.0f : 1.0f;
  sampling.seed = random.below(3);
  if (random.one_in(world.long_outputs ? 6 : 2)) {
    sampling.stop_token_ids = {random.between(0, 20), random.between(21, kVocab - 1)};
    sampling.min_tokens = random.between(0, 3);
  }
  if (random.one_in(4)) {
    sampling.num_logprobs = random.between(0, 3);
  }
  request.num_choices = random.one_in(4) ? random.between(2, 4) : 1;
  request.ttft_target_us = random.one_in(8) ? random.between(500, 50'000) : 0;
  request.service_class = random.one_in(4) ? ServiceClass::kBatch : ServiceClass::kInteractive;
  request.priority_class = random.one_in(5) ? static_cast<uint8_t>(random.below(8)) : 4;
  request.itl_target_us = random.one_in(6) ? random.between(100, 10'000) : 0;
  request.cache_namespace[0] = static_cast<uint8_t>(random.one_in(5) ? 1 : 0);
  return request;
}

// Few programs and tools, so that turns meet; turns out of order and after the end are the client's
// right.
void draw_program(Random& random, ProgramHints* hints) {
  hints->program_id = random.pick({"", "", "p", "q", "r"});
  hints->turn = random.one_in(2) ? 0 : random.between(1, 5);
  hints->end_of_program = random.one_in(6);
  hints->expects_followup = random.one_in(2);
  hints->tool_name = random.pick({"", "search"});
  hints->expected_gap_us = random.one_in(3) ? random.between(1, 50'000) : 0;
}

// A resume brings the outputs of a run that was cut.
void maybe_resume(Random& random, const WorldConfig& world, Request* request) {
  if (request->num_choices != 1 || !random.one_in(6)) {
    return;
  }
  const executor::FakeModel model(world.fake.seed, kVocab, 0);
  request->output_token_ids = model.solo(*request, 0).output_token_ids;
  request->output_token_ids.resize(random.below(request->output_token_ids.size() + 1));
}

void draw_client(Random& random, uint64_t arrival_us, WorldConfig* world) {
  ClientPlan client;
  client.arrival_us = arrival_us;
  client.request = draw_request(random, *world);
  maybe_resume(random, *world, &client.request);
  if (random.one_in(8)) {
    client.request.deadline_us = arrival_us + random.between(100, 60'000);
  }
  if (random.one_in(8)) {
    client.cancel_at_us = arrival_us + random.below(30'000);
  }
  if (random.one_in(8)) {
    client.cancel_after_tokens = random.between(1, 20);
  }
  if (random.one_in(6)) {
    client.finish_choice = static_cast<uint32_t>(random.below(client.request.num_choices));
    client.finish_after_tokens = random.between(1, 15);
  }
  if (random.one_in(6)) {
    client.park_after_tokens = random.between(1, 10);
    client.unpark_after_us = random.below(20'000);
  }
  world->clients.push_back(std::move(client));
}

}  // namespace

WorldConfig make_world(uint64_t seed) {
  Random random(seed * 0x2545F4914F6CDD1DULL + 1);
  WorldConfig world;
  world.seed = seed;
  draw_engine(random, &world);
  const uint32_t num_clients = random.between(1, 40);
  const uint64_t mean_gap_us = random.pick({0ULL, 500ULL, 5'000ULL});
  uint64_t arrival_us = 1;
  for (uint32_t i = 0; i < num_clients; ++i) {
    draw_client(random, arrival_us, &world);
    arrival_us += mean_gap_us == 0 ? 0 : random.below(2 * mean_gap_us);
  }
  if (random.one_in(10)) {
    world.drain_at_us = random.below(arrival_us + 20'000) + 1;
    world.abort_at_us = random.one_in(2) ? world.drain_at_us + random.below(20'000) : 0;
  }
  if (random.one_in(3)) {
    give_true_lengths(&world);
  }
  if (random.one_in(3)) {
    for (ClientPlan& client : world.clients) {
      client.request.tenant = random.pick({"", "a", "b"});
    }
  }
  if (random.one_in(2)) {
    for (ClientPlan& client : world.clients) {
      draw_program(random, &client.request.program);
    }
  }
  return world;
}

WorldConfig make_crowded_world(uint64_t seed) {
  Random random(seed * 0x2545F4914F6CDD1DULL + 2);
  WorldConfig world;
  world.seed = seed;
  world.fake = {
      .num_blocks = random.between(50, 150),
      .block_tokens = random.pick({1U, 4U, 8U}),
      .vocab_size = kVocab,
      .max_model_len = 400,
      .max_step_tokens = random.one_in(2) ? random.between(16, 80) : random.between(100, 300),
      .max_sequences = 20,
      .seed = random.next(),
      .step_us = 1000,
      .position_us = random.between(0, 20),
      .on_violation = {}};
  world.options.policy = "past_future";
  world.options.eviction = random.one_in(2) ? kv::Eviction::kFuture : kv::Eviction::kLru;
  world.options.min_follow_tokens = random.one_in(2) ? 2 * world.fake.block_tokens : 1U << 20;
  world.options.prefix_cache = !random.one_in(3);
  world.options.queue_timeout_us = UINT64_MAX / 2;
  world.options.short_first_percent = random.pick({0U, 25U, 50U});
  world.options.itl_target_us = random.one_in(2) ? random.between(500, 5000) : 0;
  world.options.max_queued_prompt_tokens = 1U << 20;
  const uint64_t capacity =
      std::min<uint64_t>(400, uint64_t{world.fake.num_blocks} * world.fake.block_tokens);
  for (uint32_t i = 0; i < 60; ++i) {
    ClientPlan client;
    client.arrival_us = 1 + random.below(20'000);
    SamplingParams& sampling = client.request.sampling;
    sampling.max_tokens =
        random.between(1, static_cast<uint32_t>(std::min<uint64_t>(120, capacity / 2)));
    sampling.seed = random.next();
    if (random.one_in(2)) {
      sampling.stop_token_ids = {random.between(0, 20), random.between(21, kVocab - 1)};
    }
    client.request.prompt_token_ids =
        draw_prompt(random, world, static_cast<uint32_t>(capacity) - sampling.max_tokens);
    world.clients.push_back(std::move(client));
  }
  std::stable_sort(
      world.clients.begin(), world.clients.end(),
      [](const ClientPlan& a, const ClientPlan& b) { return a.arrival_us < b.arrival_us; });
  return world;
}

WorldConfig make_misled_world(uint64_t seed) {
  Random random(seed * 0x2545F4914F6CDD1DULL + 3);
  WorldConfig world = make_crowded_world(seed);
  world.fake.block_tokens = random.pick({1U, 4U});
  world.fake.num_blocks = 400 / world.fake.block_tokens;
  for (ClientPlan& client : world.clients) {
    client.arrival_us = 1 + random.below(400'000);
    client.request.prompt_token_ids.resize(random.between(1, 30), 7);
    client.request.priority_class = static_cast<uint8_t>(random.below(8));
    client.request.expected_output_tokens = 1;
    SamplingParams& sampling = client.request.sampling;
    sampling.max_tokens = sampling.min_tokens = random.between(100, 250);
    sampling.stop_token_ids = {
        7};  // barred by min_tokens, but the engine cannot know that none will come
  }
  std::stable_sort(
      world.clients.begin(), world.clients.end(),
      [](const ClientPlan& a, const ClientPlan& b) { return a.arrival_us < b.arrival_us; });
  return world;
}

WorldConfig make_long_prompt_world(uint64_t seed) {
  Random random(seed * 0x2545F4914F6CDD1DULL + 4);
  WorldConfig world = make_crowded_world(seed);
  world.fake.block_tokens = 8;
  world.fake.num_blocks = random.between(200, 400);
  world.fake.max_model_len = 1000;
  world.fake.max_step_tokens = random.between(200, 1000);
  world.options.itl_target_us = random.one_in(2) ? 1 : 0;
  for (ClientPlan& client : world.clients) {
    const bool long_prompt = random.one_in(2);
    client.request.prompt_token_ids.clear();
    const uint32_t prompt = long_prompt ? random.between(300, 800) : random.between(1, 20);
    for (uint32_t i = 0; i < prompt; ++i) {
      client.request.prompt_token_ids.push_back(static_cast<uint32_t>(random.below(kVocab)));
    }
    client.request.sampling.max_tokens =
        long_prompt ? random.between(1, 3) : random.between(50, 200);
    client.request.sampling.stop_token_ids.clear();
  }
  return world;
}

void give_true_lengths(WorldConfig* world) {
  const executor::FakeModel model(world->fake.seed, world->fake.vocab_size,
                                  world->fake.fault_period);
  world->true_lengths = true;
  for (ClientPlan& client : world->clients) {
    uint32_t longest = 1;
    for (uint32_t choice = 0; choice < client.request.num_choices; ++choice) {
      longest = std::max(longest, static_cast<uint32_t>(
                                      model.solo(client.request, choice).output_token_ids.size()));
    }
    client.request.expected_output_tokens = longest;
  }
}

bool predicts(const WorldConfig& world) {
  return world.options.policy.rfind("past_future", 0) == 0 ||
         world.options.policy == "prefix_group" || world.options.policy == "sla";
}

const char* planted_name(Planted planted) {
  switch (planted) {
    case Planted::kNone: return "none";
    case Planted::kReleaseForgotten: return "release_forgotten";
    case Planted::kReferenceLeaked: return "reference_leaked";
    case Planted::kPinLeaked: return "pin_leaked";
    case Planted::kDoubleFree: return "double_free";
    case Planted::kPublishedTooEarly: return "published_too_early";
    case Planted::kCancelIgnored: return "cancel_ignored";
    case Planted::kCopyDropped: return "copy_dropped";
    case Planted::kReplaceDropped: return "replace_dropped";
    case Planted::kTokenFromCompany: return "token_from_company";
    case Planted::kBudgetExceeded: return "budget_exceeded";
    case Planted::kFaultHidden: return "fault_hidden";
    case Planted::kEndTwice: return "end_twice";
    case Planted::kEndLost: return "end_lost";
    case Planted::kNamespacesMixed: return "namespaces_mixed";
    case Planted::kDestroyDropped: return "destroy_dropped";
    case Planted::kFirstChunkAdmission: return "first_chunk_admission";
    case Planted::kPreemptionsForgotten: return "preemptions_forgotten";
    case Planted::kDeadLeaderFollowed: return "dead_leader_followed";
    case Planted::kPrefillTimeIgnored: return "prefill_time_ignored";
    case Planted::kSmallBudgetsForgotten: return "small_budgets_forgotten";
    case Planted::kTargetsForgotten: return "targets_forgotten";
  }
  return "?";
}

}  // namespace stet::sim
