// What a kernel that reads shared KV once relies on (PrefixGroup).
#include <algorithm>
#include <string>
#include <unordered_set>

#include "src/executor/fake/fake_sequence.h"
#include "stet/executor/fake_backend.h"

namespace stet::executor {
namespace {
constexpr uint32_t kTileTokens = 64;
}

void FakeBackend::check_groups(const StepBatch& batch) const {
  std::unordered_set<SeqId> seen;
  for (const PrefixGroup& group : batch.groups) {
    for (SeqId seq : group.members) {
      if (!seen.insert(seq).second) {
        violation("sequence " + std::to_string(seq.v) + " is a member of a group twice");
      }
    }
    check_group(batch, group);
  }
}

void FakeBackend::check_group(const StepBatch& batch, const PrefixGroup& group) const {
  const std::string name = "group of " + std::to_string(group.leader.v);
  if (group.members.size() < 2 || group.members.front() != group.leader) {
    return violation(name + ": fewer than two members, or the leader is not the first");
  }
  if (group.shared_tokens == 0 || group.shared_tokens % kTileTokens != 0) {
    return violation(name + ": " + std::to_string(group.shared_tokens) +
                     " shared tokens are no tile border");
  }
  const uint32_t num_blocks =
      (group.shared_tokens + options_.block_tokens - 1) / options_.block_tokens;
  const FakeSequence* leader = nullptr;
  for (SeqId seq : group.members) {
    const auto it = sequences_.find(seq);
    const auto row = std::find_if(batch.rows.begin(), batch.rows.end(),
                                  [seq](const BatchRow& r) { return r.seq == seq; });
    const std::string member = name + ": member " + std::to_string(seq.v);
    if (it == sequences_.end() || row == batch.rows.end() || row->n_pos != 1) {
      return violation(member + " has no row of one position");
    }
    const FakeSequence& s = *it->second;
    leader = leader == nullptr ? &s : leader;
    if (row->first_pos < group.shared_tokens || s.table.size() < num_blocks) {
      return violation(member + " has not computed the shared positions");
    }
    const bool same =
        std::equal(s.table.begin(), s.table.begin() + num_blocks, leader->table.begin(),
                   [](const TableEntry& a, const TableEntry& b) { return a.slot == b.slot; });
    if (!same) {
      return violation(member + " holds other blocks below the border");
    }
  }
}

}  // namespace stet::executor
