// Sequences whose lengths are known, so that nobody is ever short of a block for them. Blocks are
// taken whole: n tokens fill ceil(n / B) * B. Two bounds on what that adds, of which the smaller
// counts:
//   each       at most B - 1 per sequence: right when few are left
//   together   all decode in step, so their remainders turn together; the worst step of one turn
//   counts, which for many is
//              near (B - 1) / 2 per sequence. One that still prefills may start its turn at any
//              step: B - 1.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "src/sched/estimator/peak_profile.h"
#include "stet/sched/memory_estimator.h"

namespace stet::sched {

class KnownLengths {
 public:
  void clear(uint32_t num_blocks, uint32_t block_tokens);
  void add(const SeqMemory& s);
  void finish();

  uint64_t peak() const;
  uint64_t peak_with(const SeqMemory& s) const;  // O(log n)
  void insert(const SeqMemory& s);               // O(n)
  uint64_t demand_at(uint32_t step) const;
  // What one more may add to a demand beside a token per step.
  uint64_t held_at_most(const SeqMemory& s) const { return s.num_known_tokens + block_tokens_ - 1; }

  size_t size() const { return together_.size(); }
  uint32_t last_step(size_t i) const { return together_.last_step(i); }  // descending

 private:
  void note_remainder(const SeqMemory& s);
  void set_padding();

  PeakProfile each_, together_;
  std::vector<uint32_t> num_at_;  // decoding sequences by num_known_tokens % B
  uint32_t num_decoding_ = 0, num_prefilling_ = 0;
  uint64_t padding_ = 0;  // of all together
  uint32_t block_tokens_ = 64;
};

}  // namespace stet::sched
