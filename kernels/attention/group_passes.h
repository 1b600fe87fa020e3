// Group attention (Hydragen, arXiv 2402.05099; C5, last rule), for every instruction set. A row is
// one member x one head. All rows of a pass of up to 12,288 output floats meet a shared tile while
// it is in the caches: through the pipeline, where Isa has one, or, few rows or where windows cut
// it, in the batches of passes.h.
// Then each member goes on in its own tiles from the state of the shared ones, in the order of
// attention(): equal bits.
//
// Bound: alone, a decode row waits for K and V (3 rows of SmolLM2 per tile of 16 KiB); here the
// products and the softmax bound it, as in prefill.
#pragma once

#include "kernels/attention/passes.h"
#include "kernels/attention/reference_group.h"

namespace stet::kernels {
namespace {

// Members [begin, end): row 0 of the states is head 0 of member `begin`.
struct GroupPass {
  const GroupAttentionArgs& args;
  uint32_t begin;
  uint32_t end;
  uint32_t num_rows() const { return (end - begin) * args.num_heads; }
  const GroupMember& member(uint32_t i) const { return args.members[i]; }
  uint32_t first_visible_of(uint32_t i) const { return first_visible(member(i).pos, args.window); }
  bool sees(uint32_t i, uint32_t tile) const { return first_visible_of(i) < (tile + 1) * kTile; }
  // The first position that any member sees, and the first that all see.
  uint32_t first_pos() const {
    uint32_t first = first_visible_of(begin);
    for (uint32_t i = begin + 1; i < end; ++i) {
      first = first_visible_of(i) < first ? first_visible_of(i) : first;
    }
    return first;
  }
  uint32_t common_pos() const {
    uint32_t last = first_visible_of(begin);
    for (uint32_t i = begin + 1; i < end; ++i) {
      last = first_visible_of(i) > last ? first_visible_of(i) : last;
    }
    return last;
  }
};

STET_INLINE const std::byte* group_tile_address(const GroupPass& pass, uint32_t member,
                                                uint32_t tile) {
  return tile_address(member_args(pass.args, member), tile);
}

// Members [begin, end) of the pass, who all see something of the tile, in batches.
template <class Isa>
void meet_shared_tile(const GroupPass& pass, uint32_t begin, uint32_t end, uint32_t tile,
                      TileView* view, States* s, Work* w) {
  const GroupAttentionArgs& args = pass.args;
  const uint32_t heads = args.num_heads;
  const uint32_t first = (begin - pass.begin) * heads;
  const uint32_t rows = (end - begin) * heads;
  const uint32_t batches = (rows + kBatchRows - 1) / kBatchRows;
  for (uint32_t i = 0; i < batches; ++i) {
    const uint32_t r0 = first + rows * i / batches;
    const uint32_t r1 = first + rows * (i + 1) / batches;
    Batch b;
    b.num_rows = r1 - r0;
    uint32_t member = pass.begin + r0 / heads;
    uint32_t head = r0 % heads;
    for (uint32_t r = 0; r < b.num_rows; ++r) {
      const uint32_t pos = pass.member(member).pos;
      b.q[r] = pass.member(member).q + size_t{head} * args.head_dim;
      b.visible[r] = slot_bits(visible_slots(tile, first_visible(pos, args.window), pos));
      head = head + 1 == heads ? 0 : head + 1;
      member += head == 0 ? 1 : 0;
    }
    b.m = s->m + r0;
    b.l = s->l + r0;
    b.o = s->o + size_t{r0} * args.head_dim;
    Isa::meet_tile(*view, b, w);
    view->next = nullptr;
  }
}

// A shared tile for all members that see something of it: all of them but for windows.
template <class Isa>
void shared_tile(const GroupPass& pass, uint32_t tile, uint32_t first_pos, const std::byte* next,
                 States* s, Work* w) {
  TileView view;
  view.k = group_tile_address(pass, pass.begin, tile);
  view.v = view.k + size_t{kTile} * pass.args.head_dim * 2;
  view.next = next;
  view.head_dim = pass.args.head_dim;
  view.written = visible_slots(tile, first_pos, pass.args.shared_tokens - 1);
  for (uint32_t begin = pass.begin; begin < pass.end;) {
    uint32_t end = begin;
    while (end < pass.end && pass.sees(end, tile)) {
      ++end;
    }
    if (begin < end) {
      meet_shared_tile<Isa>(pass, begin, end, tile, &view, s, w);
    }
    begin = end + 1;
  }
}

// Shared tiles [begin, end), which all members see wholly.
template <class Isa>
void common_tiles(const GroupPass& pass, uint32_t begin, uint32_t end, const std::byte* after,
                  States* s, typename Isa::Pipeline* pipe) {
  const GroupAttentionArgs& args = pass.args;
  uint32_t row = 0;
  for (uint32_t i = pass.begin; i < pass.end; ++i) {
    for (uint32_t h = 0; h < args.num_heads; ++h, ++row) {
      pipe->q[row] = pass.member(i).q + size_t{h} * args.head_dim;
    }
  }
  const auto address = [&](uint32_t t) {
    return begin + t < end ? group_tile_address(pass, pass.begin, begin + t) : after;
  };
  Isa::run_pipeline(end - begin, row, args.head_dim, address, s, pipe);
}

// The shared tiles of one segment for all rows of the pass. `after` = what to prefetch during the
// last of them.
template <class Isa>
void shared_tiles(const GroupPass& pass, uint32_t segment, const std::byte* after, States* s,
                  Work* w, typename Isa::Pipeline* pipe) {
  const GroupAttentionArgs& args = pass.args;
  reset(s, 0, pass.num_rows(), args.head_dim);
  const uint32_t num_shared = args.shared_tokens / kTile;
  const uint32_t first_pos = pass.first_pos();
  bool pipeline = false;
  if constexpr (Isa::kHasPipeline) {
    pipeline = pass.num_rows() >= Isa::kMinPipelineRows;
  }
  const uint32_t common = (pass.common_pos() + kTile - 1) / kTile;
  const uint32_t border = (segment + 1) * kTilesPerSegment;
  const uint32_t end = border < num_shared ? border : num_shared;
  uint32_t tile = segment * kTilesPerSegment;
  tile = first_pos / kTile > tile ? first_pos / kTile : tile;
  for (; tile < end && (tile < common || !pipeline); ++tile) {
    const std::byte* next = tile + 1 < end ? group_tile_address(pass, pass.begin, tile + 1) : after;
    shared_tile<Isa>(pass, tile, first_pos, next, s, w);
  }
  if constexpr (Isa::kHasPipeline) {
    if (tile < end) {
      common_tiles<Isa>(pass, tile, end, after, s, pipe);
    }
  }
}

// Where member `i` goes on alone.
STET_INLINE uint32_t first_own_tile(const GroupPass& pass, uint32_t i) {
  const uint32_t seen = pass.first_visible_of(i) / kTile;
  const uint32_t border = pass.args.shared_tokens / kTile;
  return border > seen ? border : seen;
}

STET_INLINE const std::byte* first_own_address(const GroupPass& pass, uint32_t i) {
  return i < pass.end ? group_tile_address(pass, i, first_own_tile(pass, i)) : nullptr;
}

// Member `i` alone, in the tiles of the last shared segment that are its own; `segment` is that
// segment.
template <class Isa>
void finish_shared_segment(const GroupPass& pass, uint32_t i, uint32_t segment,
                           const std::byte* after, States* s, Work* w) {
  const AttentionArgs own = member_args(pass.args, i);
  const Pass alone{own, 0, 1, (i - pass.begin) * pass.args.num_heads};
  const uint32_t border = (segment + 1) * kTilesPerSegment;
  const uint32_t last = own.first_pos / kTile;
  for (uint32_t tile = first_own_tile(pass, i); tile < border && tile <= last; ++tile) {
    pass_tile<Isa>(alone, tile, tile < last ? tile_address(own, tile + 1) : after, s, w);
  }
}

// Member `i` alone, in the segments that hold nothing shared; merged into its rows of `total`.
template <class Isa>
void own_segments(const GroupPass& pass, uint32_t i, const std::byte* after, States* total,
                  States* other, Work* w) {
  const uint32_t heads = pass.args.num_heads;
  const AttentionArgs own = member_args(pass.args, i);
  const Pass alone{own, 0, 1, (i - pass.begin) * heads};
  const uint32_t seen = pass.first_visible_of(i) / kSegment;
  const uint32_t num_shared = num_shared_segments(pass.args);
  const uint32_t last = own.first_pos / kSegment;
  for (uint32_t segment = num_shared > seen ? num_shared : seen; segment <= last; ++segment) {
    const std::byte* next =
        segment < last ? tile_address(own, (segment + 1) * kTilesPerSegment) : after;
    pass_segment<Isa>(alone, segment, next, other, w);
    merge_states<Isa>(total, *other, alone.first_state, heads, own.head_dim);
  }
}

template <class Isa>
void group_pass(const GroupPass& pass, const std::byte* after, States* total, States* other,
                Work* w, typename Isa::Pipeline* pipe) {
  const GroupAttentionArgs& args = pass.args;
  const uint32_t heads = args.num_heads;
  const uint32_t num_shared = num_shared_segments(args);
  const uint32_t first_segment = pass.first_pos() / kSegment;
  if (first_segment >= num_shared) {  // windows see nothing of the shared part
    reset(total, 0, pass.num_rows(), args.head_dim);
  }
  for (uint32_t segment = first_segment; segment < num_shared; ++segment) {
    States* s = segment == first_segment ? total : other;
    const bool last = segment + 1 == num_shared;
    const std::byte* next =
        last ? first_own_address(pass, pass.begin)
             : group_tile_address(pass, pass.begin, (segment + 1) * kTilesPerSegment);
    shared_tiles<Isa>(pass, segment, next, s, w, pipe);
    if (s == other && !last) {
      merge_states<Isa>(total, *other, 0, pass.num_rows(), args.head_dim);
    }
  }
  for (uint32_t i = pass.begin; i < pass.end; ++i) {
    const uint32_t row = (i - pass.begin) * heads;
    const std::byte* next = i + 1 == pass.end ? after : first_own_address(pass, i + 1);
    if (first_segment < num_shared) {
      States* s = first_segment + 1 == num_shared ? total : other;
      finish_shared_segment<Isa>(pass, i, num_shared - 1, next, s, w);
      if (s == other) {
        merge_states<Isa>(total, *other, row, heads, args.head_dim);
      }
    }
    own_segments<Isa>(pass, i, next, total, other, w);
    for (uint32_t h = 0; h < heads; ++h) {
      Isa::write_row(total->o + size_t{row + h} * args.head_dim, total->l[row + h], args.head_dim,
                args.members[i].out + size_t{h} * args.head_dim);
    }
  }
}

template <class Isa>
STET_INLINE void attention_group_lanes(const GroupAttentionArgs& args) {
  if (!covered<Isa>(args)) {
    reference::attention_group(args);
    return;
  }
  States total;
  States other;
  Work work;
  typename Isa::Pipeline pipe;
  const uint32_t step = queries_per_pass(args);
  for (uint32_t begin = 0; begin < args.num_members; begin += step) {
    const bool last = args.num_members - begin <= step;
    const GroupPass pass{args, begin, last ? args.num_members : begin + step};
    group_pass<Isa>(pass, last ? args.next_tile : nullptr, &total, &other, &work, &pipe);
  }
}

template <class Isa>
STET_INLINE void attention_group_segment_lanes(const GroupAttentionArgs& args, uint32_t segment) {
  if (!covered<Isa>(args)) {
    reference::attention_group_segment(args, segment);
    return;
  }
  States s;
  Work work;
  typename Isa::Pipeline pipe;
  const size_t stride = attention_state_stride(args.head_dim);
  const uint32_t step = queries_per_pass(args);
  for (uint32_t begin = 0; begin < args.num_members; begin += step) {
    const bool last = args.num_members - begin <= step;
    const GroupPass pass{args, begin, last ? args.num_members : begin + step};
    shared_tiles<Isa>(pass, segment, last ? args.next_tile : nullptr, &s, &work, &pipe);
    for (uint32_t i = pass.begin; i < pass.end; ++i) {
      finish_shared_segment<Isa>(pass, i, segment, first_own_address(pass, i + 1), &s, &work);
    }
    for (uint32_t r = 0; r < pass.num_rows(); ++r) {
      store_state(s, r, args.head_dim,
                  pass.member(begin + r / args.num_heads).states + r % args.num_heads * stride);
    }
  }
}

}  // namespace
}  // namespace stet::kernels
