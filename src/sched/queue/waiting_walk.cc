// Walks over the waiting queue: lines of clients merged by what they were served.
#include <algorithm>

#include "stet/base/check.h"
#include "stet/sched/waiting_queue.h"

namespace stet::sched {

WaitingQueue::Walk WaitingQueue::walk() const {
  return Walk(this);
}

double WaitingQueue::Walk::charged(ClientId client) const {
  const auto it = std::find_if(charged_.begin(), charged_.end(),
                               [&](const auto& entry) { return entry.first == client; });
  return it == charged_.end() ? 0.0 : it->second;
}

void WaitingQueue::Walk::push(Entered entered) {
  entered.turn.returned_last = !queue_->items_.at(entered.next->seq).item.returned;
  heap_.push_back(entered);
  std::push_heap(heap_.begin(), heap_.end(), after);
}

// A line stands in turns_ where its client would be without the charges of this walk: not later
// than it is. So none that has not been entered is before the first one there.
SeqId WaitingQueue::Walk::next() {
  if (current_) {
    const auto& places = queue_->find_line(current_->turn.client, current_->turn.section)->places;
    if (++current_->next != places.end()) {
      push(*current_);
    }
    current_.reset();
  }
  while (not_entered_ != queue_->turns_.end() &&
         (heap_.empty() || *not_entered_ < heap_.front().turn)) {
    Entered entered{.turn = *not_entered_++, .next = {}};
    entered.turn.served += charged(entered.turn.client);
    entered.next = queue_->find_line(entered.turn.client, entered.turn.section)->places.begin();
    push(entered);
  }
  if (heap_.empty()) {
    return SeqId{};
  }
  std::pop_heap(heap_.begin(), heap_.end(), after);
  current_ = heap_.back();
  heap_.pop_back();
  return current_->next->seq;
}

void WaitingQueue::Walk::charge(double prefill_token_equivalents) {
  STET_CHECK(current_.has_value(), "somebody was given");
  current_->turn.served += prefill_token_equivalents;
  const ClientId client = current_->turn.client;
  const auto it = std::find_if(charged_.begin(), charged_.end(),
                               [&](const auto& entry) { return entry.first == client; });
  if (it == charged_.end()) {
    charged_.emplace_back(client, prefill_token_equivalents);
  } else {
    it->second += prefill_token_equivalents;
  }
}

SeqId WaitingQueue::last() const {
  back_.clear();
  for (const Turn& turn : turns_) {
    const Line& line = *find_line(turn.client, turn.section);
    const auto last = std::prev(line.places.end());
    const uint64_t before_last =
        line.num_prompt_tokens - items_.at(last->seq).item.num_prompt_tokens;
    back_.push_back({.section = turn.section,
                     .served = turn.served + static_cast<double>(before_last),
                     .client = turn.client,
                     .last = last});
  }
  std::make_heap(back_.begin(), back_.end());
  return back_.empty() ? SeqId{} : back_.front().last->seq;
}

SeqId WaitingQueue::before(SeqId seq) const {
  STET_CHECK(!back_.empty() && back_.front().last->seq == seq, "a walk goes step by step");
  std::pop_heap(back_.begin(), back_.end());
  BackTurn& turn = back_.back();
  if (turn.last == find_line(turn.client, turn.section)->places.begin()) {
    back_.pop_back();
  } else {
    --turn.last;
    turn.served -= items_.at(turn.last->seq).item.num_prompt_tokens;
    std::push_heap(back_.begin(), back_.end());
  }
  return back_.empty() ? SeqId{} : back_.front().last->seq;
}

}  // namespace stet::sched
