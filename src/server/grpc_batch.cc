#include "src/server/grpc_batch.h"

#include <grpcpp/alarm.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <mutex>
#include <utility>

#include "src/server/api_error.h"
#include "src/server/batch_job.h"
#include "src/server/call_errors.h"
#include "src/server/grpc_bytes.h"
#include "src/server/grpc_stream.h"
#include "src/server/validate.h"

namespace stet::server {
namespace {

using grpc::ByteBuffer;
using std::chrono::seconds;
using std::chrono::system_clock;

using BatchReactor = grpc::ServerBidiReactor<ByteBuffer, ByteBuffer>;
using OpenJobs = std::shared_ptr<std::atomic<uint32_t>>;

constexpr uint64_t kJobRetryUs = 10'000'000;  // jobs are long
// A reader that has taken nothing for so long is gone, whatever its connection says; a slow one may
// be seen after twice the time.
constexpr seconds kStallTime{60};
constexpr seconds kLastWordsTime{5};  // then the stream is reset

// The transport of a job. It is shared: an alarm may fire after the reactor is gone.
class BatchStream final : public JobTransport, public std::enable_shared_from_this<BatchStream> {
 public:
  class Reactor final : public BatchReactor {
   public:
    explicit Reactor(std::shared_ptr<BatchStream> stream) : stream_(std::move(stream)) {}
    void OnReadDone(bool ok) override { stream_->read_done(ok); }
    void OnWriteDone(bool ok) override { stream_->write_done(ok); }
    void OnCancel() override { stream_->cancelled(); }
    void OnDone() override {
      stream_->reactor_done();
      delete this;
    }

   private:
    const std::shared_ptr<BatchStream> stream_;
  };

  BatchStream(grpc::CallbackServerContext* context, std::string request_id, OpenJobs num_open)
      : request_id_(std::move(request_id)), num_open_(std::move(num_open)), context_(context) {}

  BatchReactor* start(Service* service, const CallContext& call_context) {
    auto* const reactor = new Reactor(shared_from_this());  // gRPC's OnDone deletes it
    reactor_ = reactor;
    job_ = std::make_shared<BatchJob>(service, call_context, this);
    job_->start();
    return reactor;
  }

  // ---- JobTransport: gRPC calls no reaction from inside these
  void read_next() override { reactor_->StartRead(&incoming_); }

  void write(const v1::GenerateBatchResponse& response) override {
    outgoing_ = to_bytes(response);
    {
      std::lock_guard lock(mutex_);
      writing_ = true;
      if (!watching_) {
        watch();
      }
    }
    reactor_->StartWrite(&outgoing_);
  }

  void finish(const google::rpc::Status& status) override {
    reactor_->Finish(to_grpc(status.code() == 0 ? status : with_request_id(status, request_id_)));
  }

 private:
  void read_done(bool ok) {
    v1::GenerateBatchRequest request;
    if (!ok) {
      job_->on_half_close();
    } else if (from_bytes(incoming_, &request)) {
      incoming_.Clear();
      job_->on_request(std::move(request));
    } else {
      job_->on_malformed();
    }
  }

  void write_done(bool ok) {
    {
      std::lock_guard lock(mutex_);
      writing_ = false;
      ++num_written_;
    }
    if (ok) {
      job_->on_written();
    } else {
      cancelled();
    }
  }

  void cancelled() { job_->abort(cancelled_by_client().build()); }

  void reactor_done() {
    job_->detach();
    num_open_->fetch_sub(1);
    std::lock_guard lock(mutex_);
    context_ = nullptr;
    if (alarm_ != nullptr) {
      alarm_->Cancel();
    }
  }

  // Under mutex_. One alarm at a time, so that a write costs none.
  void watch() {
    watching_ = true;
    set_alarm(kStallTime, [seen = num_written_](BatchStream* stream) { stream->look(seen); });
  }

  void look(uint64_t num_written_before) {
    {
      std::lock_guard lock(mutex_);
      watching_ = false;
      if (context_ == nullptr || !writing_) {
        return;
      }
      if (num_written_ != num_written_before) {
        return watch();
      }
      set_alarm(kLastWordsTime, [](BatchStream* stream) { stream->reset(); });
    }
    job_->abort(slow_reader().build());
  }

  void reset() {
    std::lock_guard lock(mutex_);
    if (context_ != nullptr) {
      context_->TryCancel();
    }
  }

  template <class Then>
  void set_alarm(seconds time, Then then) {
    alarm_ = std::make_unique<grpc::Alarm>();  // the old one's function may still be running
    alarm_->Set(system_clock::now() + time, [weak = weak_from_this(), then](bool expired) {
      const std::shared_ptr<BatchStream> stream = weak.lock();
      if (expired && stream != nullptr) {
        then(stream.get());
      }
    });
  }

  Reactor* reactor_ = nullptr;  // until OnDone
  const std::string request_id_;
  const OpenJobs num_open_;
  std::shared_ptr<BatchJob> job_;
  ByteBuffer incoming_, outgoing_;  // of the read and the write that are outstanding

  std::mutex mutex_;                      // a leaf; what follows is under it
  grpc::CallbackServerContext* context_;  // until OnDone
  std::unique_ptr<grpc::Alarm> alarm_;
  uint64_t num_written_ = 0;
  bool writing_ = false;
  bool watching_ = false;
};

class RefusedJob final : public BatchReactor {
 public:
  explicit RefusedJob(const google::rpc::Status& status) { Finish(to_grpc(status)); }
  void OnDone() override { delete this; }
};

}  // namespace

BatchReactor* start_batch(grpc::CallbackServerContext* context, const std::string& version,
                          Service* service, OpenJobs num_open) {
  context->AddInitialMetadata("x-stet-version", version);
  std::string request_id = client_header(*context, "x-request-id");
  if (!is_request_id(request_id)) {
    request_id = draw_request_id();
  }
  context->AddInitialMetadata("x-request-id", request_id);
  const uint32_t open = num_open->fetch_add(1) + 1;
  if (open > kMaxOpenJobs) {
    num_open->fetch_sub(1);
    ApiError full = queue_full("calls of GenerateBatch", kMaxOpenJobs, open, kJobRetryUs);
    return new RefusedJob(full.request_id(request_id).build());
  }
  const auto stream =
      std::make_shared<BatchStream>(context, std::move(request_id), std::move(num_open));
  return stream->start(service, call_context(*context, service->clock()));
}

}  // namespace stet::server
