#include "src/executor/cpu/row_groups.h"

#include <algorithm>

#include "stet/base/check.h"

namespace stet::executor {
namespace {

// Tables of one address range per sequence have no ids to compare: equal blocks are mapped there.
bool same_blocks(const kernels::KvView& a, const kernels::KvView& b, uint32_t shared_tokens) {
  const uint32_t num_blocks = (shared_tokens + a.block_tokens - 1) / a.block_tokens;
  return num_blocks <= a.num_blocks && num_blocks <= b.num_blocks &&
         (a.table == nullptr || b.table == nullptr ||
          std::equal(a.table, a.table + num_blocks, b.table));
}

}  // namespace

void RowGroups::find(const StepBatch& batch, std::span<const RowRun> runs) {
  groups_.clear();
  runs_.clear();
  if (batch.groups.empty()) {
    return;
  }
  by_seq_.clear();
  for (uint32_t r = 0; r < batch.rows.size(); ++r) {
    by_seq_.push_back({batch.rows[r].seq, r});
  }
  std::sort(by_seq_.begin(), by_seq_.end(),
            [](const SeqRun& a, const SeqRun& b) { return a.seq < b.seq; });
  runs_.reserve(runs.size());  // spans into it stay where they are
  for (const PrefixGroup& group : batch.groups) {
    STET_CHECK(group.members.size() >= 2 && group.shared_tokens > 0 &&
                   group.shared_tokens % kernels::kTile == 0,
               "a group has members and ends at a tile border");
    STET_CHECK(runs_.size() + group.members.size() <= runs.size(), "groups are disjoint");
    const size_t first = runs_.size();
    for (SeqId seq : group.members) {
      const uint32_t r = run_of(seq);
      STET_CHECK(runs[r].num_rows == 1 && runs[r].first_pos >= group.shared_tokens,
                 "a member has one row, beyond the shared part");
      runs_.push_back(r);
      STET_CHECK(same_blocks(runs[runs_[first]].kv, runs[r].kv, group.shared_tokens),
                 "members of a group hold the same blocks");
    }
    groups_.push_back({std::span(runs_).subspan(first), group.shared_tokens});
  }
}

uint32_t RowGroups::run_of(SeqId seq) const {
  const auto at = std::lower_bound(by_seq_.begin(), by_seq_.end(), seq,
                                   [](const SeqRun& entry, SeqId s) { return entry.seq < s; });
  STET_CHECK(at != by_seq_.end() && at->seq == seq, "a member of a group has a row");
  return at->run;
}

}  // namespace stet::executor
