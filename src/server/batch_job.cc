#include "src/server/batch_job.h"

#include <optional>
#include <utility>

#include "src/server/api_error.h"
#include "src/server/call_errors.h"
#include "src/server/message_checks.h"
#include "stet/base/check.h"

namespace stet::server {
namespace {

using MaybeError = std::optional<google::rpc::Status>;

// What Generate and Chat do not see of a request. The rest is checked where theirs is.
MaybeError check_envelope(const v1::GenerateBatchRequest& request) {
  v1::GenerateBatchRequest envelope;
  envelope.GetReflection()->MutableUnknownFields(&envelope)->MergeFrom(
      request.GetReflection()->GetUnknownFields(request));
  Violations violations;
  check_message(envelope, &violations);
  if (request.request_case() == v1::GenerateBatchRequest::REQUEST_NOT_SET) {
    violations.add(reason::kMalformed, "request", "one of generate and chat must be set");
  }
  if (request.end_of_group()) {
    violations.add(reason::kUnsupported, "end_of_group", "this server does not serve it");
  }
  return violations.empty() ? MaybeError() : ApiError(violations.take()).build();
}

template <class Request>
void set_defaults(Request* request) {
  if (request->output().mode() == v1::OUTPUT_MODE_UNSPECIFIED) {
    request->mutable_output()->set_mode(v1::OUTPUT_MODE_FINAL);
  }
  if (request->scheduling().service_class() == v1::SERVICE_CLASS_UNSPECIFIED) {
    request->mutable_scheduling()->set_service_class(v1::SERVICE_CLASS_BATCH);
  }
}

}  // namespace

class BatchJob::Receiver final : public CallEvents {
 public:
  Receiver(std::shared_ptr<BatchJob> job, std::string custom_id)
      : job_(std::move(job)), custom_id_(std::move(custom_id)) {}
  void on_event(const v1::GenerateResponse& event) override { job_->on_event(custom_id_, event); }
  void on_done(const google::rpc::Status& status) override { job_->on_done(custom_id_, status); }

