#include "src/proxy/generation.h"

#include <utility>

#include "src/proxy/fields.h"
#include "stet/v1/model.pb.h"

namespace stet::proxy {
namespace {

EosTest eos_test(InferenceClient* client) {
  return [client](const std::string& model, uint32_t id) {
    return is_eos(client->models(), model, id);
  };
}

}  // namespace

HttpResponse error_response(const ApiError& error) {
  HttpResponse response;
  response.status = error.http_status;
  response.body = error_json(error);
  if (error.retry_after_s > 0) {
    response.headers.emplace_back("retry-after", std::to_string(error.retry_after_s));
  }
  if (error.should_retry) {
    response.headers.emplace_back("x-should-retry", *error.should_retry ? "true" : "false");
  }
  if (error.http_status == 401) {
    response.headers.emplace_back("www-authenticate", "Bearer");
  }
  return response;
}

Generation::Generation(ApiCall call, const GenerationTimes& times, const Clock* clock,
                       InferenceClient* client, ResponseSink* sink)
    : call_(std::move(call)),
      times_(times),
      clock_(clock),
      client_(client),
      sink_(sink),
      order_(call_.shape.num_choices),
      stream_(call_.route, call_.shape, call_.request_id(), eos_test(client)),
      whole_(call_.route, call_.shape, call_.request_id(), eos_test(client)) {}

void Generation::start(const std::shared_ptr<Generation>& self, const CallOptions& options,
                       const std::shared_ptr<EventMailbox>& mailbox) {
  last_write_us_ = clock_->now_us();
  auto events = std::make_shared<MailboxEvents>(mailbox, self);
  handle_ = call_.route == ApiRoute::kChat
                ? client_->chat(call_.chat, options, std::move(events))
                : client_->generate(call_.generate, options, std::move(events));
}

void Generation::on_event(v1::GenerateResponse&& event) {
  if (sink_ == nullptr) {
    return;
  }
  if (!order_.accept(event)) {
    fail(internal_api_error("the inference daemon broke the order of events"));
    return;
  }
  if (call_.shape.stream) {
    stream_.write(event, &pending_);
  } else {
    whole_.add(std::move(event));
  }
}

void Generation::on_done(const google::rpc::Status& status) {
  if (sink_ == nullptr) {
    return;
  }
  if (status.code() != 0) {
    fail(error_from_rpc(
        status, [this](const std::string& path) { return param_of_proto_path(call_, path); }));
  } else if (!order_.complete()) {
    fail(internal_api_error("the inference daemon ended the answer early"));
  } else {
    finish();
  }
}

void Generation::finish() {
  handle_.reset();
  ResponseSink* sink = sink_;
  if (!call_.shape.stream) {
    sink_ = nullptr;
    HttpResponse response;
    response.body = whole_.json();
    response.headers = answer_headers();
    sink->send(std::move(response));
    return;
  }
  begin_stream();
  stream_.write_end(&pending_);
  sink_ = nullptr;
  sink->stream(std::exchange(pending_, {}));
  sink->end_stream();
}

void Generation::fail(const ApiError& error) {
  handle_.reset();  // cancels what still runs
  if (call_.shape.stream && stream_.has_output()) {
    begin_stream();  // tokens came, perhaps in the same wake-up: the client gets them
  }
  ResponseSink* sink = std::exchange(sink_, nullptr);
  if (!stream_begun_) {
    sink->send(error_response(error));
    return;
  }
  StreamWriter::write_error(error, &pending_);
  sink->stream(std::exchange(pending_, {}));
  sink->end_stream();
}

void Generation::begin_stream() {
  if (!stream_begun_) {
    stream_begun_ = true;
    sink_->begin_stream(answer_headers());
  }
}

void Generation::flush() {
  if (sink_ == nullptr || !call_.shape.stream || !(stream_begun_ || stream_.has_output())) {
    return;
  }
  begin_stream();
  if (!pending_.empty()) {
    last_write_us_ = clock_->now_us();
    sink_->stream(pending_);
    pending_.clear();
  }
}

void Generation::abandon() {
  sink_ = nullptr;
  if (handle_ != nullptr) {
    handle_->cancel();
    handle_.reset();
  }
}

void Generation::set_backlog(size_t bytes) {
  if (handle_ != nullptr) {
    handle_->set_backlog(bytes);
  }
}

uint64_t Generation::wake_at_us() const {
  if (sink_ == nullptr || !call_.shape.stream) {
    return UINT64_MAX;
  }
  return last_write_us_ +
         (stream_begun_ ? times_.keep_alive_comment_us : times_.first_byte_wait_us);
}

void Generation::on_wake(uint64_t now_us) {
  if (now_us < wake_at_us() || sink_ == nullptr) {
    return;
  }
  last_write_us_ = now_us;
  if (stream_begun_) {
    sink_->stream(": keep-alive\n\n");
  } else {
    begin_stream();  // the status line waits no longer
  }
}

HeaderList Generation::answer_headers() const {
  if (call_.unknown_fields.empty()) {
    return {};
  }
  // Names are the client's: only harmless characters, and not without end.
  std::string names = "unknown-fields:";
  for (const std::string& name : call_.unknown_fields) {
    names += ' ';
    for (const char c : name.substr(0, 64)) {
      const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                         (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
      names += plain ? c : '?';
    }
    if (names.size() > 1024) {
      names += " ...";
      break;
    }
  }
  return {{"stet-warning", names}};
}

}  // namespace stet::proxy
