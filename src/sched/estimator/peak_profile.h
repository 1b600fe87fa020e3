// Peak memory of sequences whose last steps are known (scheduler.md sec. 4, facts a-d).
//
// Sorted by last step r, longest first: until the i-th of them ends, 1..i are alive and each has
// grown by at most r_i, so
//   M_i = sum_{j<=i} c_j + i * r_i          peak = max_i M_i
// Between two ends the demand only grows: no other moment can be worse (a). If all take a step, c+1
// and r-1 leave every M_i as it is (b). With the prefix maximum of M_i and the suffix maximum of
// M_i + r_i, the peak with one more is found by one binary search (c). A block that several hold
// counts for the one that lives longest: it comes first (d).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "stet/base/ids.h"

namespace stet::sched {

// Counts holders of blocks without clearing an array per use.
class BlockMarks {
 public:
  void begin(uint32_t num_blocks);
  uint32_t& operator[](BlockId block);  // 0 after begin

 private:
  struct Mark {
    uint32_t epoch = 0, value = 0;
  };
  std::vector<Mark> marks_;
  uint32_t epoch_ = 0;
};

class PeakProfile {
 public:
  struct Item {
    uint64_t held_tokens = 0;  // c, blocks of `table` included
    uint32_t last_step = 0;    // r
    std::span<const BlockId> table{};
  };
  void clear(uint32_t num_blocks, uint32_t block_tokens);
  void add(const Item& item) { items_.push_back(item); }
  void finish();  // after the last add

  uint64_t peak() const { return items_.empty() ? 0 : max_before_.back(); }
  uint64_t peak_with(uint64_t held_tokens, uint32_t last_step) const;  // O(log n)
  void insert(const Item& item);                                       // O(n)
  uint64_t demand_at(uint32_t step) const;                             // O(log n)

  // The moments just before an end, latest first: all that a maximum over time has to look at.
  size_t size() const { return items_.size(); }
  uint32_t last_step(size_t i) const { return items_[i].last_step; }
  uint64_t demand_before_end(size_t i) const {
    return held_[i] + (i + 1) * uint64_t{items_[i].last_step};
  }

 private:
  size_t num_longer(uint32_t last_step) const;  // items with a later last step
  void scan();

  std::vector<Item> items_;           // by last step, descending
  std::vector<uint64_t> held_;        // sums of c over items 0..i, shared blocks once
  std::vector<uint64_t> max_before_;  // max of M over 0..i
  std::vector<uint64_t> max_after_;   // max of M + r over i..
  BlockMarks seen_;
  uint32_t num_blocks_ = 0, block_tokens_ = 1;
};

}  // namespace stet::sched