 private:
  const std::shared_ptr<BatchJob> job_;
  const std::string custom_id_;
};

BatchJob::BatchJob(Service* service, const CallContext& context, JobTransport* transport)
    : service_(service), context_(context), transport_(transport) {
  context_.waits_for_room = true;
}

BatchJob::~BatchJob() = default;

// ---- from the transport

void BatchJob::start() {
  std::lock_guard lock(mutex_);
  go_on();
}

void BatchJob::on_request(v1::GenerateBatchRequest&& request) {
  const std::string custom_id = request.custom_id();
  {
    std::lock_guard lock(mutex_);
    reading_ = false;
    if (finished_) {
      return;
    }
    if (!take_custom_id(custom_id)) {
      return go_on();
    }
    if (const MaybeError error = check_envelope(request)) {
      send_error(custom_id, *error);
      return go_on();
    }
    running_.try_emplace(custom_id);
    taking_place_ = true;
  }
  // Without the lock: a service that has stopped reports to the receiver before this returns.
  auto receiver = std::make_shared<Receiver>(shared_from_this(), custom_id);
  std::unique_ptr<Call> call;
  if (request.has_generate()) {
    set_defaults(request.mutable_generate());
    call = service_->generate(request.generate(), context_, std::move(receiver));
  } else {
    set_defaults(request.mutable_chat());
    call = service_->chat(request.chat(), context_, std::move(receiver));
  }
  std::lock_guard lock(mutex_);
  const auto it = running_.find(custom_id);
  if (it != running_.end()) {
    it->second.call = std::move(call);
    if (throttled_) {
      it->second.call->set_busy(true);
    }
  }
  // Else it has ended already, or the job has: dropping a call cancels it.
}

void BatchJob::on_malformed() {
  std::lock_guard lock(mutex_);
  reading_ = false;
  end_reading(malformed_request().build());
  go_on();
}

void BatchJob::on_half_close() {
  std::lock_guard lock(mutex_);
  reading_ = false;
  end_reading(google::rpc::Status());
  go_on();
}

void BatchJob::on_written() {
  std::lock_guard lock(mutex_);
  writing_ = false;
  waiting_bytes_ -= current_.ByteSizeLong();
  if (finished_) {
    return;
  }
  if (!waiting_.empty()) {
    write_next();
  }
  if (throttled_) {
    // Either way the calls learn that their receiver has taken something.
    set_throttled(waiting_bytes_ > kMaxJobWaitingBytes / 2);
  }
  go_on();
}

void BatchJob::abort(const google::rpc::Status& status) {
  std::unordered_map<std::string, Running> left;
  std::lock_guard lock(mutex_);
  if (finished_) {
    return;
  }
  finished_ = true;
  waiting_.clear();
  left.swap(running_);  // goes after the lock, and with it every call
  transport_->finish(status);
}

void BatchJob::detach() {
  std::lock_guard lock(mutex_);
  STET_CHECK(finished_, "a transport goes after the end of its job");
  transport_ = nullptr;
}

// ---- from the service, on the text thread

void BatchJob::on_event(const std::string& custom_id, const v1::GenerateResponse& event) {
  v1::GenerateBatchResponse response;
  response.set_custom_id(custom_id);
  *response.mutable_event() = event;
  std::lock_guard lock(mutex_);
  const auto it = running_.find(custom_id);
  if (it == running_.end()) {
    return;  // the job has ended
  }
  send(std::move(response));
  if (event.has_started()) {
    it->second.has_place = true;
    taking_place_ = false;
    go_on();
  }
}

void BatchJob::on_done(const std::string& custom_id, const google::rpc::Status& status) {
  std::unique_ptr<Call> ended;  // goes after the lock
  std::lock_guard lock(mutex_);
  const auto it = running_.find(custom_id);
  if (it == running_.end()) {
    return;
  }
  if (!it->second.has_place) {
    taking_place_ = false;
  }
  ended = std::move(it->second.call);
  running_.erase(it);
  if (status.code() != 0) {
    send_error(custom_id, status);
  }
  go_on();
}

// ---- under mutex_

// False: nothing that follows is read.
bool BatchJob::take_custom_id(const std::string& custom_id) {
  std::string wrong;
  if (custom_id.empty() || custom_id.size() > kMaxCustomIdBytes) {
    wrong = std::to_string(custom_id.size()) + " bytes: must be in 1.." +
            std::to_string(kMaxCustomIdBytes);
  } else if (custom_ids_.size() == kMaxJobRequests && !custom_ids_.contains(custom_id)) {
    end_reading(ApiError(StatusCode::kResourceExhausted, reason::kTooLarge,
                         "custom_id: '" + clipped(custom_id, 80) + "' is request " +
                             std::to_string(kMaxJobRequests + 1) + " of this call: at most " +
                             std::to_string(kMaxJobRequests))
                    .build());
    return false;
  } else if (!custom_ids_.insert(custom_id).second) {
    wrong = "'" + clipped(custom_id, 80) + "' came before: must be new in this call";
  }
  if (wrong.empty()) {
    return true;
  }
  end_reading(ApiError({{reason::kOutOfRange, "custom_id", wrong}}).build());
  return false;
}

void BatchJob::end_reading(const google::rpc::Status& status) {
  all_read_ = true;
  final_ = status;
}

void BatchJob::send_error(const std::string& custom_id, const google::rpc::Status& status) {
  v1::GenerateBatchResponse response;
  response.set_custom_id(custom_id);
  v1::BatchError* error = response.mutable_error();
  error->set_code(status.code());
  error->set_message(status.message());
  error->set_details(status.SerializeAsString());
  send(std::move(response));
}

void BatchJob::send(v1::GenerateBatchResponse&& response) {
  waiting_bytes_ += response.ByteSizeLong();
  waiting_.push_back(std::move(response));
  if (!writing_) {
    write_next();
  }
  if (!throttled_ && waiting_bytes_ > kMaxJobWaitingBytes) {
    set_throttled(true);
  }
}

void BatchJob::write_next() {
  writing_ = true;
  current_ = std::move(waiting_.front());
  waiting_.pop_front();
  transport_->write(current_);
}

void BatchJob::set_throttled(bool throttled) {
  throttled_ = throttled;
  for (auto& [custom_id, running] : running_) {
    if (running.call != nullptr) {
      running.call->set_busy(throttled);
    }
  }
}

void BatchJob::go_on() {
  if (finished_ || reading_) {
    return;
  }
  if (!all_read_) {
    if (!taking_place_ && !throttled_) {
      reading_ = true;
      transport_->read_next();
    }
    return;
  }
  if (running_.empty() && !writing_) {
    finished_ = true;
    transport_->finish(final_);
  }
}

}  // namespace stet::server
