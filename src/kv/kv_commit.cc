// KvCache::commit: first the counts on scratch, then the same moves on the real pool. Nothing can
// fail in between.
#include "src/kv/eviction_order.h"
#include "src/kv/kv_entry.h"
#include "stet/base/check.h"
#include "stet/kv/kv_cache.h"

namespace stet::kv {
namespace {
uint32_t blocks_for(uint32_t num_positions, uint32_t block_tokens) {
  return (num_positions + block_tokens - 1) / block_tokens;
}
}  // namespace

// An admitted sequence starts at first_pos: the prefix below it comes from the index or from a
// sibling.
bool KvCache::admit(Trial* trial, SeqId seq, uint32_t first_pos, SeqId fork_source) {
  Entry* found = find_entry(seq);
  if (found == nullptr || found->live || found->destroy_pending) {
    return false;
  }
  Entry& e = *found;
  const uint32_t shared_blocks = first_pos / options_.block_tokens;
  if (fork_source == SeqId{}) {
    const bool hit_holds = first_pos == 0 || (e.hit_blocks == shared_blocks &&
                                              first_pos % options_.block_tokens == 0 &&
                                              index_.generation(e.hit_leaf) == e.hit_generation);
    if (!hit_holds) {
      return false;
    }
    if (first_pos > 0) {
      for (BlockId b = e.hit_leaf; b != kNoBlock; b = index_.parent(b)) {
        trial->acquire(b);
      }
    }
  } else {
    const Entry* source = find_entry(fork_source);
    if (source == nullptr || !source->live || source->num_computed < first_pos) {
      return false;
    }
    for (uint32_t i = 0; i < shared_blocks; ++i) {
      trial->acquire(source->table[i]);
    }
  }
  e.admitting = true;
  e.fork_source = fork_source;
  return true;
}

bool KvCache::try_admissions(const StepPlan& plan, Trial* trial) {
  for (SeqId seq : plan.admitted) {
    SeqId source;
    for (const ForkedSeq& fork : plan.forks) {
      source = fork.seq == seq ? fork.source : source;
    }
    for (const SeqId victim : plan.preempted) {
      if (victim == source && source != SeqId{}) {
        return false;
      }
    }
    const ScheduledSeq* scheduled = nullptr;
    for (const ScheduledSeq& s : plan.scheduled) {
      scheduled = s.seq == seq ? &s : scheduled;
    }
    if (scheduled == nullptr || !admit(trial, seq, scheduled->first_pos, source)) {
      return false;
    }
  }
  return true;
}

bool KvCache::fits(const StepPlan& plan) {
  Trial trial(this);
  for (SeqId seq : plan.preempted) {
    const Entry* e = find_entry(seq);
    if (e == nullptr || !e->live) {
      return false;
    }
    for (BlockId block : e->table) {
      trial.release(block);
    }
  }
  if (!try_admissions(plan, &trial)) {
    return false;
  }
  int64_t num_new_blocks = 0;
  for (const ScheduledSeq& s : plan.scheduled) {
    const Entry* found = find_entry(s.seq);
    if (found == nullptr || s.num_scheduled_tokens == 0) {
      return false;
    }
    const Entry& e = *found;
    if (!e.admitting && (!e.live || s.first_pos != e.num_scheduled)) {
      return false;
    }
    const uint32_t held =
        e.admitting ? s.first_pos / options_.block_tokens : static_cast<uint32_t>(e.table.size());
    const uint32_t needed = blocks_for(s.first_pos + s.num_scheduled_tokens, options_.block_tokens);
    if (needed != held + s.num_new_blocks) {
      return false;
    }
    num_new_blocks += s.num_new_blocks;
  }
  return num_new_blocks <= trial.num_available();
}

bool KvCache::commit(const StepPlan& plan, StepBatch* batch) {
  const bool ok = fits(plan);
  if (ok) {
    for (SeqId seq : plan.preempted) {
      release(seq);
    }
    flush_pending_ops(batch);
    restart_eviction();
    pins_are_ranked_ = false;
    // Hits are referenced before anything is evicted.
    for (const ScheduledSeq& s : plan.scheduled) {
      Entry& e = entry(s.seq);
      if (e.admitting) {
        share_prefix(e, s.first_pos / options_.block_tokens, e.fork_source, batch);
      }
    }
    for (const ScheduledSeq& s : plan.scheduled) {
      Entry& e = entry(s.seq);
      append_blocks(e, s, e.admitting ? e.fork_source : SeqId{}, batch);
      e.num_scheduled = s.first_pos + s.num_scheduled_tokens;
      in_flight_.push_back({plan.step, s.seq, e.incarnation, e.num_scheduled});
    }
    STET_CHECK(plan.step > submitted_step_, "steps are numbered upwards");
    submitted_step_ = plan.step;
  }
  for (SeqId seq : plan.admitted) {
    Entry* e = find_entry(seq);
    if (e != nullptr) {
      e->admitting = false;
    }
  }
  return ok;
}

void KvCache::share_prefix(Entry& e, uint32_t num_blocks, SeqId fork_source, StepBatch* batch) {
  e.live = true;
  ++num_live_;
  if (fork_source != SeqId{}) {
    const std::vector<BlockId>& source = entry(fork_source).table;
    e.table.assign(source.begin(), source.begin() + num_blocks);
  } else {
    e.table.resize(num_blocks);
    BlockId block = e.hit_leaf;
    for (uint32_t i = num_blocks; i > 0; --i) {
      e.table[i - 1] = block;
      block = index_.parent(block);
    }
    e.num_published = num_blocks;
  }
  for (BlockId block : e.table) {
    if (fork_source == SeqId{}) {
      hit(block, e.priority_class);
    } else {
      pool_.add_ref(block);  // a sibling has it
    }
  }
  announce(e);
  e.num_computed = num_blocks * options_.block_tokens;
  if (num_blocks > 0) {
    emit(batch, KvOpKind::kShare, e.seq, 0, e.table);
  }
}

BlockId KvCache::take_block() {
  eviction_order_->on_taken();
  std::optional<BlockId> block = pool_.take_free();
  if (!block) {
    evict_one();
    block = pool_.take_free();
  }
  return block.value_or(kNoBlock);  // there is one: a reclaimed block is free
}

void KvCache::append_blocks(Entry& e, const ScheduledSeq& s, SeqId fork_source, StepBatch* batch) {
  const uint32_t write_index = s.first_pos / options_.block_tokens;
  if (s.num_new_blocks > 0) {
    new_blocks_.clear();
    for (uint32_t i = 0; i < s.num_new_blocks; ++i) {
      new_blocks_.push_back(take_block());
    }
    emit(batch, KvOpKind::kAppend, e.seq, 0, new_blocks_);
    e.table.insert(e.table.end(), new_blocks_.begin(), new_blocks_.end());
  }
  if (fork_source != SeqId{} && s.first_pos % options_.block_tokens != 0) {
    const BlockId copy[2] = {entry(fork_source).table[write_index], e.table[write_index]};
    emit(batch, KvOpKind::kCopy, e.seq, 0, copy);
    e.num_computed = s.first_pos;
  }
  for (uint32_t i = write_index; i < e.table.size(); ++i) {
    STET_CHECK(pool_.writable(e.table[i]), "a step writes private blocks only");
  }
}

void KvCache::emit(StepBatch* batch, KvOpKind kind, SeqId seq, uint32_t first,
                   std::span<const BlockId> slots) {
  batch->kv_ops.push_back({.kind = kind,
                           .group = 0,
                           .seq = seq,
                           .first = first,
                           .slot_offset = static_cast<uint32_t>(batch->kv_slots.size()),
                           .num_slots = static_cast<uint32_t>(slots.size())});
  batch->kv_slots.insert(batch->kv_slots.end(), slots.begin(), slots.end());
}

}  // namespace stet::kv
