// Lists of tiles against what the attention items say, written down once more the slow way.
#include "src/executor/cpu/kv_prefetch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

namespace stet::executor {
namespace {

using kernels::kTile;

constexpr uint32_t kHeads = 3;
constexpr uint32_t kBlockTokens = 128;
constexpr uint64_t kPlenty = uint64_t{1} << 30;

// Two layers, of which the second sees 100 positions; blocks of two tiles in an order that is not
// the sequence's. Nothing is read, so the addresses need not exist.
class KvPrefetchTest : public ::testing::Test {
 protected:
  KvPrefetchTest() {
    layout_ = {
        .num_layers = 2, .num_kv_heads = kHeads, .head_dim = 64, .block_tokens = kBlockTokens};
    model_.layers.resize(2);
    model_.layers[1].kind.window = 100;
  }

  void add_run(uint32_t first_pos, uint32_t num_rows = 1) {
    tables_.emplace_back();
    for (uint32_t i = 0; i < 16; ++i) {
      tables_.back().push_back(1000 * static_cast<uint32_t>(tables_.size()) + (i * 7) % 16);
    }
    runs_.push_back({.first_row = num_rows_, .num_rows = num_rows, .first_pos = first_pos});
    num_rows_ += num_rows;
  }

  AttentionItems prepare(uint32_t num_threads, const std::vector<RowGroup>& groups = {}) {
    for (size_t r = 0; r < runs_.size(); ++r) {
      runs_[r].kv = {.base = nullptr,
                     .table = tables_[r].data(),
                     .stride = layout_.block_bytes(),
                     .num_blocks = 16,
                     .block_tokens = kBlockTokens};
    }
    AttentionItems items(kHeads, 256, 4, num_threads);
    items.prepare(runs_, groups);
    return items;
  }

  // Of one row at `pos`, as C5 walks: from the first tile it sees.
  std::vector<const std::byte*> tiles(uint32_t run, uint32_t layer, uint32_t head) const {
    std::vector<const std::byte*> result;
    const uint32_t pos = runs_[run].first_pos;
    for (uint32_t p = 0; p <= pos; ++p) {
      const bool seen = layer == 0 || pos - p < 100;
      const std::byte* tile = kv_tile(runs_[run].kv, layout_, layer, head, p);
      if (seen && (result.empty() || result.back() != tile)) {
        result.push_back(tile);
      }
    }
    return result;
  }

  static std::vector<const std::byte*> listed(const kernels::Prefetch& list) {
    return {list.runs, list.runs + list.num_runs};
  }

  model::Model model_;
  kernels::KvTileLayout layout_;
  std::vector<std::vector<uint32_t>> tables_;
  std::vector<RowRun> runs_;
  uint32_t num_rows_ = 0;
};

TEST_F(KvPrefetchTest, AThreadsListIsWhatItsItemsRead) {
  for (const uint32_t pos : {0u, 63u, 64u, 99u, 100u, 127u, 300u, 511u, 700u}) {
    add_run(pos);
  }
  add_run(200, 40);  // a chunk: left out
  const AttentionItems items = prepare(2);
  KvPrefetch prefetch(model_, layout_, items, 2, kPlenty);
  prefetch.start_step(num_rows_);
  for (const uint32_t layer : {0u, 1u}) {
    size_t total = 0;
    for (const uint32_t t : {0u, 1u}) {
      std::vector<const std::byte*> expected;
      for (uint32_t i = items.range_begin(t); i < items.range_begin(t + 1); ++i) {
        const AttentionItem& item = items.items()[i];
        const AttentionPiece& piece = items.pieces()[item.piece];
        if (piece.num_rows == 1) {
          const auto more = tiles(piece.run, layer, item.kv_head);
          expected.insert(expected.end(), more.begin(), more.end());
        }
      }
      const kernels::Prefetch* list = prefetch.list(layer, t);
      ASSERT_NE(list, nullptr);
      EXPECT_EQ(list->run_lines * 64, layout_.tile_bytes());
      EXPECT_EQ(listed(*list), expected) << "layer " << layer << " thread " << t;
      total += expected.size();
    }
    EXPECT_GT(total, layer == 0 ? 60u : 30u);
  }
}

TEST_F(KvPrefetchTest, SharedTilesStandInTheListOnce) {
  for (int i = 0; i < 8; ++i) {
    add_run(300 + static_cast<uint32_t>(i));
    tables_.back()[0] = 5;  // 256 shared positions
    tables_.back()[1] = 6;
  }
  const std::vector<uint32_t> members = {0, 1, 2, 3, 4, 5, 6, 7};
  const AttentionItems items = prepare(1, {{.runs = members, .shared_tokens = 256}});
  KvPrefetch prefetch(model_, layout_, items, 1, kPlenty);
  prefetch.start_step(num_rows_);
  const std::vector<const std::byte*> tiles = listed(*prefetch.list(0, 0));
  EXPECT_EQ(std::set(tiles.begin(), tiles.end()).size(), tiles.size());
  EXPECT_EQ(tiles.size(), kHeads * (4 + 8 * 1u));
}

TEST_F(KvPrefetchTest, TheListEndsWhereTheCacheIsFull) {
  for (int i = 0; i < 8; ++i) {
    add_run(1000);
  }
  const AttentionItems items = prepare(1);
  KvPrefetch plenty(model_, layout_, items, 1, kPlenty), small(model_, layout_, items, 1, 10 << 14),
      none(model_, layout_, items, 1, 1000);
  for (KvPrefetch* prefetch : {&plenty, &small, &none}) {
    prefetch->start_step(num_rows_);
  }
  const auto all = listed(*plenty.list(0, 0)), some = listed(*small.list(0, 0));
  ASSERT_EQ(some.size(), 7u);  // 70 % of ten tiles
  EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin()));
  EXPECT_EQ(none.list(0, 0), nullptr);
}

TEST_F(KvPrefetchTest, GoesOnInALayerAndStartsAnewInTheNext) {
  for (int i = 0; i < 8; ++i) {
    add_run(500);
  }
  const AttentionItems items = prepare(1);
  KvPrefetch prefetch(model_, layout_, items, 1, kPlenty);
  prefetch.start_step(num_rows_);
  prefetch.list(0, 0)->run = 5;
  EXPECT_EQ(prefetch.list(0, 0)->run, 5u);
  EXPECT_EQ(prefetch.list(1, 0)->run, 0u);
  EXPECT_EQ(prefetch.list(2, 0), nullptr);  // after the last layer
  prefetch.start_step(KvPrefetch::kMinRows - 1);
  EXPECT_EQ(prefetch.list(0, 0), nullptr);
  prefetch.start_step(KvPrefetch::kMinRows);
  EXPECT_EQ(prefetch.list(0, 0)->run, 0u);
}

}  // namespace
}  // namespace stet::executor
