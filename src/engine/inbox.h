// The door of the engine: counts queue slots, refuses what cannot be queued, and hands commands to
// the step thread.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "stet/engine/engine.h"

namespace stet::engine {

struct RequestState;

enum class CommandKind : uint8_t { kSubmit, kCancel, kFinishChoice, kPark, kUnpark, kAbortAll };

struct Command {
  CommandKind kind = CommandKind::kSubmit;
  RequestId request_id;
  uint32_t choice = 0;                 // kFinishChoice
  std::unique_ptr<Request> request{};  // kSubmit
  uint64_t at_us = 0;                  // when it was given
};

struct InboxLimits {
  uint64_t max_requests = 0;       // queued; a request of n choices counts n
  uint64_t max_prompt_tokens = 0;  // queued
  uint64_t max_total_tokens = 0;   // prompt + max_tokens of one request
};

// Submissions are bounded by the queue slots. Orders to accepted requests (cancel, park ...) are
// always taken: refusing them would keep work alive that nobody wants; their number is bounded by
// the callers, a few per request. Thread-safe.
class Inbox {
 public:
  explicit Inbox(const InboxLimits& limits);

  // Takes a queue slot and the next id, or says which bound refused. Never blocks on the step
  // thread.
  Submission submit(Request request, uint64_t now_us);
  // As submit with kWaitingSharePercent of the bounds; see Engine::submit_or_wait.
  Submission submit_or_wait(Request request, uint64_t now_us);
  void push(Command command);  // ignored when stopped
  // From now on submissions are refused with `refusal` (kDraining, then kStopped).
  void close(Refusal refusal);

  // Step thread: takes all commands (`out` is cleared first).
  void drain(std::vector<Command>* out);
  Refusal closed() const;

  // Step thread: until a command comes or the time is over. UINT64_MAX = no limit.
  void wait(uint64_t timeout_us);
  void wake();  // ends one wait
  // Step thread: a request left the queue. Learns the pace for retry_after. True: somebody waits
  // for room and there is some; he has to be told.
  [[nodiscard]] bool free_slot(const RequestState& state, uint64_t now_us);

  uint64_t num_queued_prompt_tokens() const;

 private:
  Submission take_slot(Request request, const InboxLimits& limits, uint64_t now_us);
  // kNone, or the bound that is full. Under mutex_.
  Submission check_room(uint64_t num_choices, uint64_t prompt_tokens,
                        const InboxLimits& limits) const;
  Submission refuse_full(uint64_t limit, uint64_t requested) const;

  const InboxLimits limits_;
  const InboxLimits waiting_limits_;  // for those that wait
  mutable std::mutex mutex_;
  std::condition_variable ready_;
  std::vector<Command> commands_;
  Refusal closed_ = Refusal::kNone;
  bool woken_ = false;
  bool room_wanted_ = false;  // submit_or_wait found none since the last kQueueRoom
  uint64_t next_id_ = 1;
  uint64_t num_requests_ = 0;
  uint64_t num_prompt_tokens_ = 0;
  uint64_t last_freed_us_ = 0;
  double mean_interval_us_ = 0.0;  // between two slots becoming free
};

}  // namespace stet::engine
