// Everything the server knows of one call. Three kinds of fields: set before the call is handed
// over, shared between threads, and owned by the text thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/server/choice_stream.h"
#include "src/server/validate.h"
#include "stet/base/ids.h"
#include "stet/engine/engine.h"
#include "stet/server/service.h"

namespace stet::server {

struct CallState {
  // Set by the thread that starts the call, then by the prepare thread, before the text thread sees
  // them.
  std::string request_id;
  bool holds_request_id = false;  // it stands in the set of ids in flight
  std::shared_ptr<CallEvents> events;
  std::shared_ptr<const ServedModel> model;
  CallSpec spec;
  size_t request_bytes = 0;
  bool waits_for_room = false;  // CallContext
  uint64_t received_us = 0;
  uint64_t deadline_us = 0;

  // Shared.
  std::atomic<bool> cancelled{false};
  std::atomic<bool> busy{false};         // the receiver has a write outstanding
  std::atomic<bool> has_waiting{false};  // something would be sent if it had not
  std::atomic<bool> poked{false};        // a poke of this call is in the text queue
  std::atomic<uint64_t> progress_us{0};  // when the receiver last said anything

  // Owned by the text thread.
  bool ended = false;  // on_done was called
  bool started = false;
  bool touched = false;  // in the list of calls to flush
  bool stalled = false;  // in the list of calls to watch
  bool parked = false;
  RequestId engine_id;
  uint32_t prompt_tokens = 0;
  uint64_t next_seq = 0;
  std::vector<ChoiceStream> choices;
  std::optional<engine::EngineEvent> end;  // the engine's last word

  bool all_choices_finished() const {
    for (const ChoiceStream& choice : choices) {
      if (!choice.finished()) {
        return false;
      }
    }
    return true;
  }
};

}  // namespace stet::server
