#include "src/sched/estimator/peak_profile.h"

#include <algorithm>

#include "stet/base/check.h"

namespace stet::sched {

void BlockMarks::begin(uint32_t num_blocks) {
  if (marks_.size() < num_blocks) {
    marks_.resize(num_blocks);
  }
  if (++epoch_ == 0) {  // wrapped: old epochs could come back
    std::fill(marks_.begin(), marks_.end(), Mark{});
    epoch_ = 1;
  }
}

uint32_t& BlockMarks::operator[](BlockId block) {
  STET_DCHECK(block.v < marks_.size(), "a block of the pool");
  Mark& mark = marks_[block.v];
  if (mark.epoch != epoch_) {
    mark = {.epoch = epoch_, .value = 0};
  }
  return mark.value;
}

void PeakProfile::clear(uint32_t num_blocks, uint32_t block_tokens) {
  items_.clear();
  num_blocks_ = num_blocks;
  block_tokens_ = block_tokens;
}

void PeakProfile::finish() {
  std::sort(items_.begin(), items_.end(),
            [](const Item& a, const Item& b) { return a.last_step > b.last_step; });
  scan();
}

size_t PeakProfile::num_longer(uint32_t last_step) const {
  const auto it = std::partition_point(
      items_.begin(), items_.end(), [&](const Item& item) { return item.last_step > last_step; });
  return static_cast<size_t>(it - items_.begin());
}

void PeakProfile::insert(const Item& item) {
  items_.insert(items_.begin() + static_cast<ptrdiff_t>(num_longer(item.last_step)), item);
  scan();
}

void PeakProfile::scan() {
  const size_t n = items_.size();
  held_.resize(n);
  max_before_.resize(n);
  max_after_.resize(n);
  seen_.begin(num_blocks_);
  uint64_t held = 0, most = 0;
  for (size_t i = 0; i < n; ++i) {
    held += items_[i].held_tokens;
    for (const BlockId block : items_[i].table) {
      held -= seen_[block]++ != 0 ? block_tokens_ : 0;
    }
    held_[i] = held;
    most = std::max(most, demand_before_end(i));
    max_before_[i] = most;
  }
  most = 0;
  for (size_t i = n; i > 0; --i) {
    most = std::max(most, demand_before_end(i - 1) + items_[i - 1].last_step);
    max_after_[i - 1] = most;
  }
}

// Those that end later than the newcomer are as before; those that end with it or earlier see it
// alive.
uint64_t PeakProfile::peak_with(uint64_t held_tokens, uint32_t last_step) const {
  const size_t p = num_longer(last_step);
  const uint64_t held_before = p == 0 ? 0 : held_[p - 1];
  uint64_t peak = held_before + held_tokens + (p + 1) * uint64_t{last_step};
  if (p > 0) {
    peak = std::max(peak, max_before_[p - 1]);
  }
  if (p < items_.size()) {
    peak = std::max(peak, max_after_[p] + held_tokens);
  }
  return peak;
}

uint64_t PeakProfile::demand_at(uint32_t step) const {
  const size_t p = step == 0 ? items_.size() : num_longer(step - 1);
  return p == 0 ? 0 : held_[p - 1] + p * uint64_t{step};
}

}  // namespace stet::sched
