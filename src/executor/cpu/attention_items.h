// How the attention of one step is divided over threads. Made once per step, read by every layer.
//
// A piece is a row, or up to kMaxPieceRows consecutive rows of a chunk: what is quantised together
// once all its heads are done. Items are (piece, kv head); members of a prefix group go together as
// (set of members, kv head), so that one reading of the shared tiles serves all of them. When there
// are too few items for the threads, single rows and sets are divided further by segments of 512
// (C5). None of this shows in the bits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "src/executor/cpu/step_rows.h"

namespace stet::executor {

struct AttentionPiece {
  uint32_t run = 0;
  uint32_t first_row = 0;
  uint32_t num_rows = 0;
  uint32_t first_pos = 0;
  uint32_t end_pos() const { return first_pos + num_rows; }
};

// Pieces of one row each, which share their first shared_tokens positions.
struct MemberSet {
  uint32_t first = 0;  // of AttentionItems::members
  uint32_t num = 0;
  uint32_t shared_tokens = 0;
};

struct AttentionItem {
  static constexpr uint32_t kNone = UINT32_MAX;
  static constexpr uint32_t kWhole = UINT32_MAX;
  uint32_t piece = 0;  // of a set: its first member
  uint32_t set = kNone;
  uint32_t kv_head = 0;
  uint32_t segment = kWhole;
  uint64_t cost = 0;  // tiles met, times rows
  uint32_t order = 0;
};

// Segments of 512 that positions [0, end_pos) reach into.
uint32_t num_segments(uint32_t end_pos);

// Owned by the step thread; const during regions. Allocates in its constructor only.
class AttentionItems {
 public:
  static constexpr uint32_t kMaxSetMembers = 64;
  // Pieces times kv heads below which a step is divided by segments.
  static uint32_t max_units(uint32_t num_threads);

  AttentionItems(uint32_t num_kv_heads, uint32_t max_rows, uint32_t max_segments,
                 uint32_t num_threads);

  // `runs` and `groups` must outlive the step.
  void prepare(std::span<const RowRun> runs, std::span<const RowGroup> groups);

  std::span<const RowRun> runs() const { return runs_; }
  std::span<const AttentionPiece> pieces() const { return pieces_; }
  const RowRun& run_of(const AttentionPiece& piece) const { return runs_[piece.run]; }
  // In the order of the threads' ranges, heaviest first in each.
  std::span<const AttentionItem> items() const { return dealt_; }
  uint32_t chunk() const { return chunk_; }
  // First item of the range that the pool gives thread `t` to start with.
  uint32_t range_begin(uint32_t t) const;
  const MemberSet& set_of(const AttentionItem& item) const { return sets_[item.set]; }
  // The pieces an item computes.
  std::span<const uint32_t> pieces_of(const AttentionItem& item) const;

  bool split() const { return split_; }
  // A row that is the whole of its run is written by the item that attends from it. Other pieces of
  // a run would read its tile meanwhile: masked, but a race.
  bool fused(const AttentionPiece& piece) const {
    return runs_[piece.run].num_rows == 1 && !split_;
  }
  // Rows that are not fused: (row, its run).
  struct StoredRow {
    uint32_t row = 0;
    uint32_t run = 0;
  };
  std::span<const StoredRow> stored_rows() const { return stored_rows_; }

 private:
  void make_pieces();
  void decide_split();
  void add_group(const RowGroup& group);
  void add_set(uint32_t index, uint32_t kv_head);
  void add_piece(uint32_t piece);
  void add(AttentionItem item);
  uint32_t num_sets(uint32_t num_members) const;
  void deal();

  const uint32_t num_kv_heads_;
  const uint32_t num_threads_;
  std::span<const RowRun> runs_;
  std::vector<AttentionPiece> pieces_;
  std::vector<uint32_t> first_piece_;  // per run
  std::vector<uint8_t> grouped_;       // per piece
  std::vector<uint32_t> identity_;     // 0, 1, 2 ...
  std::vector<uint32_t> members_;      // pieces, set after set
  std::vector<MemberSet> sets_;
  std::vector<AttentionItem> items_;  // in the order they were made, then by cost
  std::vector<AttentionItem> dealt_;
  std::vector<StoredRow> stored_rows_;
  std::vector<uint32_t> next_of_thread_;
  bool split_ = false;
  uint32_t chunk_ = 1;
};

}  // namespace stet::executor
