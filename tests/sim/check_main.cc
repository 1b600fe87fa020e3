// stet_sim_check --seeds N --first S: more seeds than the test suite has time for. Stops at the
// first that fails.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/sim/world.h"

namespace {

bool parse(const char* text, uint64_t* value) {
  char* end = nullptr;
  *value = std::strtoull(text, &end, 10);
  return end != text && *end == '\0';
}

void print(const stet::sim::Coverage& c, unsigned long long seeds) {
  const auto n = [](uint64_t v) { return static_cast<unsigned long long>(v); };
  std::printf("%llu seeds, %llu steps, %llu tokens, every check held\n", seeds, n(c.steps),
              n(c.tokens));
  std::printf(
      "completed %llu, cancelled %llu, expired %llu, queue timeouts %llu, aborted %llu, faults "
      "%llu\n",
      n(c.completed), n(c.cancelled), n(c.expired), n(c.queue_timeouts), n(c.aborted), n(c.faults));
  std::printf(
      "preemptions %llu, cached tokens %llu, shares %llu, copies %llu, replaces %llu, parks %llu, "
      "resumes %llu, pins %llu\n",
      n(c.preemptions), n(c.cached_tokens), n(c.shares), n(c.copies), n(c.replaces), n(c.parks),
      n(c.resumes), n(c.pins));
  std::printf("refused: full %llu, never fits %llu, draining %llu\n", n(c.refused_full),
              n(c.refused_never), n(c.refused_draining));
  std::printf("steps cut to an ITL target %llu, at the floor %llu\n", n(c.cut_to_target),
              n(c.at_floor));
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t seeds = 2000, first = 0;
  for (int i = 1; i < argc; i += 2) {
    const bool known =
        i + 1 < argc && ((std::strcmp(argv[i], "--seeds") == 0 && parse(argv[i + 1], &seeds)) ||
                         (std::strcmp(argv[i], "--first") == 0 && parse(argv[i + 1], &first)));
    if (!known) {
      std::fprintf(stderr, "usage: stet_sim_check [--seeds N] [--first S]\n");
      return 64;
    }
  }
  stet::sim::Coverage all;
  for (uint64_t seed = first; seed < first + seeds; ++seed) {
    const stet::sim::RunReport report = stet::sim::run_world(stet::sim::make_world(seed));
    if (!report.failure.empty()) {
      std::fprintf(stderr, "seed %llu failed %s\nreplay: stet_sim_check --first %llu --seeds 1\n",
                   static_cast<unsigned long long>(seed), report.failure.c_str(),
                   static_cast<unsigned long long>(seed));
      return 1;
    }
    all.add(report.coverage);
  }
  print(all, static_cast<unsigned long long>(seeds));
  return 0;
}
