// The CPU backend: walks the model's recipe through a KernelTable on a thread pool; KV paged or
// virtual.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "stet/base/status.h"
#include "stet/executor/backend.h"
#include "stet/executor/kv_memory.h"
#include "stet/kernels/kernel_table.h"
#include "stet/model/model.h"

namespace stet::executor {

struct CpuBackendOptions {
  std::shared_ptr<const model::Model> model;
  const kernels::KernelTable* table = nullptr;  // null = kernels::best_table()
  uint32_t num_threads = 1;                     // the calling thread is one of them
  uint32_t num_blocks = 0;
  uint32_t block_tokens = 64;      // multiple of 64
  uint32_t max_step_tokens = 256;  // rows of a step
  uint32_t max_sequences = 32;
  KvMode kv_mode = KvMode::kPaged;
  bool prefault_kv = false;  // virtual mode: the pool's pages get their memory in create()
  bool guard_kv = false;     // tests, virtual mode: addresses that were given up fault
  uint64_t kv_max_maps = 0;  // tests, virtual mode: instead of vm.max_map_count
  bool poison_kv =
      false;  // tests: new and released blocks are filled with NaN before anybody writes them
};

// What a step spends its time on.
enum class Verb : uint8_t {
  kKvOps,
  kEmbed,
  kNorm,
  kQkv,
  kRope,
  kAttention,
  kAttnOut,
  kGateUp,
  kGate,
  kDown,
  kHead,
  kSample,
};
inline constexpr int kNumVerbs = 12;
const char* verb_name(Verb verb);  // "attention"

// Sums since the last reset.
struct StepTimings {
  uint64_t num_steps = 0;
  uint64_t num_rows = 0;
  uint64_t num_grouped_rows = 0;  // of these, attended over a shared prefix together
  uint64_t total_ns = 0;
  std::array<uint64_t, kNumVerbs> verb_ns{};
};

// A step is computed inside submit(), on the calling thread and num_threads - 1 workers; wait()
// hands the result over. submit() leaves the calling thread in the float environment of C4. Owned
// by the step thread.
class CpuBackend : public Backend {
 public:
  static Result<std::unique_ptr<CpuBackend>> create(const CpuBackendOptions& options);
  // Bytes of step scratch and sampling state that create() takes beside weights and KV: a row of
  // the memory plan.
  static uint64_t scratch_bytes(const model::HyperParams& hyper, uint32_t num_threads,
                                uint32_t max_step_tokens, uint32_t max_sequences);

  virtual StepTimings timings() const = 0;
  virtual void reset_timings() = 0;
  // The bytes of one block of the KV pool, for tests and digests. Not while a step runs.
  virtual std::span<std::byte> kv_block(BlockId block) = 0;
};

}  // namespace stet::executor
