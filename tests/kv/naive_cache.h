// The prefix cache as a map from prefixes to what happened to them: every question is answered by a
// look at everything. What the order of eviction is held against.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "stet/kv/kv_cache.h"

namespace stet::kv {

using Tokens = std::vector<uint32_t>;

// What the model gets wrong on purpose: controls of the comparison.
enum class Flaw : uint8_t {
  kNone,
  kPinsForgotten,    // pinned blocks are evicted like others
  kPinsNeverWeaken,  // the value of a pin does not fall over its time
  kWholePinValue,    // pins are compared by their value, whatever they hold
  kExpiryForgotten,  // pins hold for ever
  kEndsConfused,     // a pin that gave way to others counts as expired
  kAllTakenOver,     // a follow-up counts as reusing all that was kept
};

class NaiveCache {
 public:
  struct Node {
    std::set<uint64_t> holders;
    uint64_t released = 0;
    std::vector<double> uses;  // in turnovers
    uint32_t chain_end = 0;    // blocks
    uint8_t priority_class = 0;
    bool pin_expired = false;
  };
  struct NaivePin {
    Tokens prefix;
    PinTerms terms;
  };

  NaiveCache(Eviction eviction, uint32_t num_blocks, uint32_t block_tokens, Flaw flaw)
      : eviction_(eviction), num_blocks_(num_blocks), block_tokens_(block_tokens), flaw_(flaw) {}

  std::map<Tokens, Node> nodes;
  std::map<uint64_t, NaivePin> pins;  // by PinId
  PinTotals totals;
  std::vector<Tokens> queue;  // prompts of waiting sequences, the next one first
  RecomputeCost cost;

  // Whole blocks of the prompt, at least one position short of it.
  uint32_t hit_blocks(const Tokens& prompt) const {
    uint32_t n = 0;
    while ((n + 1) * block_tokens_ < prompt.size() && nodes.count(prefix(prompt, n + 1)) != 0) {
      ++n;
    }
    return n;
  }
  // False: the pool does not hold it; nothing has changed.
  bool start(uint64_t seq, const Tokens& prompt, uint8_t priority_class) {
    const uint32_t hit = hit_blocks(prompt);
    const auto all = static_cast<uint32_t>((prompt.size() + block_tokens_ - 1) / block_tokens_);
    uint32_t takeable = num_free();
    for (const auto& [tokens, node] : nodes) {
      const bool in_hit = tokens.size() <= hit * block_tokens_ &&
                          std::equal(tokens.begin(), tokens.end(), prompt.begin());
      takeable += node.holders.empty() && !in_hit ? 1 : 0;
    }
    if (all - hit > takeable) {
      return false;
    }
    for (uint32_t n = 1; n <= hit; ++n) {
      use(nodes[prefix(prompt, n)], seq, priority_class);
    }
    for (uint32_t n = hit; n < all; ++n) {
      ++num_taken_;
      if (num_free() == 0) {
        evict_one();
      }
      ++num_private_;
    }
    // Published, or swapped for a block with the same content.
    for (uint32_t n = hit + 1; n <= prompt.size() / block_tokens_; ++n) {
      Node& node = nodes[prefix(prompt, n)];
      use(node, seq, priority_class);
      node.chain_end = std::max(node.chain_end, n);
      --num_private_;
    }
    return true;
  }
  void end(uint64_t seq, const Tokens& prompt) {
    const auto full = static_cast<uint32_t>(prompt.size() / block_tokens_);
    for (uint32_t n = full; n > 0; --n) {
      Node& node = nodes[prefix(prompt, n)];
      node.released = ++num_released_;
      node.chain_end = std::max(node.chain_end, full);
      node.holders.erase(seq);
    }
    num_private_ -= prompt.size() % block_tokens_ != 0 ? 1 : 0;
  }
  void pin(uint64_t id, const Tokens& kept, const PinTerms& terms) {
    pins[id] = {kept, terms};
    ++totals.placed;
    totals.blocks_placed += kept.size() / block_tokens_;
  }
  void unpin(uint64_t id) { totals.unpinned += pins.erase(id); }
  // The follow-up runs: it holds all full blocks of its prompt.
  void hand_over(uint64_t id, const Tokens& follow_up) {
    const auto it = pins.find(id);
    if (it == pins.end()) {
      return;
    }
    const Tokens& kept = it->second.prefix;
    for (uint32_t n = 1; n <= kept.size() / block_tokens_; ++n) {
      const bool held = starts(follow_up, prefix(kept, n));
      totals.blocks_taken_over += held || flaw_ == Flaw::kAllTakenOver ? 1 : 0;
    }
    ++totals.handed_over;
    pins.erase(it);
  }
  void set_now(uint64_t now_us) {
    now_us_ = now_us;
    for (auto it = pins.begin(); it != pins.end() && flaw_ != Flaw::kExpiryForgotten;) {
      const auto pin = it++;
      if (pin->second.terms.until_us <= now_us) {
        const Tokens pinned = pin->second.prefix;
        pins.erase(pin);
        ++totals.expired;
        for (auto& [tokens, node] : nodes) {
          node.pin_expired |= node.holders.empty() && !is_pinned(tokens) && starts(pinned, tokens);
        }
      }
    }
  }
  uint32_t num_pinned() const {
    return static_cast<uint32_t>(std::count_if(nodes.begin(), nodes.end(), [&](const auto& item) {
      return item.second.holders.empty() && is_pinned(item.first);
    }));
  }
  uint32_t num_free() const {
    return num_blocks_ - static_cast<uint32_t>(nodes.size()) - num_private_;
  }
  Tokens prefix(const Tokens& prompt, uint32_t num_blocks) const {
    return {prompt.begin(), prompt.begin() + num_blocks * block_tokens_};
  }

