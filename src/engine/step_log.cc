#include "src/engine/step_log.h"

#include <algorithm>

namespace stet::engine {

void StepLog::add(const StepRecord& record) {
  std::lock_guard lock(mutex_);
  ring_[num_added_++ % kNumStepRecords] = record;
}

std::vector<StepRecord> StepLog::recent(uint64_t now_us) const {
  std::lock_guard copy_lock(copy_mutex_);
  if (copied_at_us_ != 0 && now_us < copied_at_us_ + kCopyPeriodUs) {
    return copy_;
  }
  copied_at_us_ = std::max<uint64_t>(now_us, 1);
  copy_.clear();
  copy_.reserve(kNumStepRecords);
  std::lock_guard lock(mutex_);
  const uint64_t first = num_added_ - std::min<uint64_t>(num_added_, kNumStepRecords);
  for (uint64_t i = first; i < num_added_; ++i) {
    copy_.push_back(ring_[i % kNumStepRecords]);
  }
  return copy_;
}

}  // namespace stet::engine
