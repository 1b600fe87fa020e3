// The KV cache's books: which sequence holds which blocks, which blocks a prompt may reuse, and the
// operations that make a backend's block tables follow. Facade over BlockPool and PrefixIndex. It
// moves no bytes and knows no device.
//
//   kv.match(seq, tokens)     what a waiting sequence could reuse now; takes no reference
//   kv.commit(plan, &batch)   takes, shares, copies and evicts blocks for the whole plan, or
//   changes nothing
//   ... the step runs ...
//   kv.complete_step(step)    its positions are computed
//   kv.publish(seq, tokens)   full computed blocks become visible to others
//   kv.release(seq)           gives the blocks up (preempted, parked, ended)
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "stet/base/id_map.h"
#include "stet/base/ids.h"
#include "stet/base/sha256.h"
#include "stet/base/status.h"
#include "stet/engine_types/step_batch.h"
#include "stet/engine_types/step_plan.h"
#include "stet/kv/block_pool.h"
#include "stet/kv/eviction.h"
#include "stet/kv/prefix_index.h"
#include "stet/kv/use_order.h"

namespace stet::kv {

struct KvOptions {
  uint32_t num_blocks = 0;
  uint32_t block_tokens = 64;
  bool prefix_cache = true;
  Eviction eviction = Eviction::kFuture;
  ChainHash chain_hash = sha256_chain;
};

// What a sequence could reuse. Whole blocks, at least one position short of the known tokens:
// logits need one.
struct PrefixHit {
  uint32_t num_tokens = 0;
  uint32_t num_unreferenced_blocks =
      0;  // of these: held by nobody now, so that sharing them costs availability
};

using PinId = StrongId<struct PinTag, uint64_t>;  // never reused; PinId{} = none

// For how long the blocks of a sequence that ends are kept for its follow-up, and what that is
// worth.
struct PinTerms {
  uint64_t now_us = 0, until_us = 0;  // on the clock that expire_pins gets
  double value_us = 0.0;  // expected saving: P(a follow-up comes in time) x what it saves
};

// What became of all pins so far: placed = held now + the four ends.
struct PinTotals {
  uint64_t placed = 0;
  uint64_t handed_over = 0;          // the follow-up came
  uint64_t expired = 0;              // it did not come in time
  uint64_t released_for_memory = 0;  // nothing but pinned blocks was left to evict
  uint64_t unpinned = 0;             // it will not come
  uint64_t blocks_placed = 0;        // of all that were placed, shared ones once per pin
  uint64_t blocks_taken_over = 0;    // ... and were held by the follow-up when it came
  uint64_t ended() const { return handed_over + expired + released_for_memory + unpinned; }
  friend bool operator==(const PinTotals&, const PinTotals&) = default;
};

class EvictionOrder;
class WaitingUses;

// Owned by the step thread. Virtual so that the simulator can plant faults; the product has this
// one class.
class KvCache {
 public:
  explicit KvCache(const KvOptions& options);
  virtual ~KvCache();
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  // For kFuture: the queue. Must outlive the cache's last commit.
  void set_use_order(const UseOrder* order) { use_order_ = order; }

  // `priority_class` as in Request: for kPriority.
  void add_sequence(SeqId seq, const Sha256Digest& cache_namespace, uint8_t priority_class = 0);
  void remove_sequence(SeqId seq);  // releases first

  // `token_ids`: all known tokens. Cheap when nothing was published or evicted since the last call.
  PrefixHit match(SeqId seq, std::span<const uint32_t> token_ids);
  // The chain hashes of all full blocks of the known tokens. The span lives until more tokens are
  // known. Empty without a prefix cache.
  std::span<const Sha256Digest> hash_blocks(SeqId seq, std::span<const uint32_t> token_ids);
  // The sequence waits, or does so no longer; for kFuture. Its hash_blocks must have been called.
  void set_waiting(SeqId seq, bool waiting);
  // After match(): identifies the next blocks of the prompt beyond the hit, `num_tokens` of it
  // rounded up; two sequences with equal keys would compute them twice. 0 = fewer of them could be
  // shared.
  uint64_t next_tokens_key(SeqId seq, uint32_t num_tokens) const;
  // True while a sequence with a table is computing the tokens of this key.
  virtual bool computing(uint64_t next_tokens_key) const {
    return computing_.count(next_tokens_key) != 0;
  }
  // Appends the blocks of the last match, first block first.
  void append_hit(SeqId seq, std::vector<BlockId>* blocks) const;

