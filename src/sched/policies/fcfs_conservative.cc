// Admits only what can run to its last token whatever happens: prompt + max_tokens of everybody fit
// the pool together, each counted alone (sharing only makes it less). So blocks never run short and
// nobody is preempted; the price is a pool that stands half empty when clients leave max_tokens
// large (scheduler.md sec. 10).
#include "src/sched/policies/policies.h"

namespace stet::sched {
namespace {

class ConservativeAdmission final : public AdmissionPolicy {
 public:
  Verdict fits(const WaitingSeq& candidate, const PoolState& pool) override {
    return pool.num_reserved + candidate.max_blocks <= pool.num_blocks ? Verdict::kAdmit
                                                                       : Verdict::kWait;
  }
};

}  // namespace

Policy fcfs_conservative() {
  return {.name = "fcfs_conservative",
          .order = arrival_order(),
          .admission = std::make_unique<ConservativeAdmission>(),
          .victim = nullptr};
}

}  // namespace stet::sched
