// Where a client's threads leave events for the I/O thread. All events of one engine step cost one
// wake-up, and each stream writes once per wake-up, not once per event.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "google/rpc/status.pb.h"
#include "stet/proxy/inference_client.h"
#include "stet/v1/inference.pb.h"

namespace stet::proxy {

// Owned by the I/O thread.
class EventReceiver {
 public:
  virtual ~EventReceiver() = default;
  virtual void on_event(v1::GenerateResponse&& event) = 0;
  virtual void on_done(const google::rpc::Status& status) = 0;
  virtual void flush() = 0;  // after the last event of a wake-up
};

// push and close: thread-safe; drain: I/O thread.
class EventMailbox {
 public:
  // `wake` is called at most once between two drains, under the lock: it may only post.
  explicit EventMailbox(std::function<void()> wake) : wake_(std::move(wake)) {}

  void push(std::weak_ptr<EventReceiver> receiver, const v1::GenerateResponse& event);
  void push_done(std::weak_ptr<EventReceiver> receiver, const google::rpc::Status& status);
  void drain();
  void close();  // no wake after it has returned

 private:
  struct Item {
    std::weak_ptr<EventReceiver> receiver;
    bool done = false;
    v1::GenerateResponse event;
    google::rpc::Status status;
  };
  void push_item(Item&& item);

  std::mutex mutex_;
  std::function<void()> wake_;
  std::vector<Item> items_;
  bool closed_ = false;
};

// A call's events on their way to the mailbox. Thread-safe.
class MailboxEvents final : public CallEvents {
 public:
  MailboxEvents(std::shared_ptr<EventMailbox> mailbox, std::weak_ptr<EventReceiver> receiver)
      : mailbox_(std::move(mailbox)), receiver_(std::move(receiver)) {}
  void on_event(const v1::GenerateResponse& event) override { mailbox_->push(receiver_, event); }
  void on_done(const google::rpc::Status& status) override {
    mailbox_->push_done(receiver_, status);
  }

 private:
  const std::shared_ptr<EventMailbox> mailbox_;
  const std::weak_ptr<EventReceiver> receiver_;
};

}  // namespace stet::proxy