  // All or nothing: false (nothing changed) when the plan does not fit or speaks of hits, forks or
  // blocks that are not there. Otherwise `batch->kv_ops` and `kv_slots` grow by the operations,
  // pending ones first.
  [[nodiscard]] virtual bool commit(const StepPlan& plan, StepBatch* batch);
  virtual void complete_step(uint64_t step);
  // A block whose content is published already by another slot is swapped for that slot.
  virtual void publish(SeqId seq, std::span<const uint32_t> token_ids);
  virtual void release(SeqId seq);

  // Soft pins (kv.md sec. 5). The published blocks of a sequence that is about to be released stay
  // cached until `terms.until_us`, and are evicted after everything that is not pinned; then the
  // pin with the least remaining value per block goes first, the value falling to 0 over its time.
  // They count as available all the while. PinId{} (and nothing happens) when nothing of the
  // sequence is published, or the terms end before they begin or are worth nothing. O(blocks).
  PinId pin(SeqId seq, const PinTerms& terms);
  // The follow-up will not come. Nothing happens when the pin is gone already, here and below.
  void unpin(PinId pin);
  // The follow-up has its table: what it reuses, it holds. O(blocks).
  void hand_over(PinId pin, SeqId follow_up);
  // Once per step, before commit: pins end, and lose value, by this clock. O(1) when none is due.
  void expire_pins(uint64_t now_us);
  uint64_t next_pin_expiry_us() const;  // UINT64_MAX = no pins
  uint32_t num_pins() const { return static_cast<uint32_t>(pins_.size()); }
  const PinTotals& pin_totals() const { return pin_totals_; }

  // For kCost and kTail; small changes are ignored, others cost O(blocks). Until the first call
  // computing a block again counts as equally dear for all of them.
  void set_recompute_cost(const RecomputeCost& cost);

  // Operations that wait for a batch (destroys, swaps); commit flushes them too.
  bool has_pending_ops() const { return !pending_ops_.empty(); }
  void flush_pending_ops(StepBatch* batch);
  // True while the backend still has, or will first have to destroy, an older incarnation of the
  // sequence.
  bool destroy_pending(SeqId seq) const;
  uint32_t num_backend_sequences() const { return num_live_ + num_pending_destroys_; }

  uint32_t num_blocks_of(SeqId seq) const;
  uint32_t num_exclusive_blocks_of(
      SeqId seq) const;  // blocks that its release would make available
  // Of its table, the first so many that others hold too.
  uint32_t num_shared_blocks_of(SeqId seq) const;
  uint32_t num_available() const { return pool_.num_available(); }
  const BlockCounts& counts() const { return pool_.counts(); }
  uint32_t block_tokens() const { return options_.block_tokens; }
  uint32_t num_blocks() const { return options_.num_blocks; }
  bool prefix_cache() const { return options_.prefix_cache; }
  std::span<const BlockId> table(SeqId seq) const;
  bool published(BlockId block) const { return pool_.published(block); }

  Status check_integrity() const;

 protected:
  struct Entry;
  Entry* find_entry(SeqId seq) const;  // null if the cache was not told of it
  Entry& entry(SeqId seq);
  const Entry& entry(SeqId seq) const;
  void publish_up_to(Entry& e, std::span<const uint32_t> token_ids, uint32_t num_positions);
  BlockPool& pool() { return pool_; }

