// Mean and variance of what a batch will hold, on a grid of horizons. A sequence j is alive at step
// t with p_j(t) = S(g + t) / S(g), S the survival curve of its class and g its outputs so far, and
// holds c_j + t then:
//   E(t) = sum_j (c_j + t) p_j        V(t) = sum_j (c_j + t)^2 p_j (1 - p_j)        peak = max_t E
//   + z sqrt(V)
// A node of blocks that several hold adds blocks * (1 - prod_j (1 - p_j)), once (scheduler.md sec.
// 4). Two things are added to that: sequences of known length are exact (peak_profile.h) and only
// bounded per grid interval where they meet the others, and no horizon counts more than the sum of
// all that can be alive then - E + z sqrt(V) may exceed it when few run.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "src/sched/estimator/peak_profile.h"
#include "stet/sched/memory_estimator.h"

namespace stet::sched {

// Fixed lengths: the compiler unrolls loops over horizons into vectors.
inline constexpr uint32_t kNumHorizons = 64;
using HorizonRow = std::array<float, kNumHorizons>;

// Steps 0, 4, 8, 12, then five per octave: 2^m - 1, where outputs end that are cut at a power of
// two, and four between. The same for every batch, or a longer candidate could fit where a shorter
// one does not, for standing on another grid. An output that has more than 64 Ki steps before it is
// taken as if it grew no more after them.
class HorizonGrid {
 public:
  HorizonGrid();
  uint32_t step(uint32_t k) const { return steps_[k]; }
  const HorizonRow& steps() const { return as_float_; }
  uint32_t interval_end(uint32_t k) const;    // last step of [step(k), step(k + 1))
  uint32_t interval_of(uint32_t step) const;  // the k whose interval holds it

 private:
  std::array<uint32_t, kNumHorizons> steps_{};
  HorizonRow as_float_{};
};

// p_j at every horizon; 0 beyond max_outputs. Returns how many are not.
uint32_t fill_alive(const SeqMemory& s, const HorizonGrid& grid, HorizonRow* alive);

class HorizonSums {
 public:
  void add(float held, const HorizonRow& alive, uint32_t num_alive, const HorizonRow& steps);
  void add_node(float held, const HorizonRow& absent);
  HorizonRow bounds(
      const HorizonRow& steps) const;  // min(E + z sqrt(V), if all that may be alive are)

 private:
  HorizonRow mean_{}, variance_{};
  // Of those that may be alive up to the horizon before this one, and no longer.
  std::array<float, kNumHorizons + 1> num_ending_{}, held_ending_{};
};

// Blocks that the same sequences hold: a stretch of the prefix tree between two branchings.
class SharedNodes {
 public:
  // Between begin and the first add: every table once.
  void begin(uint32_t num_blocks, uint32_t block_tokens);
  void count(std::span<const BlockId> table);
  // Tokens of the table that this sequence holds alone; for the rest its nodes learn that it may be
  // alive.
  uint32_t add(std::span<const BlockId> table, const HorizonRow& alive);
  void finish(HorizonSums* sums) const;

 private:
  struct Node {
    uint32_t num_blocks = 0;
    HorizonRow absent{};  // prod_j (1 - p_j)
  };
  BlockMarks holders_;
  BlockMarks node_of_;  // first block of a node -> index + 1
  std::vector<Node> nodes_;
  size_t num_nodes_ = 0;  // nodes_ keeps its capacity
  uint32_t block_tokens_ = 64;
};

}  // namespace stet::sched
