// The last steps, written by the step thread and read by anybody.
//
// A reader copies the ring under the writer's mutex, but at most four times a second however many
// readers there are: others get the copy that was made last. So a step waits at most that often,
// for the time of one copy (24 KiB).
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <vector>

#include "stet/engine/step_record.h"

namespace stet::engine {

// Thread-safe; add by one thread.
class StepLog {
 public:
  static constexpr uint64_t kCopyPeriodUs = 250'000;

  void add(const StepRecord& record);
  // Oldest first.
  std::vector<StepRecord> recent(uint64_t now_us) const;

 private:
  mutable std::mutex copy_mutex_;  // taken before mutex_
  mutable std::vector<StepRecord> copy_;
  mutable uint64_t copied_at_us_ = 0;  // 0 = never

  mutable std::mutex mutex_;
  std::array<StepRecord, kNumStepRecords> ring_{};
  uint64_t num_added_ = 0;
};

}  // namespace stet::engine
