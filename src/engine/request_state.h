// What the step thread knows of a request and of its choices.
#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <tuple>
#include <vector>

#include "stet/engine/engine.h"
#include "stet/engine_types/request.h"
#include "stet/sched/client_shares.h"
#include "stet/sched/programs.h"
#include "stet/sched/sched_view.h"

namespace stet::engine {

struct RequestState;

enum class SeqStatus : uint8_t {
  kWaiting,   // in the queue: never started, preempted, or back from parking
  kRunning,   // has a block table
  kParked,    // its reader is slow: neither queued nor running
  kFinished,  // no further events
};

// Progress of one choice. Owned by its RequestState.
struct Sequence {
  SeqId id;
  RequestState* owner = nullptr;
  uint32_t choice = 0;
  SeqStatus status = SeqStatus::kWaiting;
  std::vector<uint32_t> token_ids;  // prompt, then outputs
  uint32_t num_computed_tokens = 0;
  uint32_t max_blocks = 0;  // for prompt + max_tokens
  uint32_t num_preemptions = 0;
  bool following = false;  // it waits while others compute what it shares with them
  uint64_t last_token_us = 0;
  uint32_t num_outputs() const;
};

struct RequestState {
  Request request;  // prompt and output ids moved into the sequences
  uint32_t prompt_len = 0;
  uint64_t order_key = 0;
  sched::ClientId client;
  sched::ProgramId program;
  sched::LengthClass length_class;
  RequestTimes times;
  std::vector<std::unique_ptr<Sequence>> choices;
  uint32_t num_unfinished = 0;
  uint32_t cached_prompt_tokens = 0;
  uint32_t num_preemptions = 0;
  double prefill_token_equivalents = 0.0;  // so far
  uint64_t longest_gap_us = 0;             // between two tokens of a choice
  uint32_t num_generated = 0;              // over all choices, resumed ones excluded
  bool parked = false;
  bool holds_queue_slot = true;  // until first scheduled or ended
};

inline uint32_t Sequence::num_outputs() const {
  return static_cast<uint32_t>(token_ids.size()) - owner->prompt_len;
}

// Oldest first; the choices of a request in their order. Total, so that runs repeat.
struct OlderThan {
  bool operator()(const Sequence* a, const Sequence* b) const {
    return std::tuple(a->owner->order_key, a->owner->request.id, a->choice) <
           std::tuple(b->owner->order_key, b->owner->request.id, b->choice);
  }
};

}  // namespace stet::engine
