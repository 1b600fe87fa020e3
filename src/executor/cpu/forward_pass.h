// One step through the resolved recipe: regions on the pool, operations from the KernelTable.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "src/executor/cpu/attention_stage.h"
#include "src/executor/cpu/resolved_recipe.h"
#include "src/executor/cpu/step_buffers.h"
#include "src/executor/cpu/step_rows.h"
#include "src/executor/cpu/thread_pool.h"
#include "stet/kernels/kernel_table.h"

namespace stet::executor {

// Time between two marks goes to the verb of the second.
class VerbTimer {
 public:
  void start() { last_ = now(); }
  void mark(Verb verb) {
    const uint64_t t = now();
    ns_[static_cast<size_t>(verb)] += t - last_;
    last_ = t;
  }
  const std::array<uint64_t, kNumVerbs>& ns() const { return ns_; }
  void reset() { ns_ = {}; }

 private:
  static uint64_t now() {
    return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch() /
                                 std::chrono::nanoseconds(1));
  }
  uint64_t last_ = 0;
  std::array<uint64_t, kNumVerbs> ns_{};
};

// Owned by the step thread.
class ForwardPass {
 public:
  static Result<std::unique_ptr<ForwardPass>> create(const model::Model& model,
                                                     const kernels::KernelTable& table,
                                                     uint32_t block_tokens, uint32_t max_rows,
                                                     uint32_t max_sample_rows, ThreadPool* pool);
  static uint64_t bytes(const model::HyperParams& hyper, uint32_t num_threads, uint32_t max_rows,
                        uint32_t max_sample_rows);

  // Embedding and layers: afterwards the residual stream of every row is in place, K and V are in
  // the cache.
  void run_layers(std::span<const uint32_t> token_ids, std::span<const RowRun> runs,
                  std::span<const RowGroup> groups);
  // Last norm and head of at most kMaxSampleRowsPerPass rows of the step.
  void run_head(std::span<const uint32_t> rows);
  const float* logits(uint32_t sample_row) const {
    return buffers_.floats(model::Slot::kLogits).row(sample_row);
  }

  RowFaults& faults() { return faults_; }
  VerbTimer& timer() { return timer_; }

 private:
  ForwardPass(const model::Model& model, const kernels::KernelTable& table, ThreadPool* pool,
              uint32_t max_rows, ResolvedRecipe recipe, StepBuffers buffers,
              std::unique_ptr<AttentionStage> attention);
  void run_op(const ResolvedOp& op, int32_t layer);
  void embed(const ResolvedOp& op);
  void rms_norm(const ResolvedOp& op, int32_t layer);
  void gate(const ResolvedOp& op, int32_t layer);
  void add_branch();
  void linear(const ResolvedOp& op);
  void gather_sample_rows();
  // Calls f(row) for every row of the step (or of the sampling rows), in parallel.
  template <class F>
  void for_rows(uint32_t num_rows, F&& f);
  void mark(uint32_t row, int32_t layer);

  const model::Model& model_;
  const kernels::KernelTable& table_;
  ThreadPool* pool_;
  ResolvedRecipe recipe_;
  StepBuffers buffers_;
  std::unique_ptr<AttentionStage> attention_;
  RowFaults faults_;
  VerbTimer timer_;

  std::span<const uint32_t> token_ids_;
  uint32_t num_rows_ = 0;
  uint32_t next_attention_ = 0;  // the layer whose tiles linears prefetch; past the last: none
  std::span<const uint32_t> sample_rows_;  // non-empty while the epilogue runs: its rows are these
};

}  // namespace stet::executor
