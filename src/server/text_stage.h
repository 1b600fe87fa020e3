// The text thread: the one place from which receivers are called. It submits prepared calls, turns
// engine events into responses, merges what a busy receiver cannot take yet, and ends every call
// exactly once.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <variant>
#include <vector>

#include "google/rpc/status.pb.h"
#include "src/server/api_error.h"
#include "src/server/call_state.h"
#include "src/server/server_metrics.h"
#include "stet/base/bounded_queue.h"
#include "stet/base/clock.h"
#include "stet/base/thread_checker.h"
#include "stet/engine/engine.h"

namespace stet::server {

using CallPtr = std::shared_ptr<CallState>;

inline constexpr size_t kMaxWaitingBytes = 64u
                                           << 10;  // per call, then its sequences leave the batch
inline constexpr uint64_t kSlowReaderUs = 60'000'000;

// post_* and on_events from any thread; the rest is the text thread's.
class TextStage final : public engine::EventSink {
 public:
  // `on_ended` is called on the text thread, before the receiver's on_done: the request id is free
  // from then on.
  TextStage(const Clock* clock, ServerMetrics* metrics,
            std::function<void(const CallState&)> on_ended);
  ~TextStage() override;

  void start();
  // Ends what is left with UNAVAILABLE and joins. Posts after it end their call in the poster's
  // thread.
  void stop();

  // A step's events, one wake-up.
  void on_events(std::vector<engine::EngineEvent> events) override;
  void post_prepared(const CallPtr& call, std::vector<uint32_t> prompt_ids);
  void post_refused(const CallPtr& call, google::rpc::Status status);
  // Cancelled, or no longer busy while something waits. At most one is queued per call.
  void post_poke(CallPtr call);

 private:
  using Batch = std::vector<engine::EngineEvent>;
  struct Prepared {
    CallPtr call;
    std::vector<uint32_t> prompt_ids;
  };
  struct Refused {
    CallPtr call;
    google::rpc::Status status;
  };
  struct Poke {
    CallPtr call;
  };
  using Item = std::variant<Batch, Prepared, Refused, Poke>;

  void run();
  void handle(Batch& events);
  void handle(Prepared& prepared);
  void handle(Refused& refused);
  void handle(Poke& poke);
  // False: the queue is full and the call waits for room.
  bool submit(const Prepared& prepared);
  void submit_waiting();
  void take(CallState& call, engine::EngineEvent& event);
  void touch(const CallPtr& call);
  void flush_touched();
  void flush(const CallPtr& call);
  void send_waiting(CallState& call, bool all);
  void send_started(CallState& call, const std::vector<uint32_t>& prompt_ids);
  void send_summary(CallState& call);
  void hold(const CallPtr& call);
  void cancel(const CallPtr& call);
  void end(const CallPtr& call, const google::rpc::Status& status);
  void fail(const CallPtr& call, ApiError error);
  void check_stalled();

  const Clock* clock_;
  ServerMetrics* metrics_;
  const std::function<void(const CallState&)> on_ended_;
  // Unbounded by itself: its content is bounded by the calls in flight (two items each) and the
  // steps a text thread can lag behind, which receivers that must not block keep short.
  BoundedQueue<Item> queue_;
  std::jthread thread_;
  ThreadChecker owner_;
  std::unordered_map<RequestId, CallPtr> calls_;  // submitted and not ended
  // For room in the engine's queue, first come first served. One per sender (CallContext).
  std::deque<Prepared> waiting_for_room_;
  std::vector<CallPtr> touched_;
  std::vector<CallPtr> stalled_;
  v1::GenerateResponse scratch_;
};

}  // namespace stet::server
