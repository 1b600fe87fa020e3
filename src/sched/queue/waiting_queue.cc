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
constexpr size_t kMembersPerQuietCall = 1024;
}  // namespace

void WaitingQueue::charge(ClientId client, double prefill_token_equivalents) {
  const auto it = lines_.find(client);
  const auto each_turn = [&](auto change) {
    for (size_t i = 0; it != lines_.end() && i < kNumSections; ++i) {
      if (!it->second[i].places.empty()) {
        change(turn_of(client, static_cast<Section>(i), it->second[i]));
      }
    }
  };
  each_turn([&](const Turn& turn) { turns_.erase(turn); });
  shares_.charge(client, prefill_token_equivalents);
  each_turn([&](const Turn& turn) { turns_.insert(turn); });
}

void WaitingQueue::insert(const WaitingItem& item, uint64_t now_us) {
  const auto [it, inserted] = items_.try_emplace(item.seq, Item{.item = item, .place = {}});
  STET_CHECK(inserted, "a sequence waits once");
  Item& entry = it->second;
  const bool late = now_us >= item.late_at_us;
  entry.place = {.window = window_of(item),
                 .rank = options_.group_prefixes && !item.returned ? kNewcomerRank : kReturnedRank,
                 .order_key = item.order_key,
                 .request = item.request,
                 .choice = item.choice,
                 .seq = item.seq};
  entry.section = section_of(entry, late);
  shares_.begin_waiting(item.client);
  enter_line(entry);
  if (late) {
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
  leave_line(entry);
  shares_.end_waiting(entry.item.client);
  if (entry.section == Section::kLate) {
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
    if (num_new == 0) {
      continue;
    }
    const bool quiet = ++window.num_quiet >= 2 + window.num_members / kMembersPerQuietCall;
    if (it->first.second != kBatchWindow || quiet || 3 * num_new >= window.num_members) {
      group(it->first, &window);
    }
  }
}

// ---- places

const WaitingQueue::Line* WaitingQueue::find_line(ClientId client, Section section) const {
  const auto it = lines_.find(client);
  return it == lines_.end() ? nullptr : &it->second[static_cast<size_t>(section)];
}

WaitingQueue::Turn WaitingQueue::turn_of(ClientId client, Section section, const Line& line) const {
  return {.section = section,
          .returned_last = !items_.at(line.places.begin()->seq).item.returned,
          .served = shares_.served(client),
          .client = client};
}

void WaitingQueue::enter_line(const Item& item) {
  const ClientId client = item.item.client;
  Line& line = lines_[client][static_cast<size_t>(item.section)];
  if (!line.places.empty()) {
    turns_.erase(turn_of(client, item.section, line));
  }
  line.places.insert(item.place);
  line.num_prompt_tokens += item.item.num_prompt_tokens;
  turns_.insert(turn_of(client, item.section, line));
}

void WaitingQueue::leave_line(const Item& item) {
  const ClientId client = item.item.client;
  const auto it = lines_.find(client);
  Line& line = it->second[static_cast<size_t>(item.section)];
  turns_.erase(turn_of(client, item.section, line));
  line.places.erase(item.place);
  line.num_prompt_tokens -= item.item.num_prompt_tokens;
  if (!line.places.empty()) {
    turns_.insert(turn_of(client, item.section, line));
    return;
  }
  const auto empty = [](const Line& l) { return l.places.empty(); };
  if (std::all_of(it->second.begin(), it->second.end(), empty)) {
    lines_.erase(it);
  }
}

WaitingQueue::Section WaitingQueue::section_of(const Item& item, bool late) const {
  return late                                ? Section::kLate
         : item.place.window == kBatchWindow ? Section::kBatch
                                             : Section::kOnTime;
}

void WaitingQueue::become_late(uint64_t now_us) {
  while (!late_times_.empty() && late_times_.begin()->first <= now_us) {
    Item& item = items_.at(late_times_.begin()->second);
    late_times_.erase(late_times_.begin());
    leave_window(item);
    leave_line(item);
    item.section = Section::kLate;
    enter_line(item);
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
  Window& window = windows_[{item->item.client, item->place.window}];
  ++window.num_members;
  if (item->place.rank == kNewcomerRank) {
    window.newcomers.push_back(item->item.seq);
    window.num_quiet = 0;
  }
}

void WaitingQueue::leave_window(const Item& item) {
  if (!options_.group_prefixes) {
    return;
  }
  const auto it = windows_.find({item.item.client, item.place.window});
  std::vector<SeqId>& newcomers = it->second.newcomers;
  if (item.place.rank == kNewcomerRank) {
    newcomers.erase(std::find(newcomers.begin(), newcomers.end(), item.item.seq));
  }
  if (--it->second.num_members == 0) {
    windows_.erase(it);
  }
}

// Orders all of a window but those that returned.
void WaitingQueue::group(const WindowKey& key, Window* window) {
  const auto& [client, window_key] = key;
  const Section section = window_key == kBatchWindow ? Section::kBatch : Section::kOnTime;
  const std::set<Place>& places = find_line(client, section)->places;
  std::vector<PrefixItem> members;
  const Place first{.window = window_key, .rank = kFirstGroupedRank};
  for (auto it = places.lower_bound(first); it != places.end() && it->window == window_key; ++it) {
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
    leave_line(item);
    item.place.rank = rank++;
    enter_line(item);
  }
  window->newcomers.clear();
}

Status WaitingQueue::check_integrity() const {
  size_t num_late = 0, num_timed = 0, num_windowed = 0, num_placed = 0, num_lines = 0;
  for (const auto& [seq, item] : items_) {
    const bool late = item.section == Section::kLate;
    num_late += late ? 1 : 0;
    num_timed += !late && item.item.late_at_us != UINT64_MAX ? 1 : 0;
    const Line* line = find_line(item.item.client, item.section);
    if (line == nullptr || line->places.count(item.place) == 0) {
      return internal_error("waiting sequence " + std::to_string(seq.v) + " has no place");
    }
  }
  for (const auto& [client, lines] : lines_) {
    for (size_t i = 0; i < kNumSections; ++i) {
      num_placed += lines[i].places.size();
      num_lines += lines[i].places.empty() ? 0 : 1;
      if (!lines[i].places.empty() &&
          turns_.count(turn_of(client, static_cast<Section>(i), lines[i])) == 0) {
        return internal_error("a line of client " + std::to_string(client.v) + " has no turn");
      }
    }
  }
  for (const auto& [key, window] : windows_) {
    num_windowed += window.num_members;
  }
  const bool windows_ok = !options_.group_prefixes || num_windowed + num_late == items_.size();
  return num_placed == items_.size() && num_lines == turns_.size() && num_late == num_late_ &&
                 num_timed == late_times_.size() && windows_ok
             ? Status()
             : internal_error("the queue's books do not add up");
}

}  // namespace stet::sched
