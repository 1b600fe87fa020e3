// Where steps are computed. CPU and Fake are Backends (CUDA will be one); the engine knows nothing
// else of a device.
#pragma once

#include <cstdint>
#include <string>

#include "stet/engine_types/step_batch.h"
#include "stet/executor/kv_memory_stats.h"

namespace stet::executor {

struct BackendInfo {
  std::string name;            // "cpu", "fake"
  std::string device;          // "avx512vnni, 2 threads"
  uint32_t num_blocks = 0;     // slots of the KV pool
  uint32_t block_tokens = 64;  // positions per block, a multiple of 64
  uint32_t vocab_size = 0;
  uint32_t max_model_len = 0;    // the model's context, in tokens
  uint32_t max_step_tokens = 0;  // rows a step may have: scratch is sized for it
  uint32_t max_sequences = 0;    // sequences that may exist at once
};

struct Ticket {
  uint64_t step = 0;
};

// Owns weights, KV bytes, sampling state and scratch. Called by one thread (the step thread); at
// most two tickets in flight. submit never fails for a valid batch: an invalid one is a broken
// invariant. No allocation after warm-up.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual const BackendInfo& info() const = 0;
  virtual Ticket submit(const StepBatch& batch) = 0;
  // Blocks until that step is done. `result` keeps its capacity between calls.
  virtual void wait(Ticket ticket, StepResult* result) = 0;
  // What KV bytes hold and cost, for metrics; zeros where there are none. Between steps.
  virtual KvMemoryStats kv_stats() const { return {}; }
};

}  // namespace stet::executor
