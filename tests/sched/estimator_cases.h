// Random batches for estimator tests, and the same peaks found the long way.
#pragma once

#include <algorithm>
#include <cstdint>
#include <set>
#include <vector>

#include "stet/sched/memory_estimator.h"

namespace stet::sched {

// The pool of the cases.
inline constexpr uint32_t kBlockTokens = 8;
inline constexpr uint32_t kNumBlocks = 20;

struct TestRandom {
  explicit TestRandom(uint64_t seed) : state(seed * 0x9E3779B97F4A7C15ULL + 1) {}
  uint32_t below(uint32_t n) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<uint32_t>((state >> 33) % n);
  }
  uint64_t state;
};

// Blocks of a random prefix tree: a table is the path from a root to a node.
struct TestTree {
  TestTree(TestRandom* random, uint32_t num_blocks) : parents(num_blocks) {
    for (uint32_t b = 0; b < num_blocks; ++b) {
      parents[b] =
          b == 0 || random->below(4) == 0 ? UINT32_MAX : b - 1 - random->below(std::min(b, 3U));
    }
  }
  std::vector<BlockId> path_to(uint32_t block) const {
    std::vector<BlockId> path;
    for (uint32_t b = block; b != UINT32_MAX; b = parents[b]) {
      path.push_back(BlockId{b});
    }
    std::reverse(path.begin(), path.end());
    return path;
  }
  std::vector<uint32_t> parents;
};

// A sequence that owns its table; `held_tokens` and `last_step` for profiles.
struct TestSeq {
  uint64_t held_tokens = 0;
  uint32_t last_step = 0;
  std::vector<BlockId> table;
};

inline std::vector<TestSeq> random_batch(TestRandom* random, const TestTree* tree,
                                         uint32_t block_tokens) {
  std::vector<TestSeq> batch(random->below(12));
  const uint32_t longest = random->below(2) == 0 ? 5 : 200;  // many equal ends, or few
  for (TestSeq& s : batch) {
    if (tree != nullptr && random->below(4) != 0) {
      s.table = tree->path_to(random->below(static_cast<uint32_t>(tree->parents.size())));
    }
    s.held_tokens = s.table.size() * block_tokens + random->below(100);
    s.last_step = random->below(longest);
  }
  return batch;
}

// Looks at every step that anybody lives to see.
inline uint64_t scanned_peak(const std::vector<TestSeq>& batch, uint32_t block_tokens) {
  uint64_t peak = 0;
  for (uint32_t t = 0; t <= 400; ++t) {
    uint64_t held = 0;
    std::set<BlockId> blocks;
    for (const TestSeq& s : batch) {
      if (s.last_step >= t) {
        held += s.held_tokens - s.table.size() * block_tokens + t;
        blocks.insert(s.table.begin(), s.table.end());
      }
    }
    peak = std::max(peak, held + blocks.size() * block_tokens);
  }
  return peak;
}

}  // namespace stet::sched
