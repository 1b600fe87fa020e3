// What the engine accepts: immutable after Engine::submit.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "stet/base/ids.h"
#include "stet/base/sha256.h"
#include "stet/engine_types/sampling_params.h"

namespace stet {

enum class ServiceClass : uint8_t { kInteractive, kBatch };

// What a client says of the program (an agent, a workflow) that a request is a turn of.
// scheduler.md sec. 7; ranges: docs/parameters.md.
struct ProgramHints {
  std::string program_id;  // empty = none
  uint32_t turn = 0;       // of the program, counted by the client; 0 = not said
  bool end_of_program = false;
  bool expects_followup = false;  // another turn follows, after a call of the tool
  std::string tool_name;          // of expects_followup; may be empty
  uint64_t expected_gap_us = 0;   // from this turn's end to the next one's arrival; 0 = not said
};

struct Request {
  RequestId id;                            // set by Engine::submit
  std::string name;                        // the client's request_id, for logs
  std::vector<uint32_t> prompt_token_ids;  // >= 1
  std::vector<uint32_t>
      output_token_ids;  // non-empty only for Resume: tokens that were sampled before (n = 1)
  SamplingParams sampling;
  uint32_t num_choices = 1;    // n: that many Sequences
  uint64_t deadline_us = 0;    // on the engine's Clock; 0 = none
  uint8_t priority_class = 4;  // 0..7, 7 first
  ServiceClass service_class = ServiceClass::kInteractive;
  uint32_t expected_output_tokens = 0;  // the client's hint; 0 = none. Never shows in the answer
  uint64_t ttft_target_us = 0;     // first token after so long, from submission; 0 = the engine's
  uint64_t itl_target_us = 0;      // longest gap between two tokens; 0 = the engine's
  std::string tenant;              // whose request it is: service is shared evenly among tenants
  ProgramHints program{};          // never shows in the answer
  Sha256Digest cache_namespace{};  // root of the prefix-cache hash chain (C8): numerics id, tenant
                                   // salt, cache_salt
};

enum class FinishReason : uint8_t {
  kStop,    // a stop token was sampled
  kLength,  // max_tokens, or the model length
};

}  // namespace stet
