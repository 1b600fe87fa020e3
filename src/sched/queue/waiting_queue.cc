#include "stet/sched/waiting_queue.h"

#include <algorithm>
#include <string>

#include "src/sched/queue/prefix_order.h"
#include "stet/base/check.h"

namespace stet::sched {
namespace {
constexpr uint32_t kReturnedRank = 0;
constexpr uint32_t kFirstGroupedRank = 1;
constexpr uint32_t kNewcomerRank = UINT32_MAX;
constexpr uint64_t kBatchWindow = UINT64_MAX;  // behind every window of arrivals
}  // namespace

void WaitingQueue::insert(const WaitingItem& item, uint64_t now_us) {
  const auto [it, inserted] = items_.try_emplace(item.seq, Item{.item = item, .place = {}});
  STET_CHECK(inserted, "a sequence waits once");
  Item& entry = it->second;
  entry.place = {.late = now_us >= item.late_at_us,
                 .window = window_of(item),
                 .rank = options_.group_prefixes && !item.returned ? kNewcomerRank : kReturnedRank,
                 .order_key = item.order_key,
                 .request = item.request,
                 .choice = item.choice,
                 .seq = item.seq};
  order_.insert(entry.place);
  if (entry.place.late) {
    ++num_late_;
    return;
  }
  if (item.late_at_us != UINT64_MAX) {
    late_times_.emplace(item.late_at_us, item.seq);
  }
  enter_window(&entry);
}

void WaitingQueue::erase(SeqId seq) {
  const auto it = items_.find(seq);
  STET_CHECK(it != items_.end(), "only who waits can leave the queue");
  const Item& entry = it->second;
  order_.erase(entry.place);
  if (entry.place.late) {
    --num_late_;
  } else {
    late_times_.erase({entry.item.late_at_us, seq});
    leave_window(entry);
  }
  items_.erase(it);
}

void WaitingQueue::prepare(uint64_t now_us) {
  become_late(now_us);
  for (auto it = windows_.begin(); it != windows_.end(); ++it) {
    Window& window = it->second;
    const size_t num_new = window.newcomers.size();
    const bool due = it->first != kBatchWindow || 3 * num_new >= window.num_members;
    if (num_new > 0 && due) {
      group(it->first, &window);
    }
  }
}

// ---- walks

SeqId WaitingQueue::first() const {
  return order_.empty() ? SeqId{} : order_.begin()->seq;
}
SeqId WaitingQueue::after(SeqId seq) const {
  const auto next = order_.upper_bound(items_.at(seq).place);
  return next == order_.end() ? SeqId{} : next->seq;
}
SeqId WaitingQueue::last() const {
  return order_.empty() ? SeqId{} : order_.rbegin()->seq;
}
SeqId WaitingQueue::before(SeqId seq) const {
  const auto at = order_.lower_bound(items_.at(seq).place);
  return at == order_.begin() ? SeqId{} : std::prev(at)->seq;
}

// ---- places

void WaitingQueue::move_to(Item* item, const Place& place) {
  order_.erase(item->place);
  item->place = place;
  order_.insert(place);
}

void WaitingQueue::become_late(uint64_t now_us) {
  while (!late_times_.empty() && late_times_.begin()->first <= now_us) {
    Item& item = items_.at(late_times_.begin()->second);
    late_times_.erase(late_times_.begin());
    leave_window(item);
    Place place = item.place;
    place.late = true;
    move_to(&item, place);
    ++num_late_;
  }
}

uint64_t WaitingQueue::window_of(const WaitingItem& item) const {
  if (!options_.group_prefixes) {
    return 0;
  }
  return item.service_class == ServiceClass::kBatch ? kBatchWindow
                                                    : item.order_key / options_.group_window_us;
}

void WaitingQueue::enter_window(Item* item) {
  if (!options_.group_prefixes) {
    return;
  }
  Window& window = windows_[item->place.window];
  ++window.num_members;
  if (item->place.rank == kNewcomerRank) {
    window.newcomers.push_back(item->item.seq);
  }
}

void WaitingQueue::leave_window(const Item& item) {
  if (!options_.group_prefixes) {
    return;
  }
  const auto it = windows_.find(item.place.window);
  std::vector<SeqId>& newcomers = it->second.newcomers;
  if (item.place.rank == kNewcomerRank) {
    newcomers.erase(std::find(newcomers.begin(), newcomers.end(), item.item.seq));
  }
  if (--it->second.num_members == 0) {
    windows_.erase(it);
  }
}

// Orders all of a window but those that returned.
void WaitingQueue::group(uint64_t window_key, Window* window) {
  std::vector<PrefixItem> members;
  const Place first{.window = window_key, .rank = kFirstGroupedRank};
  for (auto it = order_.lower_bound(first);
       it != order_.end() && !it->late && it->window == window_key; ++it) {
    const WaitingItem& item = items_.at(it->seq).item;
    members.push_back({.seq = item.seq,
                       .order_key = item.order_key,
                       .num_prompt_tokens = item.num_prompt_tokens,
                       .expected_outputs = item.expected_outputs,
                       .chain = item.chain});
  }
  order_by_prefix(options_.block_tokens, &members);
  uint32_t rank = kFirstGroupedRank;
  for (const PrefixItem& member : members) {
    Item& item = items_.at(member.seq);
    Place place = item.place;
    place.rank = rank++;
    move_to(&item, place);
  }
  window->newcomers.clear();
}

Status WaitingQueue::check_integrity() const {
  size_t num_late = 0, num_timed = 0, num_windowed = 0;
  for (const auto& [seq, item] : items_) {
    num_late += item.place.late ? 1 : 0;
    num_timed += !item.place.late && item.item.late_at_us != UINT64_MAX ? 1 : 0;
    if (order_.count(item.place) == 0) {
      return internal_error("waiting sequence " + std::to_string(seq.v) + " has no place");
    }
  }
  for (const auto& [key, window] : windows_) {
    num_windowed += window.num_members;
  }
  const bool windows_ok = !options_.group_prefixes || num_windowed + num_late == items_.size();
  return order_.size() == items_.size() && num_late == num_late_ &&
                 num_timed == late_times_.size() && windows_ok
             ? Status()
             : internal_error("the queue's books do not add up");
}

}  // namespace stet::sched
