#include "src/executor/cpu/attention_items.h"

#include <algorithm>

#include "src/executor/cpu/thread_pool.h"
#include "stet/base/check.h"

namespace stet::executor {
namespace {

using kernels::kSegment;
using kernels::kTile;

// A piece's rows share every tile they read. Measured for SmolLM2 (performance.md sec. 3): 16-24
// queries balance two threads without reading tiles too often; below 6 the reads dominate.
constexpr uint32_t kMaxPieceRows = 24;
constexpr uint32_t kMinPieceRows = 6;
constexpr uint32_t kItemsPerThread =
    4;  // wanted, so that the last item of a region is a small share of it
constexpr uint32_t kSplitBelowItemsPerThread = 2;

uint64_t num_tiles(uint32_t end_pos) {
  return end_pos / kTile + 1;
}

}  // namespace

uint32_t num_segments(uint32_t end_pos) {
  return (end_pos + kSegment - 1) / kSegment;
}

uint32_t AttentionItems::max_units(uint32_t num_threads) {
  return kSplitBelowItemsPerThread * num_threads;
}

AttentionItems::AttentionItems(uint32_t num_kv_heads, uint32_t max_rows, uint32_t max_segments,
                               uint32_t num_threads)
    : num_kv_heads_(num_kv_heads), num_threads_(num_threads), next_of_thread_(num_threads) {
  const size_t max_items =
      size_t{max_rows} * num_kv_heads + size_t{max_units(num_threads)} * max_segments;
  pieces_.reserve(max_rows);
  first_piece_.reserve(max_rows);
  grouped_.reserve(max_rows);
  for (uint32_t i = 0; i < max_rows; ++i) {
    identity_.push_back(i);
  }
  members_.reserve(max_rows);
  sets_.reserve(max_rows / 2 + 1);
  items_.reserve(max_items);
  dealt_.reserve(max_items);
  stored_rows_.reserve(max_rows);
}

void AttentionItems::prepare(std::span<const RowRun> runs, std::span<const RowGroup> groups) {
  runs_ = runs;
  make_pieces();
  decide_split();
  members_.clear();
  sets_.clear();
  items_.clear();
  for (const RowGroup& group : groups) {
    add_group(group);
  }
  stored_rows_.clear();
  for (uint32_t p = 0; p < pieces_.size(); ++p) {
    const AttentionPiece& piece = pieces_[p];
    if (grouped_[p] == 0) {
      add_piece(p);
    }
    if (!fused(piece)) {
      for (uint32_t row = piece.first_row; row < piece.first_row + piece.num_rows; ++row) {
        stored_rows_.push_back({row, piece.run});
      }
    }
  }
  deal();
}

void AttentionItems::make_pieces() {
  pieces_.clear();
  first_piece_.clear();
  uint32_t num_rows = 0;
  for (const RowRun& run : runs_) {
    num_rows += run.num_rows;
  }
  const uint32_t most = std::clamp(num_rows * num_kv_heads_ / (kItemsPerThread * num_threads_),
                                   kMinPieceRows, kMaxPieceRows);
  for (uint32_t r = 0; r < runs_.size(); ++r) {
    const RowRun& run = runs_[r];
    first_piece_.push_back(static_cast<uint32_t>(pieces_.size()));
    for (uint32_t done = 0; done < run.num_rows; done += most) {
      pieces_.push_back({.run = r,
                         .first_row = run.first_row + done,
                         .num_rows = std::min(most, run.num_rows - done),
                         .first_pos = run.first_pos + done});
    }
  }
  grouped_.assign(pieces_.size(), 0);
}

// Few items: single rows with more than one segment become one item per segment. Bits stay, because
// segments are part of the definition (C5).
void AttentionItems::decide_split() {
  split_ = num_threads_ > 1 && pieces_.size() * num_kv_heads_ < max_units(num_threads_) &&
           std::any_of(pieces_.begin(), pieces_.end(), [](const AttentionPiece& piece) {
             return piece.num_rows == 1 && piece.end_pos() > kSegment;
           });
}

// ---------------------------------------------------------------- items

void AttentionItems::add(AttentionItem item) {
  item.order = static_cast<uint32_t>(items_.size());
  items_.push_back(item);
}

void AttentionItems::add_piece(uint32_t p) {
  const AttentionPiece& piece = pieces_[p];
  const uint32_t segments = num_segments(piece.end_pos());
  const bool whole = !split_ || piece.num_rows != 1 || segments == 1;
  for (uint32_t head = 0; head < num_kv_heads_; ++head) {
    if (whole) {
      add({.piece = p, .kv_head = head, .cost = piece.num_rows * num_tiles(piece.end_pos())});
      continue;
    }
    for (uint32_t segment = 0; segment < segments; ++segment) {
      const uint32_t end = std::min(piece.end_pos(), (segment + 1) * kSegment);
      add({.piece = p,
           .kv_head = head,
           .segment = segment,
           .cost = num_tiles(end - segment * kSegment)});
    }
  }
}

// Into how many sets a group is divided: two items per thread at least, and a number that the
// threads can share evenly if there is one nearby; a set has two members at least.
uint32_t AttentionItems::num_sets(uint32_t num_members) const {
  const uint32_t fewest =
      std::max((kSplitBelowItemsPerThread * num_threads_ + num_kv_heads_ - 1) / num_kv_heads_,
               (num_members + kMaxSetMembers - 1) / kMaxSetMembers);
  uint32_t even = fewest;
  while (even * num_kv_heads_ % num_threads_ != 0 && even < 2 * fewest) {
    ++even;
  }
  const uint32_t wanted = even * num_kv_heads_ % num_threads_ == 0 ? even : fewest;
  return std::clamp(wanted, 1U, std::max(num_members / 2, 1U));
}

void AttentionItems::add_group(const RowGroup& group) {
  const auto num_members = static_cast<uint32_t>(group.runs.size());
  const uint32_t sets =
      split_ ? (num_members + kMaxSetMembers - 1) / kMaxSetMembers : num_sets(num_members);
  const auto first_set = static_cast<uint32_t>(sets_.size());
  for (uint32_t s = 0; s < sets; ++s) {
    const uint32_t begin = num_members * s / sets;
    const uint32_t end = num_members * (s + 1) / sets;
    sets_.push_back({static_cast<uint32_t>(members_.size()), end - begin, group.shared_tokens});
    for (uint32_t m = begin; m < end; ++m) {
      const uint32_t piece = first_piece_[group.runs[m]];
      STET_CHECK(pieces_[piece].num_rows == 1 && grouped_[piece] == 0 &&
                     pieces_[piece].first_pos >= group.shared_tokens,
                 "a member is one row beyond the shared part, in one group");
      grouped_[piece] = 1;
      members_.push_back(piece);
    }
  }
  // Sets of one head stand side by side: threads that compute them at the same time read the shared
  // tiles from memory once.
  for (uint32_t head = 0; head < num_kv_heads_; ++head) {
    for (uint32_t s = first_set; s < sets_.size(); ++s) {
      add_set(s, head);
    }
  }
}

void AttentionItems::add_set(uint32_t index, uint32_t head) {
  const MemberSet& set = sets_[index];
  const std::span<const uint32_t> members = std::span(members_).subspan(set.first, set.num);
  AttentionItem item{.piece = members[0], .set = index, .kv_head = head};
  uint32_t longest = 0;
  for (uint32_t p : members) {
    item.cost += num_tiles(pieces_[p].end_pos());
    longest = std::max(longest, pieces_[p].end_pos());
  }
  if (!split_ || longest <= kSegment) {
    add(item);
    return;
  }
  const uint32_t num_shared = num_segments(set.shared_tokens);
  for (uint32_t segment = 0; segment < num_shared; ++segment) {
    item.segment = segment;
    item.cost = uint64_t{set.num} * (kSegment / kTile);
    add(item);
  }
  for (uint32_t p : members) {
    for (uint32_t segment = num_shared; segment < num_segments(pieces_[p].end_pos()); ++segment) {
      const uint32_t end = std::min(pieces_[p].end_pos(), (segment + 1) * kSegment);
      add({.piece = p,
           .kv_head = head,
           .segment = segment,
           .cost = num_tiles(end - segment * kSegment)});
    }
  }
}

std::span<const uint32_t> AttentionItems::pieces_of(const AttentionItem& item) const {
  if (item.set == AttentionItem::kNone) {
    return std::span(identity_).subspan(item.piece, 1);
  }
  return std::span(members_).subspan(sets_[item.set].first, sets_[item.set].num);
}

// ---------------------------------------------------------------- dealing

// Heaviest first, dealt in turn to the ranges the threads start with.
void AttentionItems::deal() {
  std::sort(items_.begin(), items_.end(), [](const AttentionItem& a, const AttentionItem& b) {
    return a.cost != b.cost ? a.cost > b.cost : a.order < b.order;
  });
  const auto num_items = static_cast<uint32_t>(items_.size());
  const bool heavy = num_items > 0 && items_[0].cost > kTile;
  dealt_.resize(num_items);
  chunk_ = heavy ? 1 : std::clamp(num_items / (8 * num_threads_), 1u, 4u);
  for (uint32_t t = 0; t < num_threads_; ++t) {
    next_of_thread_[t] = range_begin(t);
  }
  uint32_t t = 0;
  for (const AttentionItem& item : items_) {
    while (next_of_thread_[t] == range_begin(t + 1)) {
      t = (t + 1) % num_threads_;
    }
    dealt_[next_of_thread_[t]++] = item;
    t = (t + 1) % num_threads_;
  }
}

uint32_t AttentionItems::range_begin(uint32_t t) const {
  const auto num_items = static_cast<uint32_t>(dealt_.size());
  const uint32_t num_chunks = (num_items + chunk_ - 1) / chunk_;
  return std::min(num_items, ThreadPool::range_begin(num_chunks, t, num_threads_) * chunk_);
}

}  // namespace stet::executor
