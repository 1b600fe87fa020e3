// How much of the pool a batch will hold at its worst future moment. scheduler.md sec. 4.
//
// Time is in steps from the plan under construction (step 0), in which every decoding sequence
// takes one position per step. A sequence that is alive at step t holds at most `held + t` tokens,
// shared blocks counted once for all that hold them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "stet/base/ids.h"
#include "stet/sched/output_lengths.h"

namespace stet::sched {

// A sequence as an estimator sees it.
struct SeqMemory {
  SeqId seq;
  uint32_t num_known_tokens = 0;
  uint32_t num_outputs = 0;  // of these
  uint32_t max_outputs = 0;  // > num_outputs
  uint32_t known_outputs =
      0;  // > num_outputs: it will end after exactly so many; 0 = ask `lengths`
  const SurvivalCurve* lengths = nullptr;  // null: nothing is known, so up to max_outputs
  uint32_t first_token_step =
      0;  // s_j: while it prefills, the step that gives its next token; 0 when decoding
  std::span<const BlockId> table{};  // that others may hold too, from its first on
};

struct PoolShape {
  uint32_t num_blocks = 0;
  uint32_t block_tokens = 64;
};

// The last step in which a sequence of so many outputs is alive.
inline uint32_t last_step_of(const SeqMemory& s, uint32_t outputs) {
  return s.first_token_step + outputs - s.num_outputs - 1;
}

// The same calls give the same answers. Owned by whoever plans; allocates only while it grows.
class MemoryEstimator {
 public:
  virtual ~MemoryEstimator() = default;
  virtual void build(std::span<const SeqMemory> seqs, const PoolShape& pool) = 0;
  // In tokens.
  virtual uint64_t peak() const = 0;
  // The peak with one more. Blocks that the candidate shares with the batch are counted a second
  // time: an upper bound, which is exact for a candidate without them.
  virtual uint64_t peak_with(const SeqMemory& candidate) const = 0;
  virtual void insert(const SeqMemory& candidate) = 0;  // counted as in peak_with
};

// Mean and variance of the batch's demand on a grid of horizons; sequences whose length is known
// are exact.
std::unique_ptr<MemoryEstimator> moments_estimator();
// The largest of several drawn futures, as published (LightLLM, ASPLOS 2025), except that a
// sequence keeps its draws.
std::unique_ptr<MemoryEstimator> sampled_estimator();

}  // namespace stet::sched
