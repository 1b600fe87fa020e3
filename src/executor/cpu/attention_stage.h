// QK-norm, rope, cache write, attention and quantise of one layer. Nothing is shared between
// (sequence, kv head)s until the row is quantised, so one thread does all of it for its item, and
// the thread that finishes the last head of a row group quantises that group: no barrier in between
// (performance.md sec. 6).
//
// attention_items.h says how the rows of a step are divided.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "src/executor/cpu/arena.h"
#include "src/executor/cpu/attention_items.h"
#include "src/executor/cpu/kv_prefetch.h"
#include "src/executor/cpu/resolved_recipe.h"
#include "src/executor/cpu/step_buffers.h"
#include "src/executor/cpu/step_rows.h"
#include "src/executor/cpu/thread_pool.h"
#include "stet/kernels/kernel_table.h"

namespace stet::executor {

// Where a layer's stage reads and writes.
struct LayerContext {
  uint32_t layer = 0;
  const AttentionOps* ops = nullptr;
  const StepBuffers* buffers = nullptr;
  ThreadPool* pool = nullptr;
  RowFaults* faults = nullptr;
};

// Owned by the step thread; its regions run on the pool.
class AttentionStage {
 public:
  static Result<std::unique_ptr<AttentionStage>> create(const model::Model& model,
                                                        const kernels::KernelTable& table,
                                                        uint32_t block_tokens, uint32_t max_rows,
                                                        uint32_t num_threads);
  static uint64_t bytes(const model::HyperParams& hyper, uint32_t num_threads);

  // `runs` and `groups` must outlive the step.
  void prepare(uint32_t num_rows, std::span<const RowRun> runs, std::span<const RowGroup> groups);
  // Writes q, K and V of rows that are not fused into their attention item. A no-op without such
  // rows.
  void store(const LayerContext& context);
  // kQkv -> kAttentionIn.
  void attend(const LayerContext& context);

  // For the linears before the attention of `layer`; by thread `t` (kv_prefetch.h).
  kernels::Prefetch* prefetch(uint32_t layer, uint32_t t) { return prefetch_->list(layer, t); }

 private:
  AttentionStage() = default;
  void store_row(const LayerContext& context, const RowRun& run, uint32_t row,
                 uint32_t kv_head) const;
  kernels::AttentionArgs attention_args(const LayerContext& context, uint32_t piece,
                                        uint32_t kv_head) const;
  const std::byte* first_tile(const AttentionItem& item, uint32_t layer) const;
  void prefetch_slots(const AttentionItem& item, uint32_t layer) const;
  void run_item(const LayerContext& context, const AttentionItem& item, const std::byte* next_tile);
  void attend_piece(const LayerContext& context, const AttentionItem& item,
                    const std::byte* next_tile);
  void attend_set(const LayerContext& context, const AttentionItem& item,
                  const std::byte* next_tile);
  bool finish_segment(const LayerContext& context, uint32_t piece, uint32_t kv_head);
  void finish_head(const LayerContext& context, uint32_t piece);
  uint32_t unit(uint32_t piece, uint32_t kv_head) const {
    return piece * layout_.num_kv_heads + kv_head;
  }
  float* states(uint32_t piece, uint32_t kv_head, uint32_t segment) const;

  const model::Model* model_ = nullptr;
  const kernels::KernelTable* table_ = nullptr;
  kernels::KvTileLayout layout_;
  uint32_t num_threads_ = 1;
  uint32_t heads_per_kv_ = 1;
  uint32_t max_segments_ = 1;
  float q_scale_ = 1.0f;

  std::unique_ptr<AttentionItems> items_;
  std::unique_ptr<KvPrefetch> prefetch_;
  std::unique_ptr<std::atomic<uint32_t>[]> heads_left_;     // per piece
  std::unique_ptr<std::atomic<uint32_t>[]> segments_left_;  // per unit, when split
  Arena arena_;
  float* states_ = nullptr;  // [unit][segment][head of the kv head][stride]
};

}  // namespace stet::executor
