// QK-norm, rope, cache write, attention and quantise of one layer. Nothing is shared between
// (sequence, kv head)s until the row is quantised, so one thread does all of it for its item, and
// the thread that finishes the last head of a row group quantises that group: no barrier in between
// (performance.md sec. 6).
//
// Items: decode rows (one position) by (row, kv head); chunks by (piece of at most kMaxPieceRows
// positions, kv head), their K and V written in a region before; single rows further by segment of
// 512 (C5) when there are too few items for the threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "src/executor/cpu/arena.h"
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

  // Divides the rows of a step into items. `runs` must outlive the step.
  void prepare(std::span<const RowRun> runs);
  // Writes q, K and V of rows that are not fused into their attention item. A no-op without such
  // rows.
  void store(const LayerContext& context);
  // kQkv -> kAttentionIn.
  void attend(const LayerContext& context);

  // K and V tiles of `layer` that thread `t` will start with, tile_bytes() each; for the prefetch
  // of the linears before. Valid until the next call for the same thread.
  std::span<const std::byte* const> tiles_of_thread(uint32_t layer, uint32_t t);
  uint32_t tile_bytes() const { return static_cast<uint32_t>(2 * layout_.half_tile_bytes()); }

 private:
  // Rows that are quantised together once all their heads are done.
  struct Group {
    uint32_t run = 0;
    uint32_t first_row = 0;
    uint32_t num_rows = 0;
    uint32_t first_pos = 0;
    uint32_t end_pos() const { return first_pos + num_rows; }
  };
  static constexpr uint32_t kWhole = UINT32_MAX;
  struct Item {
    uint32_t group = 0;
    uint32_t kv_head = 0;
    uint32_t segment = kWhole;  // absolute index
    uint32_t unit = 0;          // of states_ and segments_left_, when split
    uint64_t cost = 0;          // tiles visited
    uint32_t order = 0;
  };

  AttentionStage() = default;
  void add_group(const Group& group);
  void split_into_segments();
  void deal_items();
  uint32_t range_begin(uint32_t t) const;
  // A row that is the whole of its run is written by the item that attends from it. Other groups of
  // a run would read its tile meanwhile: masked, but a race.
  bool fused(const Group& group) const { return runs_[group.run].num_rows == 1 && !split_; }
  void store_row(const LayerContext& context, const RowRun& run, uint32_t row,
                 uint32_t kv_head) const;
  std::byte* tile(const RowRun& run, uint32_t layer, uint32_t kv_head, uint32_t pos) const;
  kernels::AttentionArgs attention_args(const LayerContext& context, const Item& item) const;
  void run_item(const LayerContext& context, const Item& item, const std::byte* next_tile);
  void finish_head(const LayerContext& context, uint32_t group);
  float* states(const Item& item, uint32_t segment) const;

  const model::Model* model_ = nullptr;
  const kernels::KernelTable* table_ = nullptr;
  kernels::KvTileLayout layout_;
  uint32_t num_threads_ = 1;
  uint32_t heads_per_kv_ = 1;
  uint32_t max_segments_ = 1;
  float q_scale_ = 1.0f;

  std::span<const RowRun> runs_;
  std::vector<Group> groups_;
  std::vector<Item> items_;  // in the order of rows
  std::vector<Item> dealt_;  // in the order of the threads' ranges, heaviest first in each
  std::vector<uint32_t> stored_rows_;  // rows whose q, K and V are written in a region of their own
  std::vector<uint32_t> run_of_row_;
  std::vector<uint32_t> next_of_thread_;
  std::unique_ptr<std::atomic<uint32_t>[]> heads_left_;     // per group
  std::unique_ptr<std::atomic<uint32_t>[]> segments_left_;  // per unit
  bool split_ = false;
  uint32_t chunk_ = 1;
  Arena arena_;
  float* states_ = nullptr;                           // [unit][segment][head of the group][stride]
  std::vector<std::vector<const std::byte*>> tiles_;  // per thread
};

}  // namespace stet::executor
