// Serves those first that have the least time left, and admits nobody whose presence would make
// steps too long for somebody. scheduler.md sec. 3 and 5.
//
// - order: least slack, TTFT deadline - now - predicted prefill. `now` is the same for all, so the
//   key is fixed at arrival. Whoever has missed its deadline is last (waiting_queue.h).
// - admission: past_future, and a step in which everybody decodes, the candidate included, is
//   predicted to keep every ITL target that it keeps without it. A target that is missed anyway
//   stops nobody: it would starve the others and not be met.
// - victim: the most slack, that is no ITL target, then the longest; among equals the least work.
#include <algorithm>
#include <limits>

#include "src/sched/policies/policies.h"
#include "stet/sched/output_lengths.h"
#include "stet/sched/token_budget.h"

namespace stet::sched {
namespace {

// Of requests without a TTFT target: they give way to those with one, but not for ever.
constexpr uint64_t kPatienceUs = 30'000'000;

class LeastSlack final : public OrderPolicy {
 public:
  uint64_t key(const OrderInput& request) const override {
    const uint64_t target = request.ttft_target_us == 0 ? kPatienceUs : request.ttft_target_us;
    const uint64_t deadline = aged_arrival_us(request) + target;
    return deadline - std::min(deadline, request.prefill_us);
  }
};

class SlaAdmission final : public AdmissionPolicy {
 public:
  void begin(const SchedView& view) override {
    memory_->begin(view);
    model_ = view.learned == nullptr ? nullptr : &view.learned->step_time;
    crowd_ = {};
    for (const RunningSeq& s : view.running) {
      crowd_.add(s.num_known_tokens, s.itl_target_us);
    }
  }
  Verdict fits(const WaitingSeq& candidate, const PoolState& pool) override {
    return pool.num_running == 0 || keeps_targets(candidate) ? memory_->fits(candidate, pool)
                                                             : Verdict::kWaitForTime;
  }
  void admitted(const WaitingSeq& candidate) override {
    memory_->admitted(candidate);
    crowd_.add(candidate.num_known_tokens, candidate.itl_target_us);
  }
  bool predicts() const override { return true; }
  uint64_t forecast_peak(const SchedView& view) override { return memory_->forecast_peak(view); }

 private:
  struct Crowd {  // when all of them decode
    StepShape step;
    uint64_t itl_target_us = 0;  // the smallest; 0 = none has one
    void add(uint32_t num_known_tokens, uint64_t target_us) {
      ++step.num_tokens;
      step.decode_context += num_known_tokens;
      if (target_us != 0 && (itl_target_us == 0 || target_us < itl_target_us)) {
        itl_target_us = target_us;
      }
    }
  };

  bool keeps_targets(const WaitingSeq& candidate) const {
    Crowd with = crowd_;
    with.add(candidate.num_known_tokens, candidate.itl_target_us);
    if (model_ == nullptr || with.itl_target_us == 0) {
      return true;
    }
    const auto limit = static_cast<double>(itl_limit_us(with.itl_target_us));
    return model_->predict_us(with.step) <= limit || model_->predict_us(crowd_.step) > limit;
  }

  const std::unique_ptr<AdmissionPolicy> memory_ = past_future_admission();
  const StepTimeModel* model_ = nullptr;
  Crowd crowd_;
};

class MostSlack final : public VictimPolicy {
 public:
  VictimKey key(const RunningSeq& seq) const override {
    constexpr uint64_t kMost = std::numeric_limits<uint32_t>::max();
    const uint64_t urgency =
        seq.itl_target_us == 0 ? 0 : kMost - std::min(seq.itl_target_us / 1000, kMost - 1);
    const uint64_t lost = seq.num_exclusive_blocks == 0 ? kMost : seq.num_exclusive_blocks;
    return {.protection = protection_of(seq), .cost = urgency << 32 | lost};
  }
};

}  // namespace

Policy sla() {
  return {.name = "sla",
          .order = std::make_unique<LeastSlack>(),
          .admission = std::make_unique<SlaAdmission>(),
          .victim = std::make_unique<MostSlack>()};
}

}  // namespace stet::sched
