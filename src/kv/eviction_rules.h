// What an order of eviction is: a rank per block, from what is known of the block.
#pragma once

#include <cstdint>

#include "stet/kv/eviction.h"

namespace stet::kv {

// One published block.
struct BlockUse {
  uint64_t released = 0;  // counts releases: the deeper block of a chain has the smaller one
  double log2_uses =
      0.0;  // uses, each forgotten by half per turnover of the pool; see eviction_order.h
  uint32_t index = 0;          // in its chain
  uint32_t chain_end = 0;      // blocks of the longest chain through it that somebody has computed
  uint8_t priority_class = 0;  // the most urgent one that has used it
  bool pin_expired = false;    // nobody came for it in time, and nobody has used it since
  bool wanted = false;         // a waiting sequence will use it
};

// What it takes to compute blocks again.
struct RecomputeModel {
  RecomputeCost cost;
  uint32_t block_tokens = 0;
  double us(uint32_t begin_block, uint32_t end_block) const {  // with all before them in the cache
    const double n = (end_block - begin_block) * static_cast<double>(block_tokens);
    const double mean_context = 0.5 * (begin_block + end_block) * static_cast<double>(block_tokens);
    return n * (cost.token_us + cost.context_us * mean_context);
  }
};

// Evicted first: the smallest rank; of equal ranks the least recently released.
struct EvictionRule {
  Eviction eviction;
  const char* name;
  double (*rank)(const BlockUse& use, const RecomputeModel& recompute);
  bool counts_uses = false;  // BlockUse::log2_uses is kept
  bool sees_queue =
      false;  // BlockUse::wanted is kept, and the wanted blocks are ordered by WaitingUses
};

const EvictionRule& rule_of(Eviction eviction);

}  // namespace stet::kv
