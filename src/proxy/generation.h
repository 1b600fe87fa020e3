// One inference request between its connection and the InferenceClient: starts the call, turns its
// events into the answer, keeps the stream's times, cancels when the connection goes.
#pragma once

#include <memory>
#include <string>

#include "src/proxy/api_call.h"
#include "src/proxy/api_error.h"
#include "src/proxy/event_mailbox.h"
#include "src/proxy/event_order.h"
#include "src/proxy/http_types.h"
#include "src/proxy/stream_writer.h"
#include "src/proxy/whole_answer.h"
#include "stet/base/clock.h"
#include "stet/proxy/inference_client.h"

namespace stet::proxy {

struct GenerationTimes {
  uint64_t first_byte_wait_us = 0;
  uint64_t keep_alive_comment_us = 0;
};

// Owned by the I/O thread.
class Generation final : public EventReceiver {
 public:
  Generation(ApiCall call, const GenerationTimes& times, const Clock* clock,
             InferenceClient* client, ResponseSink* sink);

  // `self` is this: what the mailbox may hold on to.
  void start(const std::shared_ptr<Generation>& self, const CallOptions& options,
             const std::shared_ptr<EventMailbox>& mailbox);

  void on_event(v1::GenerateResponse&& event) override;
  void on_done(const google::rpc::Status& status) override;
  void flush() override;

  // The connection is gone or closes: cancels, and never touches the sink again.
  void abandon();
  void set_backlog(size_t bytes);
  // When on_wake wants to be called; UINT64_MAX: never.
  uint64_t wake_at_us() const;
  void on_wake(uint64_t now_us);

 private:
  void begin_stream();
  void fail(const ApiError& error);
  void finish();
  HeaderList answer_headers() const;

  const ApiCall call_;
  const GenerationTimes times_;
  const Clock* const clock_;
  InferenceClient* const client_;
  ResponseSink* sink_;  // null: answered or abandoned
  EventOrder order_;
  StreamWriter stream_;
  WholeAnswer whole_;
  std::unique_ptr<CallHandle> handle_;
  std::string pending_;  // frames since the last flush
  bool stream_begun_ = false;
  uint64_t last_write_us_ = 0;  // start, before the first one
};

// The whole answer for an error, with the headers it asks for.
HttpResponse error_response(const ApiError& error);

}  // namespace stet::proxy
