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

// Member i of a group alone.
static inline AttentionArgs member_args(const GroupAttentionArgs& group, uint32_t i) {
  const GroupMember& member = group.members[i];
  AttentionArgs args;
  args.kv = member.kv;
  args.head_offset = group.head_offset;
  args.head_dim = group.head_dim;
  args.num_heads = group.num_heads;
  args.first_pos = member.pos;
  args.num_queries = 1;
  args.window = group.window;
  args.q = member.q;
  args.ldq = size_t{group.num_heads} * group.head_dim;
  args.out = member.out;
  args.ldo = args.ldq;
  return args;
}

// Segments that hold shared positions: [0, this).
static inline uint32_t num_shared_segments(const GroupAttentionArgs& group) {
  return (group.shared_tokens + kSegment - 1) / kSegment;
}

}  // namespace stet::kernels
