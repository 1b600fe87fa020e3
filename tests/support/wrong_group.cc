#include "tests/support/wrong_group.h"

#include <vector>

#include "kernels/attention/reference.h"

namespace stet::kernels {
namespace {

using State = std::vector<float>;  // m, l, o[head_dim]

State fresh(const AttentionArgs& args) {
  State state(args.head_dim + 2);
  reference::reset_state(state.data(), args.head_dim);
  return state;
}

// Tiles [begin, end) of the sequence for one row.
State attend(const AttentionArgs& args, const uint16_t* q, uint32_t begin, uint32_t end) {
  State state = fresh(args);
  for (uint32_t tile = begin; tile < end; ++tile) {
    const SlotRange visible =
        visible_slots(tile, first_visible(args.first_pos, args.window), args.first_pos);
    if (visible.begin < visible.end) {
      reference::attend_tile(q, tile_address(args, tile), args.head_dim, visible, state.data());
    }
  }
  return state;
}

void merge_and_write(const AttentionArgs& args, const std::vector<State>& states, float* out) {
  State total;
  for (const State& state : states) {
    if (state[0] == -__builtin_inff()) {
      continue;
    }
    if (total.empty()) {
      total = state;
    } else {
      reference::merge_state(total.data(), state.data(), args.head_dim);
    }
  }
  reference::write_result(total.data(), args.head_dim, out);
}

// f(args of a member alone, shared tiles, q of a head, out of a head)
template <class F>
void for_rows(const GroupAttentionArgs& group, F&& f) {
  for (uint32_t i = 0; i < group.num_members; ++i) {
    const AttentionArgs args = member_args(group, i);
    for (uint32_t h = 0; h < group.num_heads; ++h) {
      const size_t column = size_t{h} * group.head_dim;
      f(args, group.shared_tokens / kTile, args.q + column, args.out + column);
    }
  }
}

// Two passes, one over what is private and one over what is shared, merged in that order.
void private_part_first(const GroupAttentionArgs& group) {
  for_rows(group, [](const AttentionArgs& args, uint32_t shared, const uint16_t* q, float* out) {
    const uint32_t end = args.first_pos / kTile + 1;
    const uint32_t border = round_up(shared, kTilesPerSegment);
    std::vector<State> states;
    for (uint32_t tile = border; tile < end; tile += kTilesPerSegment) {
      states.push_back(attend(args, q, tile, tile + kTilesPerSegment));
    }
    for (uint32_t tile = 0; tile < border; tile += kTilesPerSegment) {
      states.push_back(attend(args, q, tile, tile + kTilesPerSegment));
    }
    merge_and_write(args, states, out);
  });
}

// The private part of the segment in which the border lies starts from nothing and is merged.
void border_is_a_segment_border(const GroupAttentionArgs& group) {
  for_rows(group, [](const AttentionArgs& args, uint32_t shared, const uint16_t* q, float* out) {
    std::vector<State> states;
    for (uint32_t tile = 0; tile < args.first_pos / kTile + 1; tile += kTilesPerSegment) {
      const uint32_t end = tile + kTilesPerSegment;
      const bool cut = tile < shared && shared < end;
      states.push_back(attend(args, q, tile, cut ? shared : end));
      if (cut) {
        states.push_back(attend(args, q, shared, end));
      }
    }
    merge_and_write(args, states, out);
  });
}

// Every member reads one block more through the first member's table.
template <class F>
void with_one_block_too_many(const GroupAttentionArgs& group, F&& f) {
  for (uint32_t i = 0; i < group.num_members; ++i) {
    GroupMember member = group.members[i];
    std::vector<uint32_t> table(member.kv.table, member.kv.table + member.kv.num_blocks);
    const uint32_t block = group.shared_tokens / member.kv.block_tokens;
    table[block] = group.members[0].kv.table[block];
    member.kv.table = table.data();
    GroupAttentionArgs one = group;
    one.members = &member;
    one.num_members = 1;
    f(one);
  }
}

void one_block_too_long(const GroupAttentionArgs& group) {
  with_one_block_too_many(group,
                          [](const GroupAttentionArgs& one) { best_table().attention_group(one); });
}

void one_block_too_long_segment(const GroupAttentionArgs& group, uint32_t segment) {
  with_one_block_too_many(group, [segment](const GroupAttentionArgs& one) {
    best_table().attention_group_segment(one, segment);
  });
}

std::vector<WrongKernels> make_group_tables() {
  std::vector<WrongKernels> tables = {
      {"group: private segments merged before shared ones", best_table()},
      {"group: a new segment at the border", best_table()},
      {"group: shared part one block too long", best_table()},
  };
  tables[0].table.attention_group = private_part_first;
  tables[1].table.attention_group = border_is_a_segment_border;
  tables[2].table.attention_group = one_block_too_long;
  tables[2].table.attention_group_segment = one_block_too_long_segment;
  for (WrongKernels& t : tables) {
    t.table.name = t.name;
  }
  return tables;
}

}  // namespace

std::span<const WrongKernels> wrong_group_tables() {
  static const std::vector<WrongKernels> tables = make_group_tables();
  return tables;
}

}  // namespace stet::kernels
