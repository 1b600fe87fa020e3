// Sampling of one sequence (C7): logit processors with their state, the draw, log-probabilities and
// ranks.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "stet/engine_types/step_batch.h"
#include "stet/kernels/kernel_table.h"

namespace stet::sampling {

inline constexpr uint32_t kMaxTopLogprobs = 20;  // hard cap of output.logprobs

// Work memory of one sampling thread. Thread-compatible.
class SamplerScratch {
 public:
  explicit SamplerScratch(uint32_t vocab_size);
  std::span<float> logits() { return logits_; }   // [vocab]: the processed copy
  void* sample_bytes() { return sample_bytes_; }  // kernels::sample_scratch_bytes, 64-byte aligned
  static uint64_t bytes(uint32_t vocab_size);

 private:
  std::vector<float> logits_;
  std::vector<std::byte> storage_;
  void* sample_bytes_ = nullptr;
};

// One sampled token; `top` is filled up to num_top.
struct Draw {
  uint32_t token_id = 0;
  float logprob = 0.0f;
  uint32_t rank = 0;
  uint32_t num_top = 0;
  TopLogprob top[kMaxTopLogprobs];
};

// Which tokens of prompt and output count for the penalties: each distinct id once, in order of
// first appearance. All memory is taken at construction. External synchronisation.
class PenaltyState {
 public:
  struct Entry {
    uint32_t token_id;
    uint32_t output_count;  // 0 = only in the prompt
  };
  // Room for `max_entries` distinct ids.
  explicit PenaltyState(uint32_t max_entries);
  void add_prompt_token(uint32_t token_id);
  void add_output_token(uint32_t token_id);
  std::span<const Entry> entries() const { return entries_; }

 private:
  Entry& find_or_add(uint32_t token_id);
  std::vector<Entry> entries_;
  std::vector<uint32_t> table_;  // open addressing, index + 1 into entries_; size is a power of two
};

// Sampling state of one sequence, rebuilt from its NewSequence record alone. sample() allocates
// nothing. External synchronisation; different sequences may be sampled by different threads.
class SequenceSampler {
 public:
  SequenceSampler(const NewSequence& record, uint32_t vocab_size);

  // Draws the next token from raw logits[vocab] and counts it. False: a fault (C3) - a logit is not
  // finite, or no id is left after processing; nothing is counted then.
  [[nodiscard]] bool sample(const kernels::KernelTable& table, const float* logits,
                            SamplerScratch* scratch, Draw* draw);

  uint32_t num_output_tokens() const { return num_output_tokens_; }

  // The processors of C7 in order, in place: bias, allowed ids, min_tokens, repetition, frequency,
  // presence. Public for tests. False when a finite logit became infinite.
  [[nodiscard]] bool process(std::span<float> logits) const;

 private:
  bool needs_processing() const;
  uint32_t vocab_size_;
  uint32_t choice_;
  SamplingParams params_;
  uint32_t num_output_tokens_ = 0;
  bool penalised_ = false;
  PenaltyState penalties_;
};

// The `num` first ids in Order (logit descending, ties by lower id); out[num] gets id and raw
// logit.
void top_ids(std::span<const float> logits, uint32_t num, TopLogprob* out);
// 1 + number of ids before `token_id` in Order.
uint32_t rank_of(std::span<const float> logits, uint32_t token_id);

}  // namespace stet::sampling
