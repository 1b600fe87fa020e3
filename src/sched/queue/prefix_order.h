// First-level prefix groups of a set of prompts, and the order in which they are best served
// (BatchLLM, arXiv 2412.03594; scheduler.md sec. 6).
//
// f(v) = prompt tokens saved below node v of the prompts' radix tree when every prompt stands in at
// most one group: f(leaf) = 0,
//   f(v) = max(sum_c f(c), sum_c max(f(c), l(c) d(v)) - d(v))
// with l = leaves below a node and d(v) = tokens from the root to v: either no group ends at v, or
// one group with prefix d(v) takes the children that gain more from it than from groups of their
// own, and one of its members computes the prefix.
//
// The tree is never built: prompts sorted by their chain hashes stand in the order of its leaves,
// and the common prefix of neighbours gives its inner nodes. Equal hashes at one index mean equal
// prefixes up to it, so a comparison is a binary search.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "stet/base/ids.h"
#include "stet/base/sha256.h"

namespace stet::sched {

struct PrefixItem {
  SeqId seq;
  uint64_t order_key = 0;
  uint32_t num_prompt_tokens = 0;
  uint32_t expected_outputs = 0;
  std::span<const Sha256Digest> chain{};
  uint32_t group = UINT32_MAX;  // out: index of its group; UINT32_MAX = it stands alone
};

struct PrefixOrder {
  uint64_t num_saved_tokens = 0;  // f(root), groups below kMinGroupGain left out
  uint32_t num_groups = 0;
};

inline constexpr uint32_t kMinGroupGain = 256;  // tokens; smaller groups dissolve

// Sorts `items` into the order of service: groups (and prompts alone) by decode ratio, the largest
// first, so that later prefills fill the steps of those that decode; members back to back in the
// order of the tree, so that what some of them share beyond the group's prefix is shared as well.
PrefixOrder order_by_prefix(uint32_t block_tokens, std::vector<PrefixItem>* items);

}  // namespace stet::sched
