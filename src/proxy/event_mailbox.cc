#include "src/proxy/event_mailbox.h"

#include <algorithm>

namespace stet::proxy {

void EventMailbox::push_item(Item&& item) {
  std::lock_guard lock(mutex_);
  if (closed_) {
    return;
  }
  items_.push_back(std::move(item));
  if (items_.size() == 1) {
    wake_();
  }
}

void EventMailbox::push(std::weak_ptr<EventReceiver> receiver, const v1::GenerateResponse& event) {
  push_item(Item{std::move(receiver), false, event, {}});
}

void EventMailbox::push_done(std::weak_ptr<EventReceiver> receiver,
                             const google::rpc::Status& status) {
  push_item(Item{std::move(receiver), true, {}, status});
}

void EventMailbox::drain() {
  std::vector<Item> items;
  {
    std::lock_guard lock(mutex_);
    items.swap(items_);
  }
  std::vector<std::shared_ptr<EventReceiver>> touched;
  for (Item& item : items) {
    const std::shared_ptr<EventReceiver> receiver = item.receiver.lock();
    if (receiver == nullptr) {
      continue;  // its connection is gone
    }
    if (item.done) {
      receiver->on_done(item.status);
    } else {
      receiver->on_event(std::move(item.event));
    }
    if (touched.empty() || touched.back() != receiver) {
      touched.push_back(receiver);
    }
  }
  for (const auto& receiver : touched) {
    receiver->flush();
  }
}

void EventMailbox::close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  items_.clear();
}

}  // namespace stet::proxy
