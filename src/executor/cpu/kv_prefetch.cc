#include "src/executor/cpu/kv_prefetch.h"

#include <unistd.h>

#include <algorithm>

namespace stet::executor {
namespace {

using kernels::kSegment;
using kernels::kTile;

// Of the L2. The weights that pass through it meanwhile push out what is more.
constexpr double kShare = 0.7;

}  // namespace

uint64_t l2_cache_bytes() {
  const long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return bytes > 0 ? static_cast<uint64_t>(bytes) : uint64_t{512} << 10;
}

KvPrefetch::KvPrefetch(const model::Model& model, const kernels::KvTileLayout& layout,
                       const AttentionItems& items, uint32_t num_threads, uint64_t l2_bytes)
    : model_(model),
      layout_(layout),
      items_(items),
      max_tiles_(static_cast<uint64_t>(static_cast<double>(l2_bytes) * kShare) /
                 layout.tile_bytes()),
      threads_(num_threads) {
  for (Thread& thread : threads_) {
    thread.tiles.reserve(max_tiles_);
  }
}

void KvPrefetch::start_step(uint32_t num_rows) {
  active_ = num_rows >= kMinRows && max_tiles_ > 0;
  for (Thread& thread : threads_) {
    thread.layer = UINT32_MAX;
  }
}

// From position `begin` on, as far as the row sees and its segment goes. False when the list is
// full.
bool KvPrefetch::collect_piece(const AttentionItem& item, const AttentionPiece& piece,
                               uint32_t layer, uint32_t begin,
                               std::vector<const std::byte*>* tiles) const {
  const uint32_t window = model_.layers[layer].kind.window;
  uint32_t end = piece.end_pos();
  if (window != 0 && end > window) {
    begin = std::max(begin, end - window);
  }
  if (item.segment != AttentionItem::kWhole) {
    begin = std::max(begin, item.segment * kSegment);
    end = std::min(end, (item.segment + 1) * kSegment);
  }
  for (uint32_t pos = begin / kTile * kTile; pos < end; pos += kTile) {
    if (tiles->size() == max_tiles_) {
      return false;
    }
    tiles->push_back(kv_tile(items_.run_of(piece).kv, layout_, layer, item.kv_head, pos));
  }
  return true;
}

void KvPrefetch::collect(uint32_t layer, uint32_t t) {
  std::vector<const std::byte*>& tiles = threads_[t].tiles;
  tiles.clear();
  const uint32_t end = items_.range_begin(t + 1);
  for (uint32_t i = items_.range_begin(t); i < end; ++i) {
    const AttentionItem& item = items_.items()[i];
    uint32_t begin = 0;  // shared tiles stand in the list once
    for (const uint32_t p : items_.pieces_of(item)) {
      const AttentionPiece& piece = items_.pieces()[p];
      if (piece.num_rows == 1 && !collect_piece(item, piece, layer, begin, &tiles)) {
        return;
      }
      begin = item.set == AttentionItem::kNone ? 0 : items_.set_of(item).shared_tokens;
    }
  }
}

kernels::Prefetch* KvPrefetch::list(uint32_t layer, uint32_t t) {
  if (!active_ || layer >= layout_.num_layers) {
    return nullptr;
  }
  Thread& mine = threads_[t];
  if (mine.layer != layer) {
    collect(layer, t);
    mine.layer = layer;
    mine.list = {.runs = mine.tiles.data(),
                 .num_runs = static_cast<uint32_t>(mine.tiles.size()),
                 .run_lines = static_cast<uint32_t>(layout_.tile_bytes() / 64)};
  }
  return &mine.list;
}

}  // namespace stet::executor
