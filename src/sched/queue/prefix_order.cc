#include "src/sched/queue/prefix_order.h"

#include <algorithm>
#include <utility>

namespace stet::sched {
namespace {

using Chain = std::span<const Sha256Digest>;

uint32_t common_blocks(Chain a, Chain b) {
  size_t low = 0, high = std::min(a.size(), b.size());  // the first `low` are equal
  while (low < high) {
    const size_t middle = (low + high + 1) / 2;
    if (a[middle - 1] == b[middle - 1]) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return static_cast<uint32_t>(low);
}

// The order of a depth-first walk: a prefix before what goes on from it.
bool before_in_tree(const PrefixItem& a, const PrefixItem& b) {
  const size_t common = common_blocks(a.chain, b.chain);
  if (common < a.chain.size() && common < b.chain.size()) {
    return a.chain[common] < b.chain[common];
  }
  return a.chain.size() != b.chain.size()
             ? a.chain.size() < b.chain.size()
             : std::pair(a.order_key, a.seq) < std::pair(b.order_key, b.seq);
}

// Leaves [begin, end) in walk order; a leaf is a node of one leaf without children.
struct Node {
  uint64_t depth = 0;  // tokens from the root; not used of a leaf
  uint32_t begin = 0, end = 0;
  uint64_t saved = 0;       // f
  bool ends_group = false;  // f is reached by a group with this node's prefix
  std::vector<uint32_t> children{};
  uint64_t num_leaves() const { return end - begin; }
  uint64_t saved_by_joining(uint64_t group_depth) const { return num_leaves() * group_depth; }
};

class PrefixTree {
 public:
  PrefixTree(uint32_t block_tokens, const std::vector<PrefixItem>& sorted);
  // Writes PrefixItem::group.
  PrefixOrder assign(std::vector<PrefixItem>* sorted) const;

 private:
  uint32_t add_node(Node node);
  void close_below(uint64_t depth, uint32_t next_leaf);
  void solve(Node* node) const;
  void assign_below(uint32_t index, std::vector<PrefixItem>* sorted, PrefixOrder* groups) const;

  std::vector<Node> nodes_;     // the root first
  std::vector<uint32_t> open_;  // the path to the last leaf
};

uint32_t PrefixTree::add_node(Node node) {
  nodes_.push_back(std::move(node));
  return static_cast<uint32_t>(nodes_.size() - 1);
}

// The stack construction of interval trees over longest common prefixes (Abouelhoda, Kurtz,
// Ohlebusch 2004).
PrefixTree::PrefixTree(uint32_t block_tokens, const std::vector<PrefixItem>& sorted) {
  const auto n = static_cast<uint32_t>(sorted.size());
  open_.push_back(add_node({}));
  for (uint32_t i = 0; i < n; ++i) {
    const uint32_t leaf = add_node({.begin = i, .end = i + 1});
    const uint64_t to_next =
        i + 1 == n ? 0
                   : uint64_t{common_blocks(sorted[i].chain, sorted[i + 1].chain)} * block_tokens;
    if (to_next > nodes_[open_.back()].depth) {
      open_.push_back(add_node({.depth = to_next, .begin = i, .children = {leaf}}));
    } else {
      nodes_[open_.back()].children.push_back(leaf);
      close_below(to_next, i + 1);
    }
  }
  nodes_[0].end = n;
  solve(&nodes_[0]);
}

// Ends all open nodes that are deeper than what the next leaf shares.
void PrefixTree::close_below(uint64_t depth, uint32_t next_leaf) {
  while (nodes_[open_.back()].depth > depth) {
    const uint32_t closed = open_.back();
    open_.pop_back();
    nodes_[closed].end = next_leaf;
    solve(&nodes_[closed]);
    if (nodes_[open_.back()].depth < depth) {
      open_.push_back(
          add_node({.depth = depth, .begin = nodes_[closed].begin, .children = {closed}}));
    } else {
      nodes_[open_.back()].children.push_back(closed);
    }
  }
}

void PrefixTree::solve(Node* node) const {
  uint64_t apart = 0, together = 0;
  for (const uint32_t child : node->children) {
    const Node& c = nodes_[child];
    apart += c.saved;
    together += std::max(c.saved, c.saved_by_joining(node->depth));
  }
  node->ends_group = together > apart + node->depth;
  node->saved = node->ends_group ? together - node->depth : apart;
}

PrefixOrder PrefixTree::assign(std::vector<PrefixItem>* sorted) const {
  PrefixOrder groups;
  assign_below(0, sorted, &groups);
  return groups;
}

void PrefixTree::assign_below(uint32_t index, std::vector<PrefixItem>* sorted,
                              PrefixOrder* groups) const {
  const Node& node = nodes_[index];
  uint64_t gain = 0;
  for (const uint32_t child : node.children) {
    const Node& c = nodes_[child];
    if (node.ends_group && c.saved_by_joining(node.depth) > c.saved) {
      gain += c.saved_by_joining(node.depth);
    } else {
      assign_below(child, sorted, groups);
    }
  }
  if (gain < node.depth + kMinGroupGain) {
    return;  // no group ends here, or too small a one
  }
  for (const uint32_t child : node.children) {
    const Node& c = nodes_[child];
    for (uint32_t leaf = c.begin; c.saved_by_joining(node.depth) > c.saved && leaf < c.end;
         ++leaf) {
      (*sorted)[leaf].group = groups->num_groups;
    }
  }
  groups->num_saved_tokens += gain - node.depth;
  ++groups->num_groups;
}

// What is ordered: a group, or a prompt that stands alone.
struct Unit {
  double decode_ratio = 0.0;  // outputs per prompt token that must be computed
  uint64_t order_key = UINT64_MAX;
  std::vector<uint32_t> members{};  // indices, in the order of the tree
};

std::vector<Unit> make_units(uint32_t block_tokens, const std::vector<PrefixItem>& sorted,
                             uint32_t num_groups) {
  std::vector<Unit> units(num_groups);
  for (uint32_t i = 0; i < sorted.size(); ++i) {
    const uint32_t group = sorted[i].group;
    Unit& unit = group == UINT32_MAX ? units.emplace_back() : units[group];
    unit.members.push_back(i);
    unit.order_key = std::min(unit.order_key, sorted[i].order_key);
  }
  for (Unit& unit : units) {
    uint64_t outputs = 0, computed = 0;
    for (size_t k = 0; k < unit.members.size(); ++k) {
      const PrefixItem& item = sorted[unit.members[k]];
      const uint64_t shared =
          k == 0 ? 0
                 : uint64_t{common_blocks(sorted[unit.members[k - 1]].chain, item.chain)} *
                       block_tokens;
      outputs += item.expected_outputs;
      computed += item.num_prompt_tokens - std::min<uint64_t>(shared, item.num_prompt_tokens);
    }
    unit.decode_ratio =
        static_cast<double>(outputs) / static_cast<double>(std::max<uint64_t>(computed, 1));
  }
  return units;
}

}  // namespace

PrefixOrder order_by_prefix(uint32_t block_tokens, std::vector<PrefixItem>* items) {
  std::sort(items->begin(), items->end(), before_in_tree);
  for (PrefixItem& item : *items) {
    item.group = UINT32_MAX;
  }
  const PrefixOrder groups = PrefixTree(block_tokens, *items).assign(items);
  std::vector<Unit> units = make_units(block_tokens, *items, groups.num_groups);
  std::stable_sort(units.begin(), units.end(), [](const Unit& a, const Unit& b) {
    return a.decode_ratio != b.decode_ratio ? a.decode_ratio > b.decode_ratio
                                            : a.order_key < b.order_key;
  });
  std::vector<PrefixItem> ordered;
  ordered.reserve(items->size());
  for (const Unit& unit : units) {
    for (const uint32_t member : unit.members) {
      ordered.push_back((*items)[member]);
    }
  }
  *items = std::move(ordered);
  return groups;
}

}  // namespace stet::sched
