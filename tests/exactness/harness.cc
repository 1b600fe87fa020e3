#include "tests/exactness/harness.h"

#include <bit>
#include <condition_variable>
#include <map>
#include <mutex>
#include <random>

#include "stet/base/check.h"
#include "stet/engine/engine.h"
#include "stet/executor/cpu_backend.h"

namespace stet::exactness {
namespace {

// Collects the events of all requests; `wait_ended` blocks until that many have ended.
class Collector final : public engine::EventSink {
 public:
  void on_events(std::vector<engine::EngineEvent> events) override {
    std::lock_guard lock(mutex_);
    for (engine::EngineEvent& event : events) {
      take(event);
    }
    changed_.notify_all();
  }

  void wait_ended(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return num_ended_ >= count; });
  }

  std::vector<Answer> answers_of(RequestId id, uint32_t num_choices) {
    std::lock_guard lock(mutex_);
    std::vector<Answer> result(num_choices);
    for (uint32_t choice = 0; choice < num_choices; ++choice) {
      result[choice] = answers_[{id, choice}];
    }
    return result;
  }

  uint64_t cached_prompt_tokens() {
    std::lock_guard lock(mutex_);
    return cached_prompt_tokens_;
  }

 private:
  void take(const engine::EngineEvent& event) {
    if (event.kind == engine::EngineEventKind::kRequestEnded) {
      ++num_ended_;
      cached_prompt_tokens_ += event.cached_prompt_tokens;
      if (!event.status.ok()) {
        answers_[{event.request, 0}].end = event.status.to_string();
      }
      return;
    }
    Answer& answer = answers_[{event.request, event.choice}];
    for (const engine::EngineToken& token : event.tokens) {
      answer.token_ids.push_back(token.token_id);
      answer.logprob_bits.push_back(std::bit_cast<uint32_t>(token.logprob));
      for (const TopLogprob& top : token.top) {
        answer.top.emplace_back(top.token_id, std::bit_cast<uint32_t>(top.logprob));
      }
    }
    if (event.kind == engine::EngineEventKind::kChoiceFinished) {
      answer.end = event.reason == FinishReason::kStop ? "stop" : "length";
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::pair<RequestId, uint32_t>, Answer> answers_;
  size_t num_ended_ = 0;
  uint64_t cached_prompt_tokens_ = 0;
};

}  // namespace

RunResult run(const std::shared_ptr<const model::Model>& model,
              const std::vector<Request>& requests, const Setting& setting) {
  auto backend =
      executor::CpuBackend::create({.model = model,
                                    .table = setting.table,
                                    .num_threads = setting.num_threads,
                                    .num_blocks = setting.pool_tokens / setting.block_tokens,
                                    .block_tokens = setting.block_tokens,
                                    .max_step_tokens = setting.max_step_tokens,
                                    .max_sequences = 64,
                                    .kv_mode = setting.kv_mode,
                                    .guard_kv = setting.guard_kv,
                                    .kv_max_maps = setting.kv_max_maps,
                                    .poison_kv = true});
  STET_CHECK(backend.ok(), backend.status().message().c_str());
  Collector collector;
  SteadyClock clock;
  obs::Metrics metrics;
  engine::EngineOptions options;
  options.policy = setting.policy;
  options.prefix_cache = setting.prefix_cache;
  options.eviction = setting.eviction;
  options.ttft_target_us = setting.ttft_target_us;
  options.itl_target_us = setting.itl_target_us;
  options.chunk_cap = setting.chunk_cap;
  options.queue_timeout_us = 600'000'000;
  options.max_queued_prompt_tokens = 1u << 30;
  auto engine = engine::Engine::create(backend->get(), &collector, &clock, &metrics, options);
  STET_CHECK(engine.ok(), engine.status().message().c_str());
  (*engine)->start();

  std::vector<RequestId> ids;
  size_t num_submitted = 0;
  for (int round = 0; round < (setting.twice ? 2 : 1); ++round) {
    ids.clear();
    for (const Request& request : requests) {
      Request hinted = request;
      hinted.expected_output_tokens = setting.misleading_hints ? 1 : 0;
      const engine::Submission submission = (*engine)->submit(std::move(hinted));
      STET_CHECK(submission.refusal == engine::Refusal::kNone,
                 "the engine takes every request of the suite");
      ids.push_back(submission.id);
      ++num_submitted;
      if (!setting.together) {
        collector.wait_ended(num_submitted);
      }
    }
    collector.wait_ended(num_submitted);
  }
  RunResult result;
  for (size_t i = 0; i < ids.size(); ++i) {
    for (Answer& answer : collector.answers_of(ids[i], requests[i].num_choices)) {
      result.answers.push_back(std::move(answer));
    }
  }
  result.preemptions = (*engine)->stats().preemptions;
  result.cached_prompt_tokens = collector.cached_prompt_tokens();
  (*engine)->stop();
  result.kv = (*backend)->kv_stats();
  result.grouped_rows = (*backend)->timings().num_grouped_rows;
  return result;
}

std::vector<Request> mixed_requests(uint32_t vocab_size, uint64_t seed, uint32_t num_requests) {
  static constexpr uint32_t kLengths[] = {1,   2,   7,   31,  62,  63,  64,  65,  100, 127,
                                          128, 129, 200, 255, 300, 509, 510, 511, 512, 513};
  std::mt19937_64 random(seed);
  auto token = [&] { return static_cast<uint32_t>(random() % vocab_size); };
  std::vector<uint32_t> shared(600);
  for (uint32_t& id : shared) {
    id = token();
  }
  std::vector<Request> requests(num_requests);
  for (uint32_t i = 0; i < num_requests; ++i) {
    Request& request = requests[i];
    const uint32_t length = kLengths[i % std::size(kLengths)];
    // Every third request shares a prefix with the others of its kind, then goes its own way.
    const uint32_t common = i % 3 == 0 ? length * 3 / 4 : 0;
    request.prompt_token_ids.assign(shared.begin(), shared.begin() + common);
    while (request.prompt_token_ids.size() < length) {
      request.prompt_token_ids.push_back(token());
    }
    request.sampling.seed = random();
    request.sampling.num_logprobs = 5;
    request.sampling.stop_token_ids = {
        i * 37 % vocab_size};  // some end before max_tokens, but those that must grow
    // Some grow across block borders, so that a small pool must preempt.
    request.sampling.max_tokens = i == 1 || i == 9 ? 200 : i % 4 == 1 ? 80 : 6 + i % 5;
    request.sampling.min_tokens = i % 4 == 1 ? request.sampling.max_tokens : 0;
    switch (i % 4) {
      case 0: request.sampling.temperature = 0.0f; break;
      case 1: request.sampling.temperature = 0.8f; break;
      case 2:
        request.sampling.top_p = 0.9f;
        request.sampling.top_k = 40;
        break;
      default:
        request.sampling.repetition_penalty = 1.2f;
        request.sampling.frequency_penalty = 0.3f;
        request.sampling.min_p = 0.01f;
        break;
    }
    request.num_choices = i == 9 ? 3 : 1;
  }
  return requests;
}

Setting reference_setting() {
  return {.name = "alone, scalar, 1 thread", .table = kernels::find_table("scalar")};
}

std::vector<Setting> all_settings(const kernels::KernelTable* table) {
  auto make = [&](std::string name, auto change) {
    Setting setting{.name = std::move(name), .table = table};
    change(setting);
    return setting;
  };
  return {
      make("alone", [](Setting&) {}),
      make("together", [](Setting& s) { s.together = true; }),
      make("together, 2 threads",
           [](Setting& s) {
             s.together = true;
             s.num_threads = 2;
           }),
      make("chunks of 1",
           [](Setting& s) {
             s.chunk_cap = 1;
             s.together = true;
           }),
      make("chunks of 7",
           [](Setting& s) {
             s.chunk_cap = 7;
             s.together = true;
             s.num_threads = 2;
           }),
      make("chunks of 64",
           [](Setting& s) {
             s.chunk_cap = 64;
             s.together = true;
           }),
      make("chunks of 512",
           [](Setting& s) {
             s.max_step_tokens = 1024;
             s.chunk_cap = 512;
             s.num_threads = 2;
           }),
      make("steps of 100 tokens",
           [](Setting& s) {
             s.max_step_tokens = 100;
             s.together = true;
           }),
      make("prefix cache, cold",
           [](Setting& s) {
             s.prefix_cache = true;
             s.together = true;
           }),
      make("prefix cache, warm",
           [](Setting& s) {
             s.prefix_cache = true;
             s.together = true;
             s.twice = true;
           }),
      make("prefix cache, warm, alone",
           [](Setting& s) {
             s.prefix_cache = true;
             s.twice = true;
           }),
      make("preempted",
           [](Setting& s) {
             s.policy = "aggressive";
             s.pool_tokens = 704;
             s.together = true;
           }),
      make("preempted, prefix cache",
           [](Setting& s) {
             s.policy = "aggressive";
             s.pool_tokens = 704;
             s.together = true;
             s.prefix_cache = true;
             s.num_threads = 2;
           }),
      make("predicted",
           [](Setting& s) {
             s.policy = "past_future";
             s.together = true;
             s.prefix_cache = true;
           }),
      make("predicted, preempted",
           [](Setting& s) {
             s.policy = "past_future";
             s.pool_tokens = 704;
             s.together = true;
             s.misleading_hints = true;
           }),
      make("drawn, preempted, prefix cache",
           [](Setting& s) {
             s.policy = "past_future_sampled";
             s.eviction = kv::Eviction::kCost;
             s.pool_tokens = 704;
             s.together = true;
             s.prefix_cache = true;
             s.misleading_hints = true;
             s.num_threads = 2;
           }),
      make("grouped, late, cut to a target",
           [](Setting& s) {
             s.policy = "prefix_group";
             s.ttft_target_us = 1;
             s.itl_target_us = 1;
             s.together = true;
             s.prefix_cache = true;
           }),
      make("grouped, evicting what is used last",
           [](Setting& s) {
             s.policy = "prefix_group";
             s.eviction = kv::Eviction::kFuture;
             s.pool_tokens = 1024;
             s.together = true;
             s.prefix_cache = true;
             s.twice = true;
             s.num_threads = 2;
           }),
      make("virtual",
           [](Setting& s) {
             s.kv_mode = executor::KvMode::kVirtual;
             s.together = true;
             s.num_threads = 2;
           }),
      make("virtual, guarded, prefix cache, warm",
           [](Setting& s) {
             s.kv_mode = executor::KvMode::kVirtual;
             s.guard_kv = true;
             s.prefix_cache = true;
             s.together = true;
             s.twice = true;
           }),
      make("virtual, preempted, prefix cache",
           [](Setting& s) {
             s.kv_mode = executor::KvMode::kVirtual;
             s.policy = "aggressive";
             s.pool_tokens = 704;
             s.together = true;
             s.prefix_cache = true;
             s.num_threads = 2;
           }),
      make("virtual beside paged, warm",
           [](Setting& s) {
             s.kv_mode = executor::KvMode::kVirtual;
             s.kv_max_maps = 40;
             s.prefix_cache = true;
             s.together = true;
             s.twice = true;
           }),
      make("blocks of 128",
           [](Setting& s) {
             s.block_tokens = 128;
             s.together = true;
             s.prefix_cache = true;
             s.twice = true;
           }),
  };
}

std::vector<Request> shared_prefix_requests(uint32_t vocab_size, uint64_t seed) {
  static constexpr uint32_t kCommon[] = {600, 300, 600, 577, 256, 600, 400, 600, 512};
  std::mt19937_64 random(seed);
  auto token = [&] { return static_cast<uint32_t>(random() % vocab_size); };
  std::vector<uint32_t> document(600);
  for (uint32_t& id : document) {
    id = token();
  }
  std::vector<Request> requests(std::size(kCommon));
  for (uint32_t i = 0; i < requests.size(); ++i) {
    Request& request = requests[i];
    request.prompt_token_ids.assign(document.begin(), document.begin() + kCommon[i]);
    for (uint32_t own = 1 + i * 17; own > 0; --own) {
      request.prompt_token_ids.push_back(token());
    }
    request.sampling.seed = random();
    request.sampling.num_logprobs = 5;
    request.sampling.max_tokens = 10 + i;
    request.sampling.temperature = i % 2 == 0 ? 0.0f : 0.8f;
    request.num_choices = i == 2 ? 3 : 1;
  }
  return requests;
}

std::vector<Setting> group_settings(const kernels::KernelTable* table) {
  Setting base{.name = "together, prefix cache", .table = table};
  base.prefix_cache = true;
  base.together = true;
  base.twice = true;
  std::vector<Setting> settings(4, base);
  settings[1].name += ", 2 threads";
  settings[1].num_threads = 2;
  settings[2].name += ", 16 threads";  // few rows per thread: divided by segments
  settings[2].num_threads = 16;
  settings[3].name += ", blocks of 128, aggressive";
  settings[3].block_tokens = 128;
  settings[3].policy = "aggressive";
  settings[3].pool_tokens = 4096;
  return settings;
}

std::string first_difference(const std::vector<Answer>& expected,
                             const std::vector<Answer>& found) {
  if (expected.size() != found.size()) {
    return "number of answers";
  }
  for (size_t i = 0; i < expected.size(); ++i) {
    const Answer& e = expected[i];
    const Answer& f = found[i];
    if (e == f) {
      continue;
    }
    const std::string where = "answer " + std::to_string(i) + ": ";
    for (size_t t = 0; t < e.token_ids.size() && t < f.token_ids.size(); ++t) {
      if (e.token_ids[t] != f.token_ids[t]) {
        return where + "token " + std::to_string(t) + ": expected " +
               std::to_string(e.token_ids[t]) + ", found " + std::to_string(f.token_ids[t]);
      }
      if (e.logprob_bits[t] != f.logprob_bits[t]) {
        return where + "log-probability of token " + std::to_string(t) + ": bits differ";
      }
    }
    if (e.end != f.end) {
      return where + "end: expected " + e.end + ", found " + f.end;
    }
    return where + (e.top != f.top ? "top log-probabilities differ" : "number of tokens differs");
  }
  return "";
}

}  // namespace stet::exactness
