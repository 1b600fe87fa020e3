#include "src/server/grpc_stream.h"

#include <grpcpp/alarm.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <deque>
#include <memory>
#include <mutex>
#include <utility>

#include "src/server/api_error.h"
#include "src/server/call_errors.h"
#include "src/server/grpc_bytes.h"
#include "src/server/validate.h"
#include "stet/v1/inference.pb.h"

namespace stet::server {
namespace {

using std::chrono::seconds;
using std::chrono::system_clock;

// How long a call that has ended may wait for its last bytes to be taken, then the stream is reset:
// nothing may hold a stream for ever. A slow reader has had its minute already.
constexpr seconds kLastWriteGrace{60};
constexpr seconds kSlowReaderGrace{5};

// The receiver of a call's events and the owner of its writes. Text thread and gRPC threads meet
// under one mutex; gRPC never calls a reaction from inside StartWrite or Finish, so both are called
// under it. It is shared: the service keeps it until on_done has returned, gRPC (through the
// reactor) until OnDone.
class Stream final : public CallEvents {
 public:
  class Reactor final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
   public:
    explicit Reactor(std::shared_ptr<Stream> stream) : stream_(std::move(stream)) {}
    void OnWriteDone(bool ok) override { stream_->write_done(ok); }
    void OnCancel() override { stream_->cancelled(); }
    void OnDone() override {
      stream_->reactor_done();
      delete this;
    }

   private:
    const std::shared_ptr<Stream> stream_;
  };

  explicit Stream(grpc::CallbackServerContext* context) : context_(context) {}

  static std::shared_ptr<Stream> make(grpc::CallbackServerContext* context) {
    auto stream = std::make_shared<Stream>(context);
    stream->self_ = stream;
    stream->reactor_ = new Reactor(stream);  // gRPC's OnDone deletes it
    return stream;
  }
  grpc::ServerWriteReactor<grpc::ByteBuffer>* reactor() { return reactor_; }

  void set_call(std::unique_ptr<Call> call) {
    std::lock_guard lock(mutex_);
    call_ = std::move(call);
    if (cancelled_ || reactor_ == nullptr) {
      call_->cancel();
    } else if (writing_) {
      call_->set_busy(true);
    }
  }

  void on_event(const v1::GenerateResponse& event) override {
    grpc::ByteBuffer bytes = to_bytes(event);
    std::lock_guard lock(mutex_);
    if (finished_) {
      return;
    }
    waiting_.push_back(std::move(bytes));
    if (!writing_) {
      write_next();
    }
  }

  void on_done(const google::rpc::Status& status) override {
    std::lock_guard lock(mutex_);
    if (finished_) {
      return;
    }
    ended_ = true;
    final_ = to_grpc(status);
    if (!writing_) {
      finish();
      return;
    }
    const bool slow = status.code() == static_cast<int>(StatusCode::kDeadlineExceeded);
    if (slow) {
      finish();  // the status follows the write that is outstanding
    }
    reset_after(slow ? kSlowReaderGrace : kLastWriteGrace);
  }

 private:
  void write_next() {
    writing_ = true;
    current_ = waiting_.front();  // shares the slices; lives until write_done
    waiting_.pop_front();
    if (call_) {
      call_->set_busy(true);
    }
    reactor_->StartWrite(&current_);
  }

  void finish() {
    finished_ = true;
    waiting_.clear();
    reactor_->Finish(final_);
  }

  void write_done(bool ok) {
    std::lock_guard lock(mutex_);
    writing_ = false;
    if (finished_) {
      return;
    }
    if (!ok) {
      abandon();
    } else if (!waiting_.empty()) {
      write_next();
    } else if (ended_) {
      finish();
    } else if (call_) {
      call_->set_busy(false);
    }
  }

  void cancelled() {
    std::lock_guard lock(mutex_);
    cancelled_ = true;
    abandon();
  }

  // The client is gone.
  void abandon() {
    if (call_) {
      call_->cancel();
    }
    if (!finished_) {
      final_ = grpc::Status(grpc::StatusCode::CANCELLED, "cancelled by the client");
      finish();
    }
  }

  void reactor_done() {
    std::unique_ptr<Call> call;
    {
      std::lock_guard lock(mutex_);
      reactor_ = nullptr;
      context_ = nullptr;
      call = std::move(call_);
      if (alarm_) {
        alarm_->Cancel();
      }
    }
    // `call` goes here, outside the lock.
  }

