// What a backend receives for one step, and what it gives back. Flat arrays, no pointers: a worker
// may live in another process. Made by KvCache::commit(plan) and the engine; consumed by
// Backend::submit.
#pragma once

#include <cstdint>
#include <vector>

#include "stet/base/ids.h"
#include "stet/engine_types/sampling_params.h"
#include "stet/engine_types/step_plan.h"

namespace stet {

// All a backend needs to (re)build the sampling state of a sequence. First start, re-admission
// after preemption, worker loss and Resume all send the same record.
struct NewSequence {
  SeqId seq;
  SamplingParams sampling;
  uint32_t choice = 0;      // index within the request: part of the sampling counter (C7)
  uint32_t max_blocks = 0;  // blocks it can ever hold: an address range is reserved for that many
  std::vector<uint32_t> prompt_token_ids;
  std::vector<uint32_t> output_token_ids;
  friend bool operator==(const NewSequence&, const NewSequence&) = default;
};

enum class KvOpKind : uint8_t {
  kAppend,     // slots become private, writable blocks at the end of the table
  kShare,      // slots become read-only aliases at the end of the table
  kPrivatise,  // copy block `first` into slots[0] and use that (copy-on-write)
  kTruncate,   // keep the first `first` blocks
  kDropFront,  // forget blocks before `first` (sliding window)
  kDestroy,    // forget the sequence: table and sampling state
  kCopy,       // copy slots[0] to slots[1], no table involved
  kReplace,    // block `first` becomes a read-only alias of slots[0], which holds equal bytes
               // (duplicate content)
};

// One operation on a sequence's block table; applied in order, before the rows of the step are
// computed.
struct KvOp {
  KvOpKind kind = KvOpKind::kAppend;
  uint8_t group = 0;  // KV group (layers with one KV shape and lifetime)
  SeqId seq;
  uint32_t first = 0;
  uint32_t slot_offset = 0;  // into StepBatch::kv_slots
  uint32_t num_slots = 0;
  friend bool operator==(const KvOp&, const KvOp&) = default;
};

// Consecutive positions of one sequence. Tokens stand in StepBatch::token_ids[token_offset ...].
struct BatchRow {
  SeqId seq;
  uint32_t first_pos = 0;
  uint32_t n_pos = 0;
  uint32_t token_offset = 0;
  bool sample = false;  // sample from the last of these positions
  friend bool operator==(const BatchRow&, const BatchRow&) = default;
};

// May hold operations and no rows: an idle engine still has sequences destroyed.
struct StepBatch {
  uint64_t step = 0;
  std::vector<KvOp> kv_ops;  // kDestroy of a sequence may come in any step after its last row
  std::vector<BlockId> kv_slots;
  std::vector<NewSequence> new_sequences;  // created before kv_ops are applied
  std::vector<BatchRow> rows;
  std::vector<uint32_t> token_ids;
  std::vector<PrefixGroup> groups;

  void clear();  // keeps capacity
  friend bool operator==(const StepBatch&, const StepBatch&) = default;
};

struct TopLogprob {
  uint32_t token_id = 0;
  float logprob = 0.0f;
  friend bool operator==(const TopLogprob&, const TopLogprob&) = default;
};

struct SampledToken {
  SeqId seq;
  uint32_t token_id = 0;
  float logprob = 0.0f;     // raw log-softmax (C7); 0 when log-probabilities were not asked for
  uint32_t rank = 0;        // 1 = most likely; 0 when not asked for
  uint32_t top_offset = 0;  // into StepResult::top
  uint32_t num_top = 0;
  friend bool operator==(const SampledToken&, const SampledToken&) = default;
};

// A non-finite or overflowing row (C3): ends its own request, touches no other (C9).
struct RowFault {
  SeqId seq;
  int32_t layer = 0;  // -1 = embedding, num_layers = head
  uint32_t position = 0;
  friend bool operator==(const RowFault&, const RowFault&) = default;
};

struct StepResult {
  uint64_t step = 0;
  std::vector<SampledToken> sampled;  // in row order, one per sampling row without a fault
  std::vector<TopLogprob> top;        // per token: sorted by logprob descending, then id
  std::vector<RowFault> faults;       // at most one per row
  uint64_t step_us = 0;               // time on the device

  void clear();  // keeps capacity
};

}  // namespace stet
