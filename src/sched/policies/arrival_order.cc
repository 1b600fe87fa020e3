// First come, first served, within and across priority classes that age.
#include "src/sched/policies/policies.h"

namespace stet::sched {
namespace {

// A class is worth this much waiting. scheduler.md sec. 5 raises a waiting request by one class per
// age_step; with linear ageing that is a constant key: arrival, later by one step for every class
// below the first.
constexpr uint64_t kAgeStepUs = 30'000'000;
constexpr uint64_t kFirstClass = 7;

class ArrivalOrder : public OrderPolicy {
 public:
  uint64_t key(const OrderInput& request) const override { return aged_arrival_us(request); }
};

class PrefixOrder final : public ArrivalOrder {
 public:
  bool groups_prefixes() const override { return true; }
};

}  // namespace

uint64_t aged_arrival_us(const OrderInput& request) {
  const uint64_t priority =
      request.priority_class < kFirstClass ? request.priority_class : kFirstClass;
  return request.arrival_us + (kFirstClass - priority) * kAgeStepUs;
}

std::unique_ptr<OrderPolicy> prefix_order() {
  return std::make_unique<PrefixOrder>();
}

std::unique_ptr<OrderPolicy> arrival_order() {
  return std::make_unique<ArrivalOrder>();
}

}  // namespace stet::sched