  void reset_after(seconds grace) {
    alarm_ = std::make_unique<grpc::Alarm>();
    alarm_->Set(system_clock::now() + grace, [weak = self_](bool expired) {
      const std::shared_ptr<Stream> stream = weak.lock();
      if (!expired || stream == nullptr) {
        return;
      }
      std::lock_guard lock(stream->mutex_);
      if (stream->context_ != nullptr) {
        stream->context_->TryCancel();
      }
    });
  }

  std::mutex mutex_;
  std::weak_ptr<Stream> self_;
  grpc::CallbackServerContext* context_;  // until OnDone
  Reactor* reactor_ = nullptr;            // until OnDone
  std::unique_ptr<Call> call_;
  std::deque<grpc::ByteBuffer> waiting_;  // a few: the service merges while a write is outstanding
  grpc::ByteBuffer current_;
  std::unique_ptr<grpc::Alarm> alarm_;
  grpc::Status final_;
  bool writing_ = false;
  bool ended_ = false;     // on_done came
  bool finished_ = false;  // Finish was called
  bool cancelled_ = false;
};

std::unique_ptr<Call> start_call(Service* service, const v1::GenerateRequest& request,
                                 const CallContext& context, std::shared_ptr<CallEvents> events) {
  return service->generate(request, context, std::move(events));
}
std::unique_ptr<Call> start_call(Service* service, const v1::ChatRequest& request,
                                 const CallContext& context, std::shared_ptr<CallEvents> events) {
  return service->chat(request, context, std::move(events));
}

}  // namespace

grpc::Status to_grpc(const google::rpc::Status& status) {
  if (status.code() == 0) {
    return grpc::Status::OK;
  }
  return {static_cast<grpc::StatusCode>(status.code()), status.message(),
          status.SerializeAsString()};
}

std::string client_header(const grpc::CallbackServerContext& context, const char* name) {
  const auto it = context.client_metadata().find(name);
  return it == context.client_metadata().end() ? std::string()
                                               : std::string(it->second.data(), it->second.size());
}

CallContext call_context(const grpc::CallbackServerContext& context, const Clock& clock) {
  CallContext out;
  out.peer = context.peer();
  const system_clock::time_point deadline = context.deadline();
  if (deadline != system_clock::time_point::max()) {
    const auto left =
        std::chrono::duration_cast<std::chrono::microseconds>(deadline - system_clock::now());
    const uint64_t now_us = clock.now_us();
    out.deadline_us = left.count() <= 0 ? now_us : now_us + static_cast<uint64_t>(left.count());
  }
  return out;
}

template <class Request>
grpc::ServerWriteReactor<grpc::ByteBuffer>* start_stream(grpc::CallbackServerContext* context,
                                                         const grpc::ByteBuffer& bytes,
                                                         const std::string& version,
                                                         Service* service) {
  const std::shared_ptr<Stream> stream = Stream::make(context);
  // Before anything can end the call: gRPC runs no reaction until the reactor is returned.
  grpc::ServerWriteReactor<grpc::ByteBuffer>* const reactor = stream->reactor();
  context->AddInitialMetadata("x-stet-version", version);
  Request request;
  const bool parsed = from_bytes(bytes, &request);
  if (!parsed) {
    request.Clear();  // what was read before the fault counts for nothing
  }
  if (request.request_id().empty()) {
    const std::string given = client_header(*context, "x-request-id");
    request.set_request_id(given.empty() ? draw_request_id() : given);
  }
  if (is_request_id(request.request_id())) {
    context->AddInitialMetadata("x-request-id", request.request_id());
  }
  if (!parsed) {
    const bool valid = is_request_id(request.request_id());
    stream->on_done(
        malformed_request().request_id(valid ? request.request_id() : draw_request_id()).build());
    return reactor;
  }
  stream->set_call(start_call(service, request, call_context(*context, service->clock()), stream));
  return reactor;
}

template grpc::ServerWriteReactor<grpc::ByteBuffer>* start_stream<v1::GenerateRequest>(
    grpc::CallbackServerContext*, const grpc::ByteBuffer&, const std::string&, Service*);
template grpc::ServerWriteReactor<grpc::ByteBuffer>* start_stream<v1::ChatRequest>(
    grpc::CallbackServerContext*, const grpc::ByteBuffer&, const std::string&, Service*);

}  // namespace stet::server