 private:
  static bool starts(const Tokens& tokens, const Tokens& with) {
    return tokens.size() >= with.size() && std::equal(with.begin(), with.end(), tokens.begin());
  }
  double now() const { return static_cast<double>(num_taken_) / num_blocks_; }
  void use(Node& node, uint64_t seq, uint8_t priority_class) {
    node.holders.insert(seq);
    node.uses.push_back(now());
    node.priority_class = std::max(node.priority_class, priority_class);
    node.pin_expired = false;
  }
  bool is_pinned(const Tokens& tokens) const {
    return std::any_of(pins.begin(), pins.end(),
                       [&](const auto& item) { return starts(item.second.prefix, tokens); });
  }
  bool is_leaf(const Tokens& tokens) const {
    const auto next = std::next(nodes.find(tokens));  // a child sorts behind its parent
    return next == nodes.end() || !starts(next->first, tokens);
  }
  double recompute_us(uint64_t begin, uint64_t end) const {  // positions, one by one
    double us = 0.0;
    for (uint64_t pos = begin; pos < end; ++pos) {
      us += cost.token_us + cost.context_us * (static_cast<double>(pos) + 0.5);
    }
    return us;
  }
  // Evicted first: the smallest.
  double rank(const Tokens& tokens, const Node& node) const {
    switch (eviction_) {
      case Eviction::kLru: return 0.0;
      case Eviction::kPriority: return node.priority_class;
      case Eviction::kTtl: return node.pin_expired ? 0.0 : 1.0;
      case Eviction::kTail: {
        const double us =
            recompute_us(tokens.size() - block_tokens_, uint64_t{node.chain_end} * block_tokens_);
        return us <= cost.budget_us ? 0.0 : 1.0;
      }
      case Eviction::kCost: {
        double rate = 0.0;
        for (const double at : node.uses) {
          rate += std::exp2(at - now());
        }
        const double us = recompute_us(tokens.size() - block_tokens_, tokens.size());
        return rate * (us > 0.0 ? us : 1.0);
      }
      case Eviction::kFuture: break;
    }
    const auto user = std::find_if(queue.begin(), queue.end(),
                                   [&](const Tokens& prompt) { return starts(prompt, tokens); });
    return user == queue.end() ? -HUGE_VAL : -static_cast<double>(user - queue.begin());
  }
  double remaining_value(const NaivePin& pin) const {
    const PinTerms& t = pin.terms;
    double left = static_cast<double>(t.until_us - std::min(t.until_us, now_us_)) /
                  static_cast<double>(t.until_us - t.now_us);
    left = flaw_ == Flaw::kPinsNeverWeaken ? 1.0 : left;
    const double blocks = static_cast<double>(pin.prefix.size()) / block_tokens_;
    return t.value_us * left / (flaw_ == Flaw::kWholePinValue ? 1.0 : blocks);
  }
  void evict_one() {
    while (true) {
      auto victim = nodes.end();
      std::pair<double, uint64_t> least;
      for (auto it = nodes.begin(); it != nodes.end(); ++it) {
        const auto& [tokens, node] = *it;
        const bool kept = flaw_ != Flaw::kPinsForgotten && is_pinned(tokens);
        if (!node.holders.empty() || !is_leaf(tokens) || kept) {
          continue;
        }
        const std::pair<double, uint64_t> key = {rank(tokens, node), node.released};
        if (victim == nodes.end() || key < least) {
          victim = it;
          least = key;
        }
      }
      if (victim != nodes.end()) {
        nodes.erase(victim);
        return;
      }
      auto weakest = pins.end();
      for (auto it = pins.begin(); it != pins.end(); ++it) {
        if (nodes[it->second.prefix].holders.empty() &&
            (weakest == pins.end() ||
             remaining_value(it->second) < remaining_value(weakest->second))) {
          weakest = it;
        }
      }
      pins.erase(weakest);
      ++(flaw_ == Flaw::kEndsConfused ? totals.expired : totals.released_for_memory);
    }
  }

  const Eviction eviction_;
  const uint32_t num_blocks_, block_tokens_;
  const Flaw flaw_;
  uint32_t num_private_ = 0;
  uint64_t num_taken_ = 0, num_released_ = 0, now_us_ = 0;
};

}  // namespace stet::kv
