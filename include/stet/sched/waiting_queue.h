// Who waits, and in what order admission looks at them. scheduler.md sec. 4-6.
//
// Order: those that can still meet their TTFT target (or have none), then those that cannot
// (`late = last`: near and above capacity that order is worth more requests in time than any
// estimate, scheduler.md sec. 10, 4). Within: smaller order keys first; a policy that groups
// prefixes orders windows of arrivals, and within a window groups (prefix_groups.h).
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "stet/base/ids.h"
#include "stet/base/sha256.h"
#include "stet/base/status.h"
#include "stet/engine_types/request.h"
#include "stet/kv/use_order.h"

namespace stet::sched {

// A sequence that waits; what is said of it here does not change while it does.
struct WaitingItem {
  SeqId seq;
  uint64_t order_key = 0;            // OrderPolicy::key of its request
  uint64_t request = 0;              // ties: older requests first,
  uint32_t choice = 0;               // and their choices in order
  uint64_t late_at_us = UINT64_MAX;  // from then on it has missed its TTFT target
  bool returned = false;             // preempted or parked before: it was somebody's turn already
  // Read by a queue that groups prefixes:
  ServiceClass service_class = ServiceClass::kInteractive;
  uint32_t num_prompt_tokens = 0;
  uint32_t expected_outputs = 0;
  std::span<const Sha256Digest> chain{};  // H_i of its full blocks; must stay valid while it waits
};

struct WaitingQueueOptions {
  bool group_prefixes = false;
  uint32_t block_tokens = 64;
  // INTERACTIVE requests are grouped with those that arrived in the same window only, so grouping
  // overtakes nobody by more. BATCH ones are one window, behind all others: a job is known in full.
  uint64_t group_window_us = 200'000;
};

// Owned by the step thread. O(log n) per change; a window is ordered anew when its members have
// changed, a BATCH window only when the newcomers are as many as half of the ordered ones, so that
// a job that streams in costs O(log n) orderings.
class WaitingQueue final : public kv::UseOrder {
 public:
  explicit WaitingQueue(const WaitingQueueOptions& options) : options_(options) {}

  void insert(const WaitingItem& item, uint64_t now_us);
  void erase(SeqId seq);
  // To be called before a walk: moves those whose target has passed, groups newcomers.
  void prepare(uint64_t now_us);

  // Walks: valid until the next change. SeqId{} = the end.
  SeqId first() const;
  SeqId after(SeqId seq) const;
  SeqId last() const override;
  SeqId before(SeqId seq) const override;

  bool contains(SeqId seq) const { return items_.count(seq) != 0; }
  size_t size() const { return order_.size(); }
  bool empty() const { return order_.empty(); }
  size_t num_late() const { return num_late_; }
  Status check_integrity() const;

 private:
  // Where an item stands. Within a window: those that return, then groups, then newcomers.
  struct Place {
    bool late = false;
    uint64_t window = 0;
    uint32_t rank = 0;  // within the window
    uint64_t order_key = 0;
    uint64_t request = 0;
    uint32_t choice = 0;
    SeqId seq;
    friend auto operator<=>(const Place&, const Place&) = default;
  };
  struct Item {
    WaitingItem item;
    Place place;
  };
  struct Window {
    size_t num_members = 0;        // on time; those that returned included
    std::vector<SeqId> newcomers;  // not grouped yet
  };

  uint64_t window_of(const WaitingItem& item) const;
  void enter_window(Item* item);
  void leave_window(const Item& item);
  void move_to(Item* item, const Place& place);
  void become_late(uint64_t now_us);
  void group(uint64_t window_key, Window* window);

  const WaitingQueueOptions options_;
  std::set<Place> order_;
  std::unordered_map<SeqId, Item> items_;
  std::set<std::pair<uint64_t, SeqId>> late_times_;  // of those that are not late yet
  std::map<uint64_t, Window> windows_;               // only with group_prefixes
  size_t num_late_ = 0;
};

}  // namespace stet::sched
