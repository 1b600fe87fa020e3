// The transport-free service layer: validate, render the template, tokenise, submit, turn engine
// events into responses. gRPC reactors (src/server/grpc_*) and the daemon's LocalClient are thin
// adapters over it; tests drive it directly.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "stet/base/clock.h"
#include "stet/base/status.h"
#include "stet/engine/engine.h"
#include "stet/obs/metrics.h"
#include "stet/text/chat_template.h"
#include "stet/text/tokenizer.h"

namespace google::rpc {
class Status;
}
namespace stet::v1 {
class ChatRequest;
class GenerateRequest;
class GenerateResponse;
class Model;
}  // namespace stet::v1

namespace stet::server {

// Receives one call's events on the text thread, one at a time; must not block.
class CallEvents {
 public:
  virtual ~CallEvents() = default;
  // `mergeable` deltas: while the receiver is busy (set_busy) the service merges them into the next
  // one.
  virtual void on_event(const v1::GenerateResponse& event) = 0;
  virtual void on_done(const google::rpc::Status& status) = 0;  // last, exactly once
};

class Call {
 public:
  virtual ~Call() = default;  // cancels if still running
  virtual void cancel() = 0;  // idempotent, any thread
  // A write is outstanding: deltas of a choice are merged until set_busy(false). Each call counts
  // as progress of the receiver: output that waits for 60 s without any ends the call
  // (slow_reader). Any thread.
  virtual void set_busy(bool busy) = 0;
};

struct CallContext {
  uint64_t deadline_us = 0;  // on the clock; 0 = none
  std::string peer;
  // Waits for its place in a full queue instead of being refused with queue_full. Whoever sets it
  // bounds how many of its calls have not had Started yet.
  bool waits_for_room = false;
};

// Caps of api.md sec. 2.1; configuration under `limits`.
struct Limits {
  uint32_t max_n = 8;
  uint32_t max_logprobs = 20;
  uint32_t max_stop_strings = 16;
  uint32_t max_stop_bytes = 256;
  uint32_t max_logit_bias = 1024;
  uint64_t max_request_bytes = 4u << 20;
  uint32_t max_output_tokens = 0;  // 0 = model length
  uint64_t max_request_us = 3'600'000'000;
  uint32_t max_messages = 1024;
  // Calls whose prompts wait to be rendered and tokenised; more are refused with queue_full.
  uint32_t max_preparing_calls = 256;
  uint64_t max_preparing_bytes = 64u << 20;
};

// A served model, as the server sees it. Everything outlives the service.
struct ServedModel {
  std::string id;  // "SmolLM2-135M-Instruct.Q4_1"
  std::string architecture, quantisation;
  std::string fingerprint;  // "stet-<numerics id>-<8 hex>"
  uint32_t vocab_size = 0;
  engine::Engine* engine = nullptr;  // null until attach_engine
  std::shared_ptr<const text::Tokenizer> tokenizer;
  std::shared_ptr<const text::ChatTemplate> chat_template;
  std::string tenant_salt;  // random per start unless configured: part of every cache namespace
  std::string kv_mode = "paged";
};

enum class ServingState : uint8_t {
  kStarting,
  kLoading,
  kWarming,
  kReady,
  kDegraded,
  kDraining,
  kStopped
};
std::string_view serving_state_name(ServingState state);  // "ready"

// Thread-safe.
class Service {
 public:
  static std::unique_ptr<Service> create(const Limits& limits, const Clock* clock,
                                         obs::Metrics* metrics);
  virtual ~Service() = default;

  // The sink to give to Engine::create; owned by the service.
  virtual engine::EventSink* engine_sink() = 0;
  virtual void add_model(ServedModel model) = 0;  // the first one is the default
  // Refuses calls with `loading` or `degraded`. kDraining alone refuses nothing: in the time of
  // drain.announce calls are still taken, until Engine::begin_drain refuses them.
  virtual void set_state(ServingState state) = 0;
  virtual ServingState state() const = 0;
  virtual const Clock& clock() const = 0;

  // Errors, too, come through `events` on the text thread (after stop: in the caller's thread,
  // before this returns).
  virtual std::unique_ptr<Call> generate(const v1::GenerateRequest& request,
                                         const CallContext& context,
                                         std::shared_ptr<CallEvents> events) = 0;
  virtual std::unique_ptr<Call> chat(const v1::ChatRequest& request, const CallContext& context,
                                     std::shared_ptr<CallEvents> events) = 0;
  virtual std::vector<v1::Model> models() const = 0;
  virtual const engine::Engine* default_engine() const = 0;  // null until there is one
  virtual size_t num_calls() const = 0;                      // in flight
  virtual void stop() = 0;  // joins the text threads; every call has ended then
};

}  // namespace stet::server
