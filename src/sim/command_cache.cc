// stet-sim cache.
#include <cstdio>

#include "src/sim/cache_bounds.h"
#include "src/sim/commands.h"
#include "src/sim/metrics.h"

namespace stet::sim {
namespace {

// The others are lru on a trace: it has no programs and no priority classes; and `tail` gives
// tokens away for time.
constexpr kv::Eviction kEvictions[] = {kv::Eviction::kLru, kv::Eviction::kCost,
                                       kv::Eviction::kFuture};

std::string row(const std::string& name, uint64_t saved, const CacheBounds& bounds) {
  char text[256];
  std::snprintf(text, sizeof text, "| %s | %llu | %.1f | %.1f |\n", name.c_str(),
                static_cast<unsigned long long>(saved),
                100.0 * static_cast<double>(saved) / static_cast<double>(bounds.prompt_tokens),
                100.0 * static_cast<double>(saved) / static_cast<double>(bounds.infinite));
  return text;
}

}  // namespace

int CacheCommand::run() const {
  Result<MachineModel> machine = load_machine(model);
  if (!machine.ok()) {
    return fail(machine.status());
  }
  const Result<Trace> recorded = load_trace(trace);
  if (!recorded.ok()) {
    return fail(recorded.status());
  }
  TraceShape wanted = shape;
  wanted.batch = batch;
  const Trace shaped = shape_trace(*recorded, wanted);
  if (!shaped.has_prefix_ids()) {
    return fail(invalid_argument(trace + ": has no prefix_hash_ids, so nothing can be shared"));
  }
  const uint64_t footprint = cache_bounds(shaped, 1).footprint_tokens;
  machine->pool_tokens = static_cast<uint32_t>(pool_share * static_cast<double>(footprint));
  const CacheBounds bounds = cache_bounds(shaped, machine->pool_tokens);
  std::printf(
      "%zu requests of %s, %s; pool %u tokens = %.0f %% of the %llu distinct prompt tokens; step "
      "times: %s\n\n| | prefill tokens saved | %% of prompt tokens | %% of the infinite cache |\n"
      "|---|---|---|---|\n",
      shaped.requests.size(), shaped.name.c_str(), batch ? "all at t = 0 (BATCH)" : "on line",
      machine->pool_tokens, 100.0 * pool_share, static_cast<unsigned long long>(footprint),
      machine->name.c_str());
  std::string table = row("bound: infinite cache", bounds.infinite, bounds) +
                      row("bound: Belady, arrival order", bounds.belady, bounds) +
                      row("model: LRU, arrival order", bounds.lru, bounds);
  std::fputs(table.c_str(), stdout);
  for (const char* policy : {"past_future", "prefix_group"}) {
    for (const kv::Eviction eviction : kEvictions) {
      ReplayOptions options = {.policy = policy, .prefix_cache = true, .batch_class = batch};
      options.eviction = eviction;
      const Result<ReplayResult> result = replay(shaped, *machine, options);
      if (!result.ok()) {
        return fail(result.status());
      }
      const std::string name = std::string(policy) + ", " + kv::eviction_name(eviction);
      std::fputs(row(name, result->work.from_cache, bounds).c_str(), stdout);
      std::fflush(stdout);
      std::fprintf(stderr, "%s: %.1f s, scheduler %.1f us per step, %llu preemptions\n",
                   name.c_str(), result->host_s, result->scheduler_us_per_step,
                   static_cast<unsigned long long>(result->num_preemptions));
    }
  }
  return 0;
}

}  // namespace stet::sim
