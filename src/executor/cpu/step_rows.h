// What the rows of one step are: made once per step, read by every layer.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "stet/engine_types/step_batch.h"
#include "stet/kernels/types.h"

namespace stet::executor {

// Consecutive positions of one sequence: rows first_row .. first_row + num_rows - 1 of every slot.
struct RowRun {
  kernels::KvView kv;
  uint32_t first_row = 0;
  uint32_t num_rows = 0;
  uint32_t first_pos = 0;
};

// K and V of the tile of position `pos`.
inline std::byte* kv_tile(const kernels::KvView& kv, const kernels::KvTileLayout& layout,
                          uint32_t layer, uint32_t kv_head, uint32_t pos) {
  return kv.block(pos / layout.block_tokens) + layout.offset(layer, kv_head) +
         pos % layout.block_tokens / kernels::kTile * layout.tile_bytes();
}

// Runs of one row each whose tables begin with the same blocks (PrefixGroup).
struct RowGroup {
  std::span<const uint32_t> runs;  // 2 or more, ascending
  uint32_t shared_tokens = 0;      // a multiple of kTile, at most every run's first_pos
};

// The layer of each row's first fault (C3). Rows are written by different threads; a stage writes
// one value only, so the outcome does not depend on who comes first.
class RowFaults {
 public:
  static constexpr int32_t kNone = std::numeric_limits<int32_t>::max();
  explicit RowFaults(uint32_t max_rows) : layers_(new std::atomic<int32_t>[max_rows]) {}

  void reset(uint32_t num_rows) {
    for (uint32_t i = 0; i < num_rows; ++i) {
      layers_[i].store(kNone, std::memory_order_relaxed);
    }
  }
  // Keeps the first layer.
  void mark(uint32_t row, int32_t layer) {
    int32_t none = kNone;
    layers_[row].compare_exchange_strong(none, layer, std::memory_order_relaxed);
  }
  int32_t layer(uint32_t row) const { return layers_[row].load(std::memory_order_relaxed); }

 private:
  std::unique_ptr<std::atomic<int32_t>[]> layers_;
};

}  // namespace stet::executor
