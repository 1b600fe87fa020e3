#include "src/server/grpc_watch.h"

#include <grpcpp/alarm.h>

#include <memory>
#include <mutex>
#include <utility>

namespace stet::server {
namespace {

using WatchReactor = grpc::ServerWriteReactor<grpc::ByteBuffer>;

// Exactly one thing is outstanding until Finish: a write, or an alarm. Its end decides what is
// next; a cancel only makes the alarm end at once.
class Watch final : public WatchReactor {
 public:
  Watch(std::function<grpc::ByteBuffer()> read, std::chrono::milliseconds interval)
      : read_(std::move(read)), interval_(interval) {}

  void send() {
    message_ = read_();
    StartWrite(&message_);
  }

  void OnWriteDone(bool ok) override {
    {
      std::lock_guard lock(mutex_);
      if (ok && !cancelled_) {
        // A new one: within the callback of the old one its function still runs.
        alarm_ = std::make_unique<grpc::Alarm>();
        alarm_->Set(std::chrono::system_clock::now() + interval_, [this](bool due) { rang(due); });
        return;
      }
    }
    Finish(grpc::Status::CANCELLED);
  }

  void OnCancel() override {
    std::lock_guard lock(mutex_);
    cancelled_ = true;
    if (alarm_ != nullptr) {
      alarm_->Cancel();
    }
  }

  void OnDone() override { delete this; }

 private:
  void rang(bool due) {
    bool go_on = false;
    {
      std::lock_guard lock(mutex_);
      go_on = due && !cancelled_;
    }
    if (go_on) {
      send();
    } else {
      Finish(grpc::Status::CANCELLED);
    }
  }

  const std::function<grpc::ByteBuffer()> read_;
  const std::chrono::milliseconds interval_;
  grpc::ByteBuffer message_;  // until its write is done
  std::mutex mutex_;
  std::unique_ptr<grpc::Alarm> alarm_;
  bool cancelled_ = false;
};

class RefusedWatch final : public WatchReactor {
 public:
  explicit RefusedWatch(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

}  // namespace

WatchReactor* start_watch(std::function<grpc::ByteBuffer()> read,
                          std::chrono::milliseconds interval) {
  auto* watch = new Watch(std::move(read), interval);
  watch->send();
  return watch;
}

WatchReactor* refuse_watch(const grpc::Status& status) {
  return new RefusedWatch(status);
}

}  // namespace stet::server
