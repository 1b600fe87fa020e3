// Which slots a position sees and where a tile lies (C5). Depends on positions alone, never on
// company.
#pragma once

#include "stet/kernels/types.h"

namespace stet::kernels {

static inline constexpr uint32_t kTilesPerSegment = kSegment / kTile;

struct SlotRange {
  uint32_t begin;  // slots of one tile, [begin, end)
  uint32_t end;
};

static inline uint32_t first_visible(uint32_t pos, uint32_t window) {
  return window != 0 && pos >= window ? pos - window + 1 : 0;
}

// Slots of `tile` in positions [first, last].
static inline SlotRange visible_slots(uint32_t tile, uint32_t first, uint32_t last) {
  const uint64_t base = uint64_t{tile} * kTile;
  const uint64_t begin = first > base ? first - base : 0;
  const uint64_t end = last + uint64_t{1} > base ? last + uint64_t{1} - base : 0;
  return {static_cast<uint32_t>(begin < kTile ? begin : kTile),
          static_cast<uint32_t>(end < kTile ? end : kTile)};
}

static inline const std::byte* tile_address(const AttentionArgs& args, uint32_t tile) {
  const uint32_t tiles_per_block = args.kv.block_tokens / kTile;
  const uint64_t tile_bytes = uint64_t{2} * kTile * args.head_dim * 2;  // K and V
  return args.kv.block(tile / tiles_per_block) + args.head_offset +
         (tile % tiles_per_block) * tile_bytes;
}

}  // namespace stet::kernels
