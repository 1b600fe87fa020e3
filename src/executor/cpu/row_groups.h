// The prefix groups of a batch, from sequence ids to the runs of its rows.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "src/executor/cpu/step_rows.h"
#include "stet/engine_types/step_batch.h"

namespace stet::executor {

// Owned by the step thread. Keeps its capacity from step to step.
class RowGroups {
 public:
  // `runs` stand beside batch.rows. A group whose members have no row of one position, or whose
  // tables differ below shared_tokens, is a broken invariant: the kernel would read foreign KV.
  void find(const StepBatch& batch, std::span<const RowRun> runs);
  std::span<const RowGroup> groups() const { return groups_; }
  size_t num_rows() const { return runs_.size(); }

 private:
  struct SeqRun {
    SeqId seq;
    uint32_t run = 0;
  };
  uint32_t run_of(SeqId seq) const;

  std::vector<SeqRun> by_seq_;  // ascending
  std::vector<uint32_t> runs_;  // of all groups, one after another
  std::vector<RowGroup> groups_;
};

}  // namespace stet::executor
