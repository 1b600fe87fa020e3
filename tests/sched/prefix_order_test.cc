// First-level groups against the recursion of scheduler.md sec. 6 on a tree that is really built.
#include "src/sched/queue/prefix_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace stet::sched {
namespace {

constexpr uint32_t kBlock = 64;

// A prompt is a word; its i-th letter is its i-th block.
struct Prompts {
  explicit Prompts(const std::vector<std::string>& words) {
    for (const std::string& word : words) {
      auto& chain = chains.emplace_back();
      for (size_t i = 1; i <= word.size(); ++i) {
        const std::string prefix = word.substr(0, i);
        chain.push_back(sha256(std::as_bytes(std::span(prefix))));
      }
    }
    for (size_t i = 0; i < words.size(); ++i) {
      items.push_back({.seq = SeqId{i + 1},
                       .order_key = i,
                       .num_prompt_tokens = static_cast<uint32_t>(words[i].size()) * kBlock + 1,
                       .expected_outputs = 100,
                       .chain = chains[i]});
    }
  }
  std::vector<std::vector<Sha256Digest>> chains;
  std::vector<PrefixItem> items;
};

struct Trie {
  std::map<char, std::unique_ptr<Trie>> children;
  uint64_t depth = 0, num_ending = 0;

  void add(const std::string& word) {
    Trie* at = this;
    for (const char letter : word) {
      auto& child = at->children[letter];
      if (child == nullptr) {
        child = std::make_unique<Trie>();
        child->depth = at->depth + kBlock;
      }
      at = child.get();
    }
    ++at->num_ending;
  }
  uint64_t leaves() const {
    uint64_t sum = num_ending;
    for (const auto& [letter, child] : children) {
      sum += child->leaves();
    }
    return sum;
  }
  uint64_t saved() const {
    uint64_t apart = 0, together = num_ending * depth;
    for (const auto& [letter, child] : children) {
      apart += child->saved();
      together += std::max(child->saved(), child->leaves() * depth);
    }
    return std::max(apart, together - std::min(together, depth));
  }
};

std::vector<std::string> draw_words(uint64_t* state) {
  const auto below = [state](uint64_t n) {
    *state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (*state >> 33) % n;
  };
  std::vector<std::string> words;
  for (uint64_t n = 1 + below(12); n > 0; --n) {
    std::string word = !words.empty() && below(2) == 0 ? words[below(words.size())] : "";
    word.resize(below(word.size() + 1));
    for (uint64_t more = below(9); more > 0; --more) {
      word += static_cast<char>('a' + below(2));
    }
    words.push_back(word);
  }
  return words;
}

TEST(PrefixOrder, SavesWhatTheRecursionSays) {
  uint64_t state = 7, total = 0;
  for (int round = 0; round < 3000; ++round) {
    const std::vector<std::string> words = draw_words(&state);
    Trie root;
    for (const std::string& word : words) {
      root.add(word);
    }
    // Scaled up so that no group is too small to keep.
    Prompts prompts(words);
    const PrefixOrder groups = order_by_prefix(kBlock * kMinGroupGain, &prompts.items);
    EXPECT_EQ(groups.num_saved_tokens, root.saved() * kMinGroupGain) << "round " << round;
    total += groups.num_groups;
  }
  EXPECT_GT(total, 3000u);
}

TEST(PrefixOrder, ReturnsEverybodyOnceAndGroupsBackToBack) {
  uint64_t state = 11;
  for (int round = 0; round < 1000; ++round) {
    Prompts prompts(draw_words(&state));
    std::vector<PrefixItem> items = prompts.items;
    order_by_prefix(kBlock, &items);
    std::vector<uint64_t> seqs;
    std::vector<uint32_t> closed;
    for (size_t i = 0; i < items.size(); ++i) {
      seqs.push_back(items[i].seq.v);
      if (i > 0 && items[i].group != items[i - 1].group) {
        closed.push_back(items[i - 1].group);
      }
      EXPECT_TRUE(items[i].group == UINT32_MAX ||
                  std::find(closed.begin(), closed.end(), items[i].group) == closed.end());
    }
    std::sort(seqs.begin(), seqs.end());
    for (size_t i = 0; i < seqs.size(); ++i) {
      EXPECT_EQ(seqs[i], i + 1);
    }
  }
}

std::vector<uint64_t> served(std::vector<PrefixItem> items) {
  order_by_prefix(kBlock, &items);
  std::vector<uint64_t> seqs;
  for (const PrefixItem& item : items) {
    seqs.push_back(item.seq.v);
  }
  return seqs;
}

TEST(PrefixOrder, MembersRunBackToBackAndAPrefixBeforeWhatGoesOnFromIt) {
  const Prompts prompts({"aaaaaaab", "zzzzzzzz", "aaaaaaa", "zzzzzzzy", "aaaaaaaba"});
  // The a's: 3 x 100 outputs for 10 computed blocks; the z's: 2 x 100 for 9.
  const auto order = served(prompts.items);
  EXPECT_EQ(std::vector<uint64_t>(order.begin(), order.begin() + 3),
            (std::vector<uint64_t>{3, 1, 5}));
}

TEST(PrefixOrder, DecodeHeavyGroupsGoFirst) {
  Prompts prompts({"aaaaaaaa", "bbbbbbbb", "aaaaaaab", "bbbbbbba"});
  prompts.items[1].expected_outputs = prompts.items[3].expected_outputs = 500;
  const auto order = served(prompts.items);
  EXPECT_TRUE(order == (std::vector<uint64_t>{2, 4, 1, 3}) ||
              order == (std::vector<uint64_t>{4, 2, 1, 3}) ||
              order == (std::vector<uint64_t>{2, 4, 3, 1}) ||
              order == (std::vector<uint64_t>{4, 2, 3, 1}))
      << order[0] << order[1] << order[2] << order[3];
}

TEST(PrefixOrder, AGroupThatSavesTooLittleDissolves) {
  Prompts three({"aaax", "aaay"});  // 192 tokens < kMinGroupGain
  EXPECT_EQ(order_by_prefix(kBlock, &three.items).num_groups, 0u);
  EXPECT_EQ(three.items[0].group, UINT32_MAX);
  Prompts four({"aaaax", "aaaay"});
  EXPECT_EQ(order_by_prefix(kBlock, &four.items).num_saved_tokens, 256u);
}

TEST(PrefixOrder, NothingAndOneAreFine) {
  std::vector<PrefixItem> none;
  EXPECT_EQ(order_by_prefix(kBlock, &none).num_groups, 0u);
  Prompts one({"a"});
  EXPECT_EQ(order_by_prefix(kBlock, &one.items).num_groups, 0u);
}

}  // namespace
}  // namespace stet::sched
