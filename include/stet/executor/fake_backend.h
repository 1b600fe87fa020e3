// A Backend without a model: tokens are hashes of what the sequence's own block table holds. Used
// by the simulator and by the tests of everything above the executor.
//
// A position's "KV" is a hash chain over the tokens up to it. Every row re-reads all earlier
// positions of its sequence through its table and compares them with the chain of the tokens the
// sequence has: a slot that was recycled, published too early, not copied or mapped wrongly shows
// at once, as does any broken rule of backend.h.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "stet/base/clock.h"
#include "stet/engine_types/request.h"
#include "stet/engine_types/step_batch.h"
#include "stet/executor/backend.h"

namespace stet::executor {

// The function that stands for a model. Immutable.
class FakeModel {
 public:
  FakeModel(uint64_t seed, uint32_t vocab_size, uint64_t fault_period)
      : seed_(seed), vocab_size_(vocab_size), fault_period_(fault_period) {}

  uint64_t chain(uint64_t before, uint32_t token_id, uint32_t position) const;
  uint64_t chain_start() const { return seed_; }
  bool faulty(uint64_t chain) const;
  // The token after a position with this chain, as output `output_pos` of choice `choice`.
  uint32_t sample(uint64_t chain, const SamplingParams& sampling, uint32_t choice,
                  uint32_t output_pos) const;

  // What a choice gives when it runs alone: the definition that every run must meet.
  struct Solo {
    std::vector<uint32_t> output_token_ids;  // resumed ones included
    bool faulted = false;                    // ended by a faulty row after these outputs
    FinishReason reason = FinishReason::kLength;
    int64_t stop_token_id = -1;
  };
  Solo solo(const Request& request, uint32_t choice) const;

 private:
  uint64_t seed_;
  uint32_t vocab_size_;
  uint64_t fault_period_;
};

struct FakeOptions {
  uint32_t num_blocks = 64;
  uint32_t block_tokens = 64;
  uint32_t vocab_size = 1000;
  uint32_t max_model_len = 4096;
  uint32_t max_step_tokens = 256;
  uint32_t max_sequences = 64;
  uint64_t seed = 1;          // the weights, so to speak
  uint64_t fault_period = 0;  // one of so many positions is non-finite, by its content; 0 = none
  uint64_t step_us = 0;  // virtual time of a step, and of each of its positions, added to `clock`
  uint64_t position_us = 0;
  ManualClock* clock = nullptr;
  std::function<void(const std::string&)> on_violation;  // absent: a violation aborts
};

// Owned by the step thread.
class FakeBackend final : public Backend {
 public:
  explicit FakeBackend(FakeOptions options);
  ~FakeBackend() override;

  const BackendInfo& info() const override { return info_; }
  Ticket submit(const StepBatch& batch) override;
  void wait(Ticket ticket, StepResult* result) override;

  const FakeModel& model() const { return model_; }
  size_t num_sequences() const { return sequences_.size(); }
  uint64_t num_positions_computed() const { return num_positions_computed_; }
  uint64_t num_grouped_rows() const { return num_grouped_rows_; }

 private:
  struct TableEntry {
    BlockId slot;
    bool read_only = false;
  };
  struct FakeSequence;

  void violation(const std::string& what) const;
  FakeSequence* find(SeqId seq, const char* what);
  void create(const NewSequence& record);
  void apply(const KvOp& op, std::span<const BlockId> slots);
  void append(FakeSequence& s, std::span<const BlockId> slots);
  void replace(FakeSequence& s, uint32_t index, BlockId slot);
  void copy(BlockId from, BlockId to);
  void unmap(const TableEntry& entry);
  void compute(const BatchRow& row, std::span<const uint32_t> token_ids, StepResult* result);
  bool check_row(const FakeSequence& s, const BatchRow& row,
                 std::span<const uint32_t> token_ids) const;
  void check_reads(const FakeSequence& s, uint32_t num_positions) const;
  void check_groups(const StepBatch& batch) const;
  void check_group(const StepBatch& batch, const PrefixGroup& group) const;
  bool write_position(FakeSequence& s, uint32_t position);  // false: the position is faulty
  void sample(FakeSequence& s, StepResult* result) const;
  uint64_t* cell(const FakeSequence& s, uint32_t position);

  const FakeOptions options_;
  const FakeModel model_;
  BackendInfo info_;
  std::unordered_map<SeqId, std::unique_ptr<FakeSequence>> sequences_;
  std::vector<uint64_t> content_;   // [num_blocks][block_tokens] chains, 0 = poison
  std::vector<uint32_t> num_maps_;  // [num_blocks] table entries per slot
  std::deque<StepResult> in_flight_;
  uint64_t num_positions_computed_ = 0;
  uint64_t num_grouped_rows_ = 0;
};

}  // namespace stet::executor
