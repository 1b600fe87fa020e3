// Which KV tiles each thread will read first in the next attention, for the linears before it:
// those are bound by compute, decode attention by memory (performance.md sec. 3), so the tiles come
// into the thread's L2 meanwhile.
//
// Measured on a Xeon with 2 MiB of L2 per core (step_bench, SmolLM2, context 256, 2 threads): see
// benchmarks/results/engine/kv-prefetch.txt.
#pragma once

#include <cstdint>
#include <vector>

#include "src/executor/cpu/attention_items.h"
#include "stet/kernels/types.h"
#include "stet/model/model.h"

namespace stet::executor {

// The L2 of one core as the C library knows it, or 512 KiB.
uint64_t l2_cache_bytes();

// Thread `t` calls list(layer, t) during regions; the step thread calls the rest between them.
class KvPrefetch {
 public:
  // Rows of a step below which it does not pay: its linears wait for memory themselves.
  static constexpr uint32_t kMinRows = 8;

  // `model` and `items` must outlive it.
  KvPrefetch(const model::Model& model, const kernels::KvTileLayout& layout,
             const AttentionItems& items, uint32_t num_threads, uint64_t l2_bytes);

  // After items were prepared for a step of `num_rows` rows.
  void start_step(uint32_t num_rows);

  // The first tiles of `layer` in the order in which thread `t` reads them, as far as they fit in
  // its L2. Chunks are left out: many rows read each of their tiles. Goes on where the last call
  // stopped until asked for another layer. Null when there is nothing to do.
  kernels::Prefetch* list(uint32_t layer, uint32_t t);

 private:
  // On cache lines of its own.
  struct alignas(64) Thread {
    std::vector<const std::byte*> tiles;
    kernels::Prefetch list;
    uint32_t layer = UINT32_MAX;
  };
  void collect(uint32_t layer, uint32_t t);
  bool collect_piece(const AttentionItem& item, const AttentionPiece& piece, uint32_t layer,
                     uint32_t begin, std::vector<const std::byte*>* tiles) const;

  const model::Model& model_;
  const kernels::KvTileLayout layout_;
  const AttentionItems& items_;
  const uint64_t max_tiles_;
  bool active_ = false;
  std::vector<Thread> threads_;
};

}  // namespace stet::executor
