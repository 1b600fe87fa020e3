// What the scheduler sees of one moment: values only, so that the same view gives the same plan
// anywhere.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "stet/base/ids.h"

namespace stet::sched {

struct Learned;

// Whose earlier outputs say how long this one will be (output_lengths.h). Taken once, at arrival.
struct LengthClass {
  static constexpr uint32_t kNoClient = UINT32_MAX;
  uint32_t client_slot = kNoClient;  // of its (client, prompt bucket)
  uint32_t client_generation = 0;    // a slot that was given to another client since says nothing
  uint32_t prompt_bucket = 0;
};

// How far a sequence's output is, and what is known of its end.
struct OutputState {
  uint32_t num_outputs = 0;         // generated so far
  uint32_t max_tokens = 0;          // outputs at most
  uint32_t expected_outputs = 0;    // the client's hint; 0 = none
  bool runs_to_max_tokens = false;  // ignore_eos: nothing ends it earlier
  LengthClass length_class;
};

// A sequence with a block table.
struct RunningSeq {
  SeqId seq;
  uint64_t order_key = 0;            // of its request: smaller = older
  uint32_t num_known_tokens = 0;     // prompt + generated
  uint32_t num_computed_tokens = 0;  // positions whose KV exists; known - computed is what it wants
  uint32_t num_blocks = 0;           // in its table
  uint32_t num_exclusive_blocks =
      0;                    // that preempting it makes available; may be 0 while nothing is short
  uint32_t max_blocks = 0;  // for prompt + max_tokens
  uint32_t num_preemptions = 0;
  uint64_t itl_target_us = 0;  // longest gap between two of its tokens; 0 = none
  OutputState output{};
  std::span<const BlockId> table{};  // its blocks; absent: none of them is shared
  // Of these, the first so many that others hold too: whoever holds a block holds those before it.
  uint32_t num_shared_blocks = UINT32_MAX;  // at least; more than the table has = not known

  // Positions it wants computed: 1 = it decodes.
  uint32_t num_wanted_tokens() const { return num_known_tokens - num_computed_tokens; }
  std::span<const BlockId> shared_blocks() const {
    return table.first(std::min<size_t>(num_shared_blocks, table.size()));
  }
};

// A sequence that wants to start or to resume.
struct WaitingSeq {
  SeqId seq;
  uint64_t order_key = 0;
  uint32_t num_known_tokens = 0;
  uint32_t first_pos = 0;  // it would start here: prefix hit, or fork point
  uint32_t num_unreferenced_blocks =
      0;  // of the hit: sharing them takes them from the available ones
  uint32_t max_blocks = 0;
  uint32_t num_preemptions = 0;
  SeqId fork_source;  // a running sibling to fork from; SeqId{} = none
  uint64_t itl_target_us = 0;
  OutputState output{};
  std::span<const BlockId> table{};  // the blocks it would share; absent: none that anybody holds
};

struct SchedView {
  uint64_t step = 0;
  uint32_t block_tokens = 64;
  uint32_t num_blocks = 0;            // of the pool
  uint32_t num_available_blocks = 0;  // free, or cached and unreferenced
  uint32_t max_step_tokens = 0;       // of any step
  uint32_t token_budget = 0;          // of this one (token_budget.h); 0 = max_step_tokens
  // Positions that every later step leaves to prefills at least, while those run and wait that do
  // now; 0 = whatever max_step_tokens leaves beside the decodes.
  uint32_t least_prefill_tokens = 0;
  uint32_t short_first_percent = 0;  // of the prefill budget, to the shortest when several wait
  uint32_t chunk_cap = 0;            // largest prefill chunk
  uint32_t max_running = 0;
  uint32_t max_new_sequences = 0;         // that the backend can take in this step
  std::span<const RunningSeq> running{};  // oldest first
  std::span<const WaitingSeq> waiting{};  // in the order of the queue: its head, at least
  const Learned* learned = nullptr;       // what ended requests have taught; null: nothing yet
};

}  // namespace stet::sched
