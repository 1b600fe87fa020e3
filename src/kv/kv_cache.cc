#include "stet/kv/kv_cache.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "src/kv/eviction_order.h"
#include "src/kv/kv_entry.h"
#include "src/kv/waiting_uses.h"
#include "stet/base/check.h"

namespace stet::kv {

KvCache::KvCache(const KvOptions& options)
    : options_(options),
      pool_(options.num_blocks),
      index_(options.prefix_cache ? options.num_blocks : 0, options.block_tokens),
      eviction_order_(std::make_unique<EvictionOrder>(options.eviction, options.num_blocks,
                                                      options.block_tokens)),
      ref_change_(options.num_blocks, 0) {
  if (options.prefix_cache && eviction_order_->rule().sees_queue) {
    uses_ = std::make_unique<WaitingUses>(eviction_order_.get(), &index_, options.num_blocks);
  }
}

KvCache::~KvCache() = default;

KvCache::Entry* KvCache::find_entry(SeqId seq) const {
  const std::unique_ptr<Entry>* e = entries_.find(seq);
  return e == nullptr ? nullptr : e->get();
}
KvCache::Entry& KvCache::entry(SeqId seq) {
  Entry* e = find_entry(seq);
  STET_CHECK(e != nullptr, "the KV cache was told of every sequence");
  return *e;
}
const KvCache::Entry& KvCache::entry(SeqId seq) const {
  return const_cast<KvCache*>(this)->entry(seq);
}

void KvCache::add_sequence(SeqId seq, const Sha256Digest& cache_namespace, uint8_t priority_class) {
  auto e = std::make_unique<Entry>();
  e->seq = seq;
  e->root = cache_namespace;
  e->priority_class = priority_class;
  STET_CHECK(entries_.emplace(seq, std::move(e)), "a sequence id is used once");
}

void KvCache::remove_sequence(SeqId seq) {
  release(seq);
  set_waiting(seq, false);
  entries_.erase(seq);
}

uint32_t KvCache::num_blocks_of(SeqId seq) const {
  return static_cast<uint32_t>(entry(seq).table.size());
}
bool KvCache::destroy_pending(SeqId seq) const {
  return entry(seq).destroy_pending;
}
std::span<const BlockId> KvCache::table(SeqId seq) const {
  return entry(seq).table;
}

uint32_t KvCache::num_exclusive_blocks_of(SeqId seq) const {
  if (fence() != 0) {
    return 0;  // a step in flight may read them: they become available later
  }
  const std::vector<BlockId>& table = entry(seq).table;
  return static_cast<uint32_t>(
      std::count_if(table.begin(), table.end(), [&](BlockId b) { return pool_.refs(b) == 1; }));
}

// Whoever holds a block holds those before it, so references never grow along a table.
uint32_t KvCache::num_shared_blocks_of(SeqId seq) const {
  const std::vector<BlockId>& table = entry(seq).table;
  const auto end = std::partition_point(table.begin(), table.end(),
                                        [&](BlockId b) { return pool_.refs(b) > 1; });
  return static_cast<uint32_t>(end - table.begin());
}

// ---- prefix hits

// The chain down to `index` is hashed once per sequence.
ChainBlock KvCache::chain_block(Entry& e, uint32_t index, std::span<const uint32_t> token_ids) {
  const size_t n = options_.block_tokens;
  while (e.chain.size() <= index) {
    const size_t i = e.chain.size();
    e.chain.push_back(
        options_.chain_hash(i == 0 ? e.root : e.chain[i - 1], token_ids.subspan(i * n, n)));
  }
  return {.parent = kNoBlock,
          .root = &e.root,
          .hash = &e.chain[index],
          .token_ids = token_ids.subspan(index * n, n)};
}

// Walks on from block `index` of the chain, whose parent is e.hit_leaf; returns the number of
// blocks of the whole hit.
uint32_t KvCache::extend_hit(Entry& e, uint32_t index, std::span<const uint32_t> token_ids) {
  const size_t max_blocks = token_ids.empty() ? 0 : (token_ids.size() - 1) / options_.block_tokens;
  for (; index < max_blocks; ++index) {
    ChainBlock next = chain_block(e, index, token_ids);
    next.parent = e.hit_leaf;
    const BlockId found = index_.find(next);
    if (found == kNoBlock) {
      break;
    }
    e.hit_leaf = found;
  }
  return index;
}

PrefixHit KvCache::match(SeqId seq, std::span<const uint32_t> token_ids) {
  Entry& e = entry(seq);
  if (!options_.prefix_cache) {
    return {};
  }
  if (e.hit_epoch != index_.epoch() || e.hit_known_tokens != token_ids.size()) {
    // Only leaves are evicted: while the deepest block of the hit is the same node, all of it is
    // there.
    const bool holds = e.hit_blocks > 0 && index_.generation(e.hit_leaf) == e.hit_generation;
    if (!holds) {
      e.hit_blocks = 0;
      e.hit_leaf = kNoBlock;
    }
    e.hit_blocks = extend_hit(e, e.hit_blocks, token_ids);
    e.hit_generation = e.hit_leaf == kNoBlock ? 0 : index_.generation(e.hit_leaf);
    e.hit_epoch = index_.epoch();
    e.hit_known_tokens = token_ids.size();
  }
  PrefixHit hit{.num_tokens = e.hit_blocks * options_.block_tokens};
  // A parent has at least the references of its child: the unreferenced blocks are the deepest
  // ones.
  for (BlockId b = e.hit_leaf; b != kNoBlock && pool_.refs(b) == 0; b = index_.parent(b)) {
    ++hit.num_unreferenced_blocks;
  }
  return hit;
}

// ---- waiting sequences

std::span<const Sha256Digest> KvCache::hash_blocks(SeqId seq, std::span<const uint32_t> token_ids) {
  Entry& e = entry(seq);
  const size_t num_blocks = token_ids.size() / options_.block_tokens;
  if (options_.prefix_cache && num_blocks > 0) {
    chain_block(e, static_cast<uint32_t>(num_blocks - 1), token_ids);
  }
  return e.chain;
}

void KvCache::set_waiting(SeqId seq, bool waiting) {
  Entry& e = entry(seq);
  if (uses_ == nullptr || e.waiting == waiting) {
    return;
  }
  e.waiting = waiting;
  if (waiting) {
    uses_->add(e.chain);
  } else {
    uses_->remove(e.chain);
  }
}

namespace {
uint64_t head_of(const Sha256Digest& hash) {
  uint64_t head = 0;
  std::memcpy(&head, hash.data(), sizeof head);
  return head | 1;  // never 0
}
}  // namespace

uint64_t KvCache::next_tokens_key(SeqId seq, uint32_t num_tokens) const {
  const Entry& e = entry(seq);
  const size_t num_blocks = (num_tokens + options_.block_tokens - 1) / options_.block_tokens;
  const size_t last = e.hit_blocks + num_blocks;  // one past it
  // At least one position is computed for its logits, whoever computed the rest.
  const bool usable = options_.prefix_cache && last <= e.chain.size() &&
                      last * options_.block_tokens < e.hit_known_tokens;
  return usable ? head_of(e.chain[last - 1]) : 0;
}

// Everything of its known tokens that is not in the cache yet, it will compute.
void KvCache::announce(Entry& e) {
  if (!options_.prefix_cache || e.chain.size() <= e.num_published) {
    return;
  }
  e.announced_begin = e.num_published;
  e.announced_end = static_cast<uint32_t>(e.chain.size());
  for (uint32_t i = e.announced_begin; i < e.announced_end; ++i) {
    ++computing_[head_of(e.chain[i])];
  }
}

// Blocks before `end_block` are published, or will not be.
void KvCache::withdraw(Entry& e, uint32_t end_block) {
  for (; e.announced_begin < std::min(end_block, e.announced_end); ++e.announced_begin) {
    const auto it = computing_.find(head_of(e.chain[e.announced_begin]));
    if (--it->second == 0) {
      computing_.erase(it);
    }
  }
}

void KvCache::append_hit(SeqId seq, std::vector<BlockId>* blocks) const {
  const Entry& e = entry(seq);
  blocks->resize(blocks->size() + e.hit_blocks);
  auto it = blocks->rbegin();
  BlockId block = e.hit_leaf;
  for (uint32_t i = 0; i < e.hit_blocks; ++i) {
    *it++ = block;
    block = index_.parent(block);
  }
}

// ---- after a step

void KvCache::complete_step(uint64_t step) {
  completed_step_ = step;
  auto range = in_flight_.begin();
  for (; range != in_flight_.end() && range->step <= step; ++range) {
    // Released or removed while in flight: nothing of it is kept.
    Entry* e = find_entry(range->seq);
    if (e != nullptr && e->incarnation == range->incarnation) {
      e->num_computed = range->end_pos;
    }
  }
  in_flight_.erase(in_flight_.begin(), range);
  settled_.clear();
  pool_.fence_passed(step, &settled_);
  for (BlockId block : settled_) {
    track(block);
  }
}

void KvCache::publish(SeqId seq, std::span<const uint32_t> token_ids) {
  Entry& e = entry(seq);
  publish_up_to(e, token_ids, e.num_computed);
}

void KvCache::publish_up_to(Entry& e, std::span<const uint32_t> token_ids, uint32_t num_positions) {
  if (!options_.prefix_cache || e.collided) {
    return;
  }
  while ((e.num_published + 1) * options_.block_tokens <= num_positions) {
    if (!pool_.published(e.table[e.num_published]) &&
        !swap_or_insert(e, e.num_published, token_ids)) {
      e.collided = true;
      withdraw(e, e.announced_end);
      return;
    }
    ++e.num_published;
    withdraw(e, e.num_published);
  }
}

// After a collision a forked sibling may hold the block below a copy of its parent that was never
// published; in the index it would outlive its parent. Blocks that are shared and unpublished are
// rare: what is forked from has been published, unless it collided.
bool KvCache::held_below_another_parent(const Entry& e, uint32_t index) const {
  if (index == 0 || pool_.refs(e.table[index]) == 1) {
    return false;
  }
  for (const auto& [seq, other] : entries_) {
    const std::vector<BlockId>& table = other->table;
    if (table.size() > index && table[index] == e.table[index] &&
        table[index - 1] != e.table[index - 1]) {
      return true;
    }
  }
  return false;
}

bool KvCache::swap_or_insert(Entry& e, uint32_t index, std::span<const uint32_t> token_ids) {
  ChainBlock block = chain_block(e, index, token_ids);
  block.parent = index == 0 ? kNoBlock : e.table[index - 1];
  const BlockId other = index_.find(block);
  if (other == kNoBlock) {
    if (held_below_another_parent(e, index) || !index_.insert(e.table[index], block)) {
      return false;
    }
    pool_.set_published(e.table[index]);
    eviction_order_->on_published(e.table[index], index, e.priority_class);
    if (uses_ != nullptr) {
      uses_->on_published(e.table[index], *block.hash);
    }
    return true;
  }
  hit(other, e.priority_class);
  pool_.release(e.table[index], fence());
  e.table[index] = other;
  pending_ops_.push_back({.kind = KvOpKind::kReplace,
                          .seq = e.seq,
                          .first = index,
                          .slot_offset = static_cast<uint32_t>(pending_slots_.size()),
                          .num_slots = 1});
  pending_slots_.push_back(other);
  return true;
}

void KvCache::release(SeqId seq) {
  Entry& e = entry(seq);
  if (!e.live) {
    return;
  }
  // Deepest block first: of two that were released together it is the one evicted first.
  for (auto it = e.table.rbegin(); it != e.table.rend(); ++it) {
    if (pool_.published(*it)) {
      eviction_order_->on_released(*it, e.num_published);
    }
    pool_.release(*it, fence());
    track(*it);
  }
  e.table.clear();
  withdraw(e, e.announced_end);
  ++e.incarnation;
  e.num_published = e.num_computed = e.num_scheduled = 0;
  e.live = e.collided = false;
  e.destroy_pending = true;
  --num_live_;
  ++num_pending_destroys_;
  pending_ops_.push_back({.kind = KvOpKind::kDestroy, .seq = seq});
}

void KvCache::flush_pending_ops(StepBatch* batch) {
  const auto offset = static_cast<uint32_t>(batch->kv_slots.size());
  for (KvOp op : pending_ops_) {
    op.slot_offset += offset;
    batch->kv_ops.push_back(op);
    if (op.kind == KvOpKind::kDestroy) {
      Entry* e = find_entry(op.seq);
      if (e != nullptr) {
        e->destroy_pending = false;
      }
    }
  }
  batch->kv_slots.insert(batch->kv_slots.end(), pending_slots_.begin(), pending_slots_.end());
  num_pending_destroys_ = 0;
  pending_ops_.clear();
  pending_slots_.clear();
}

// ---- integrity

Status KvCache::check_integrity() const {
  std::vector<uint32_t> held(options_.num_blocks, 0);
  uint64_t num_announced = 0, num_computing = 0, num_waiting_blocks = 0;
  for (const auto& [key, count] : computing_) {
    num_computing += count;
  }
  for (const auto& [seq, e] : entries_) {
    const std::string name = "sequence " + std::to_string(seq.v);
    if (!e->live && !e->table.empty()) {
      return internal_error(name + " holds blocks without a table at the backend");
    }
    if (static_cast<uint64_t>(e->num_published) * options_.block_tokens > e->num_computed) {
      return internal_error(name + " has published positions that are not computed");
    }
    num_announced += e->announced_end - e->announced_begin;
    num_waiting_blocks += e->waiting ? e->chain.size() : 0;
    if (!e->live && e->announced_end != e->announced_begin) {
      return internal_error(name + " announces tokens and computes none");
    }
    for (uint32_t i = 0; i < e->table.size(); ++i) {
      ++held[e->table[i].v];
      if (i < e->num_published && !pool_.published(e->table[i])) {
        return internal_error(name + " counts an unpublished block as published");
      }
    }
  }
  if (num_announced != num_computing) {
    return internal_error("blocks that are being computed are miscounted");
  }
  if (uses_ != nullptr) {
    STET_RETURN_IF_ERROR(uses_->check_integrity(num_waiting_blocks));
  }
  STET_RETURN_IF_ERROR(pool_.check_integrity(held));
  return options_.prefix_cache ? check_cached() : Status();
}

// Pool, prefix index, eviction order and pins agree.
Status KvCache::check_cached() const {
  if (pin_totals_.placed != pins_.size() + pin_totals_.ended()) {
    return internal_error("pins are lost: " + std::to_string(pin_totals_.placed) + " placed, " +
                          std::to_string(pins_.size()) + " held, " +
                          std::to_string(pin_totals_.ended()) + " ended");
  }
  std::vector<uint32_t> pins(options_.num_blocks, 0);
  for (const auto& [id, pin] : pins_) {
    BlockId block = pin.deepest;
    for (uint32_t i = 0; i < pin.num_blocks; ++i, block = index_.parent(block)) {
      ++pins[block.v];
    }
  }
  for (uint32_t i = 0; i < options_.num_blocks; ++i) {
    const BlockId block{i};
    if (pool_.published(block) != index_.contains(block)) {
      return internal_error("block " + std::to_string(i) +
                            ": pool and prefix index disagree about publication");
    }
    if (index_.contains(block) && index_.parent(block) != kNoBlock &&
        pool_.refs(index_.parent(block)) < pool_.refs(block)) {
      return internal_error("block " + std::to_string(i) + " outlives its parent's references");
    }
    if (pool_.pins(block) != pins[i]) {
      return internal_error("block " + std::to_string(i) + " miscounts its pins");
    }
    if (eviction_order_->contains(block) != evictable(block)) {
      return internal_error("block " + std::to_string(i) +
                            ": pool and eviction order disagree about it");
    }
  }
  STET_RETURN_IF_ERROR(eviction_order_->check_integrity());
  return index_.check_integrity();
}

}  // namespace stet::kv