 private:
  struct Range {  // positions a step in flight computes
    uint64_t step;
    SeqId seq;
    uint32_t incarnation;  // a release in between voids it
    uint32_t end_pos;
  };
  class Trial;  // the counts of a commit on scratch
  struct Pin {
    BlockId deepest;  // the pin holds it and its ancestors
    uint32_t num_blocks;
    PinTerms terms;
  };
  using PinMap = std::map<PinId, Pin>;

  uint64_t fence() const { return submitted_step_ > completed_step_ ? submitted_step_ : 0; }
  ChainBlock chain_block(Entry& e, uint32_t index, std::span<const uint32_t> token_ids);
  uint32_t extend_hit(Entry& e, uint32_t index, std::span<const uint32_t> token_ids);
  bool fits(const StepPlan& plan);
  bool try_admissions(const StepPlan& plan, Trial* trial);
  bool admit(Trial* trial, SeqId seq, uint32_t first_pos, SeqId fork_source);
  BlockId take_block();
  void share_prefix(Entry& e, uint32_t num_blocks, SeqId fork_source, StepBatch* batch);
  void append_blocks(Entry& e, const ScheduledSeq& s, SeqId fork_source, StepBatch* batch);
  bool evictable(BlockId block) const;
  void track(BlockId block);  // after every change of its state or of the number of its children
  void hit(BlockId block, uint8_t priority_class);
  void restart_eviction() { uses_evicted_ = false; }
  BlockId first_to_evict();
  void evict_one();
  void drop_pin(PinMap::iterator pin, uint64_t PinTotals::*why);
  bool release_least_pin();
  void rank_pins();
  double remaining_value(const Pin& pin) const;  // us per block
  Status check_cached() const;
  void announce(Entry& e);
  void withdraw(Entry& e, uint32_t end_block);
  bool held_below_another_parent(const Entry& e, uint32_t index) const;
  bool swap_or_insert(Entry& e, uint32_t index, std::span<const uint32_t> token_ids);
  void emit(StepBatch* batch, KvOpKind kind, SeqId seq, uint32_t first,
            std::span<const BlockId> slots);

  const KvOptions options_;
  BlockPool pool_;
  PrefixIndex index_;
  std::unique_ptr<EvictionOrder> eviction_order_;
  IdMap<SeqId, std::unique_ptr<Entry>> entries_;
  const UseOrder* use_order_ = nullptr;
  std::unique_ptr<WaitingUses> uses_;  // with kFuture
  bool uses_evicted_ = false;          // uses_ has begun, and nothing has changed since
  // Blocks that sequences with a table hold, are computing and have not published: how many, by the
  // head of their chain hash.
  std::unordered_map<uint64_t, uint32_t> computing_;
  PinMap pins_;
  std::set<std::pair<uint64_t, PinId>> pins_by_expiry_;
  // Of the commit that evicts: the pins it may release, a heap, the least first. Within a commit no
  // value falls, and once its hits are referenced no block becomes evictable, so one look at all
  // pins serves all that it releases.
  std::vector<std::pair<double, PinId>> ranked_pins_;
  bool pins_are_ranked_ = false;
  PinTotals pin_totals_;
  uint64_t last_pin_ = 0;
  uint64_t now_us_ = 0;           // as expire_pins or pin said last
  std::vector<Range> in_flight_;  // steps ascend; at most two of them
  std::vector<KvOp> pending_ops_;
  std::vector<BlockId> pending_slots_;
  std::vector<int32_t> ref_change_;  // scratch of Trial, all zero between commits
  std::vector<BlockId> touched_;     // scratch of Trial
  std::vector<BlockId> new_blocks_;  // scratch of append_blocks
  std::vector<BlockId> settled_;     // scratch of complete_step
  uint32_t num_live_ = 0;            // sequences with a table
  uint32_t num_pending_destroys_ = 0;
  uint64_t submitted_step_ = 0, completed_step_ = 0;
};

}  // namespace stet::kv
