// Admits whatever fits now: all known tokens of the candidate, beside what the running ones still
// need for theirs, with 1 % of the pool left over. Outputs then grow into the same blocks; when
// they run short, the last admitted yields and is recomputed later. The whole remaining prompt is
// checked, never the first chunk only (scheduler.md sec. 4).
#include <limits>

#include "src/sched/policies/policies.h"

namespace stet::sched {
namespace {

constexpr uint32_t kWatermarkDivisor = 100;

class AggressiveAdmission final : public AdmissionPolicy {
 public:
  Verdict fits(const WaitingSeq& candidate, const PoolState& pool) override {
    const uint32_t held = candidate.first_pos / pool.block_tokens;
    const uint64_t needed = uint64_t{blocks_for(candidate.num_known_tokens, pool.block_tokens)} -
                            held + candidate.num_unreferenced_blocks;
    // Alone it may take everything: otherwise a request as large as the pool would wait for ever.
    const uint64_t watermark =
        pool.num_running == 0 ? 0 : 1 + (pool.num_blocks - 1) / kWatermarkDivisor;
    return needed + pool.num_outstanding + watermark <= pool.num_available ? Verdict::kAdmit
                                                                           : Verdict::kWait;
  }
};

class LastAdmitted final : public VictimPolicy {
 public:
  VictimKey key(const RunningSeq& seq) const override {
    return {.protection = seq.num_preemptions >= kProtectedAfterPreemptions ? 1U : 0U,
            .cost = std::numeric_limits<uint64_t>::max() - seq.order_key};
  }
};

}  // namespace

Policy aggressive() {
  return {.name = "aggressive",
          .order = arrival_order(),
          .admission = std::make_unique<AggressiveAdmission>(),
          .victim = std::make_unique<LastAdmitted>()};
}

}  // namespace stet::sched
