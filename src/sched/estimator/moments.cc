#include "src/sched/estimator/moments.h"

#include <algorithm>
#include <cmath>

#include "src/sched/estimator/known_lengths.h"
#include "src/sched/estimator/padding.h"

namespace stet::sched {
namespace {

class Moments final : public MemoryEstimator {
 public:
  void build(std::span<const SeqMemory> seqs, const PoolShape& pool) override;
  uint64_t peak() const override;
  uint64_t peak_with(const SeqMemory& candidate) const override;
  void insert(const SeqMemory& candidate) override;

 private:
  // Demand of the known ones within each grid interval: at most `demand`; with a newcomer of c
  // tokens, c + `demand_and_step`.
  struct Interval {
    uint64_t demand = 0, demand_and_step = 0;
  };

  static bool is_known(const SeqMemory& s) { return s.known_outputs != 0; }
  void add_unknown(const SeqMemory& s);
  void fill_intervals();
  void note(uint32_t interval, uint64_t demand, uint32_t step);
  uint64_t with(uint64_t known_demand, float unknown_bound) const {
    return known_demand + static_cast<uint64_t>(std::ceil(unknown_bound));
  }
  uint64_t peak_with_known(const SeqMemory& candidate) const;
  uint64_t peak_with_unknown(const SeqMemory& candidate) const;

  const HorizonGrid grid_;
  HorizonSums sums_;    // sequences of unknown length
  KnownLengths known_;  // the others
  SharedNodes shared_;
  std::array<Interval, kNumHorizons> intervals_{};
  HorizonRow bounds_{};  // of sums_
  uint32_t num_unknown_ = 0;
  uint32_t block_tokens_ = 64;
};

void Moments::build(std::span<const SeqMemory> seqs, const PoolShape& pool) {
  block_tokens_ = pool.block_tokens;
  sums_ = {};
  num_unknown_ = 0;
  known_.clear(pool.num_blocks, pool.block_tokens);
  shared_.begin(pool.num_blocks, pool.block_tokens);
  for (const SeqMemory& s : seqs) {
    if (is_known(s)) {
      known_.add(s);
    } else {
      shared_.count(s.table);
    }
  }
  for (const SeqMemory& s : seqs) {
    if (!is_known(s)) {
      add_unknown(s);
    }
  }
  shared_.finish(&sums_);
  bounds_ = sums_.bounds(grid_.steps());
  known_.finish();
  fill_intervals();
}

// A block held by a known and an unknown sequence counts for both: rare, and on the safe side.
void Moments::add_unknown(const SeqMemory& s) {
  HorizonRow alive;
  const uint32_t num_alive = fill_alive(s, grid_, &alive);
  const uint64_t shared = s.table.size() * uint64_t{block_tokens_} - shared_.add(s.table, alive);
  sums_.add(static_cast<float>(held_on_average(s, block_tokens_) - shared), alive, num_alive,
            grid_.steps());
  ++num_unknown_;
}

void Moments::note(uint32_t interval, uint64_t demand, uint32_t step) {
  Interval& i = intervals_[interval];
  i.demand = std::max(i.demand, demand);
  i.demand_and_step = std::max(i.demand_and_step, demand + step);
}

// Demand grows between two ends: within an interval it is largest just before an end, or at the
// interval's own end.
void Moments::fill_intervals() {
  intervals_ = {};
  if (known_.size() == 0) {
    for (uint32_t k = 0; k < kNumHorizons; ++k) {
      intervals_[k].demand_and_step = std::min(grid_.interval_end(k), grid_.step(kNumHorizons - 1));
    }
    return;
  }
  for (size_t i = 0; i < known_.size(); ++i) {
    const uint32_t step = known_.last_step(i);
    note(grid_.interval_of(step), known_.demand_at(step), step);
  }
  const uint32_t last = std::max(known_.last_step(0), grid_.step(kNumHorizons - 1));
  for (uint32_t k = 0; k < kNumHorizons; ++k) {
    const uint32_t end = std::min(grid_.interval_end(k), last);
    note(k, known_.demand_at(end), end);
  }
}

uint64_t Moments::peak() const {
  uint64_t most = known_.peak();
  for (uint32_t k = 0; k < kNumHorizons && num_unknown_ > 0; ++k) {
    most = std::max(most, with(intervals_[k].demand, bounds_[k]));
  }
  return most;
}

uint64_t Moments::peak_with(const SeqMemory& candidate) const {
  return is_known(candidate) ? peak_with_known(candidate) : peak_with_unknown(candidate);
}

uint64_t Moments::peak_with_known(const SeqMemory& candidate) const {
  const uint64_t held = known_.held_at_most(candidate);
  const uint32_t last_step = last_step_of(candidate, candidate.known_outputs);
  uint64_t most = known_.peak_with(candidate);
  for (uint32_t k = 0; k < kNumHorizons && num_unknown_ > 0; ++k) {
    uint64_t demand = intervals_[k].demand;
    if (grid_.interval_end(k) <= last_step) {
      demand = std::max(demand, intervals_[k].demand_and_step + held);
    } else if (grid_.step(k) <=
               last_step) {  // it ends within: not above the interval's, but at its own last step
      demand = std::max({demand, intervals_[k].demand_and_step + held,
                         known_.demand_at(last_step) + held + last_step});
    }
    most = std::max(most, with(demand, bounds_[k]));
  }
  return most;
}

uint64_t Moments::peak_with_unknown(const SeqMemory& candidate) const {
  HorizonRow alive;
  const uint32_t num_alive = fill_alive(candidate, grid_, &alive);
  HorizonSums sums = sums_;
  sums.add(static_cast<float>(held_on_average(candidate, block_tokens_)), alive, num_alive,
           grid_.steps());
  const HorizonRow bounds = sums.bounds(grid_.steps());
  uint64_t most = known_.peak();
  for (uint32_t k = 0; k < kNumHorizons; ++k) {
    most = std::max(most, with(intervals_[k].demand, bounds[k]));
  }
  return most;
}

void Moments::insert(const SeqMemory& candidate) {
  if (is_known(candidate)) {
    known_.insert(candidate);
    fill_intervals();
    return;
  }
  HorizonRow alive;
  const uint32_t num_alive = fill_alive(candidate, grid_, &alive);
  sums_.add(static_cast<float>(held_on_average(candidate, block_tokens_)), alive, num_alive,
            grid_.steps());
  bounds_ = sums_.bounds(grid_.steps());
  ++num_unknown_;
}

}  // namespace

std::unique_ptr<MemoryEstimator> moments_estimator() {
  return std::make_unique<Moments>();
}

}  // namespace stet::sched
