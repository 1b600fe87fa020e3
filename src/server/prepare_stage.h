// The prepare thread: renders and tokenises prompts beside the text thread, so that a long prompt
// does not hold up the streams. A bounded queue in front of it: a call takes its slot before any
// work is done for it.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <thread>
#include <vector>

#include "src/server/text_stage.h"
#include "stet/base/bounded_queue.h"
#include "stet/server/service.h"

namespace stet::server {

// Thread-safe, except start and stop.
class PrepareStage {
 public:
  PrepareStage(const Limits& limits, const Clock* clock, ServerMetrics* metrics, TextStage* text);
  ~PrepareStage();

  void start();
  void stop();  // refuses what is left and joins

  // The error if there is no slot (requests or bytes), else the call is under way to the text
  // stage. One that waits for room is taken above the bounds: whoever sent it has no other here.
  std::optional<ApiError> add(const CallPtr& call);

 private:
  void run();
  void prepare(const CallPtr& call);

  const Limits limits_;
  const Clock* clock_;
  ServerMetrics* metrics_;
  TextStage* text_;
  BoundedQueue<CallPtr> queue_;
  std::atomic<uint32_t> num_calls_{0};  // queued or being worked on
  std::atomic<uint64_t> num_bytes_{0};
  std::atomic<bool> stopping_{false};
  std::jthread thread_;
};

}  // namespace stet::server
