// Who waits, and in what order admission looks at them. scheduler.md sec. 4-6.
//
// Order: those that can still meet their TTFT target (or have none), then those that cannot
// (`late = last`: near and above capacity that order is worth more requests in time than any
// estimate, scheduler.md sec. 10, 4). Within: the client that was served least is next
// (client_shares.h), but for one whose next in line was preempted or parked: it goes on first.
// Within a client: smaller order keys first; a policy that groups prefixes orders windows of
// arrivals, and within a window groups (prefix_groups.h).
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "stet/base/ids.h"
#include "stet/base/sha256.h"
#include "stet/base/status.h"
#include "stet/engine_types/request.h"
#include "stet/kv/use_order.h"
#include "stet/sched/client_shares.h"

namespace stet::sched {

// A sequence that waits; what is said of it here does not change while it does.
struct WaitingItem {
  SeqId seq;
  ClientId client = kAnonymous;      // with an open request
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

// Owned by the step thread. O(log n) per change, and per charge however many a client has waiting;
// a window is ordered anew when its members have changed. A BATCH window waits until the newcomers
// are as many as half of the ordered ones, so that a job that streams in costs O(log n) orderings,
// or until nobody new has come for some calls of prepare: 2 of a small job, 1 more per 1,024
// members, so that orderings cost a bounded share of the steps.
class WaitingQueue final : public kv::UseOrder {
 public:
  explicit WaitingQueue(const WaitingQueueOptions& options) : options_(options) {}

  ClientId open_client(std::string_view name) { return shares_.open(name); }
  void close_client(ClientId client) { shares_.close(client); }
  // A sequence of the client was served; in prefill token equivalents.
  void charge(ClientId client, double prefill_token_equivalents);
  double served(ClientId client) const { return shares_.served(client); }

  void insert(const WaitingItem& item, uint64_t now_us);
  void erase(SeqId seq);
  // To be called before a walk: moves those whose target has passed, groups newcomers.
  void prepare(uint64_t now_us);

  class Walk;
  Walk walk() const;  // valid until the next change or charge
  // From the end: in the order of a walk in which everybody is charged for its whole prompt. One at
  // a time: `seq` is what the last call returned. O(clients) to begin.
  SeqId last() const override;
  SeqId before(SeqId seq) const override;

  bool contains(SeqId seq) const { return items_.count(seq) != 0; }
  size_t size() const { return items_.size(); }
  bool empty() const { return items_.empty(); }
  size_t num_late() const { return num_late_; }
  Status check_integrity() const;

 private:
  enum class Section : uint8_t { kOnTime, kBatch, kLate };
  static constexpr size_t kNumSections = 3;
  // Where an item stands in its client's line of a section. Within a window: those that return,
  // then groups, then newcomers.
  struct Place {
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
    Section section = Section::kOnTime;
    Place place;
  };
  // What a client has waiting in one section.
  struct Line {
    std::set<Place> places;
    uint64_t num_prompt_tokens = 0;  // of all of them
  };
  // Whose line is next: a section's lines one after the other.
  struct Turn {
    Section section = Section::kOnTime;
    bool returned_last = true;  // the first in line has not returned
    double served = 0.0;
    ClientId client;
    friend auto operator<=>(const Turn&, const Turn&) = default;
  };
  struct Window {
    size_t num_members = 0;        // on time; those that returned included
    std::vector<SeqId> newcomers;  // not grouped yet
    size_t num_quiet = 0;          // calls of prepare since the last of them came
  };
  using WindowKey = std::pair<ClientId, uint64_t>;
  struct BackTurn {  // a line seen from its end
    Section section = Section::kOnTime;
    double served = 0.0;  // when everybody before the last one will have been
    ClientId client;
    std::set<Place>::const_iterator last;
    friend bool operator<(const BackTurn& a, const BackTurn& b) {
      return std::tie(a.section, a.served, a.client) < std::tie(b.section, b.served, b.client);
    }
  };

  const Line* find_line(ClientId client, Section section) const;
  Turn turn_of(ClientId client, Section section, const Line& line) const;
  void enter_line(const Item& item);
  void leave_line(const Item& item);
  uint64_t window_of(const WaitingItem& item) const;
  Section section_of(const Item& item, bool late) const;
  void enter_window(Item* item);
  void leave_window(const Item& item);
  void become_late(uint64_t now_us);
  void group(const WindowKey& key, Window* window);

  const WaitingQueueOptions options_;
  ClientShares shares_;
  std::unordered_map<SeqId, Item> items_;
  std::unordered_map<ClientId, std::array<Line, kNumSections>> lines_;  // of those that wait
  std::set<Turn> turns_;                                                // of lines with somebody
  std::set<std::pair<uint64_t, SeqId>> late_times_;  // of those that are not late yet
  std::map<WindowKey, Window> windows_;              // only with group_prefixes
  size_t num_late_ = 0;
  mutable std::vector<BackTurn> back_;  // heap of the walk from the end
};

// In the order in which requests are to be served. The queue cannot know what a request will be
// charged when it starts (its cached prefix is not charged): who walks says it, and what follows is
// the order as if all so far had been charged.
class WaitingQueue::Walk {
 public:
  SeqId next();  // SeqId{} = the end
  // What starting the last one would be charged; 0 if not called.
  void charge(double prefill_token_equivalents);

 private:
  friend class WaitingQueue;
  struct Entered {
    Turn turn;
    std::set<Place>::const_iterator next;
  };
  explicit Walk(const WaitingQueue* queue) : queue_(queue), not_entered_(queue->turns_.begin()) {}
  static bool after(const Entered& a, const Entered& b) { return b.turn < a.turn; }
  double charged(ClientId client) const;
  void push(Entered entered);

  const WaitingQueue* queue_;
  std::set<Turn>::const_iterator not_entered_;
  std::vector<Entered> heap_{};                         // lines that may have the next one
  std::optional<Entered> current_{};                    // whose first was given last
  std::vector<std::pair<ClientId, double>> charged_{};  // in this walk
};

}  // namespace stet::sched
