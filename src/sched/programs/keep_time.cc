#include <algorithm>

#include "stet/base/check.h"
#include "stet/sched/programs.h"

namespace stet::sched {

KeepTime keep_time(std::span<const uint64_t> gaps_us, const KeepTerms& terms) {
  STET_CHECK(!gaps_us.empty(), "somebody knows a gap");
  const auto n = static_cast<double>(gaps_us.size());
  KeepTime best;
  double best_gain = 0.0, sum_us = 0.0;  // of the gaps up to tau
  for (size_t i = 0; i < gaps_us.size(); ++i) {
    const auto tau = static_cast<double>(gaps_us[i]);
    sum_us += tau;
    if (i + 1 < gaps_us.size() && gaps_us[i + 1] == gaps_us[i]) {
      continue;  // equal gaps come together
    }
    const auto num_in_time = static_cast<double>(i + 1);
    const double value_us = num_in_time / n * terms.saved_us;
    const double kept_us = (sum_us + (n - num_in_time) * tau) / n;
    const double gain = value_us - terms.cost_per_us * kept_us;
    if (gain > best_gain) {
      best_gain = gain;
      best = {.ttl_us = gaps_us[i], .value_us = value_us};
    }
  }
  return best;
}

void FollowupGaps::add(uint64_t gap_us) {
  if (sorted_.size() == kMost) {
    sorted_.erase(std::lower_bound(sorted_.begin(), sorted_.end(), ring_[next_]));
  }
  ring_[next_] = gap_us;
  next_ = (next_ + 1) % kMost;
  sorted_.insert(std::upper_bound(sorted_.begin(), sorted_.end(), gap_us), gap_us);
}

}  // namespace stet::sched
