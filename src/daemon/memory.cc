#include "src/daemon/memory.h"

#include "src/daemon/options.h"
#include "stet/executor/cpu_backend.h"

namespace stet::daemon {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
// Binary, libraries, gRPC's and log buffers, allocator slack.
constexpr uint64_t kProcessBytes = 48 * kMiB;
// Per connection: header buffer, parser, up to 64 KiB of output that waits for a slow reader.
constexpr uint64_t kConnectionBytes = 96 * 1024;
// Of a queued request: ids, prompt text, bookkeeping; bodies themselves are gone once they are
// parsed.
constexpr uint64_t kQueuedRequestBytes = 64 * 1024;
// Per vocabulary entry: bytes, hash tables, merges.
constexpr uint64_t kTokenBytes = 400;

}  // namespace

Result<executor::MemoryPlan> plan_daemon_memory(const config::v1::Config& config,
                                                const model::ModelSummary& summary,
                                                uint32_t num_threads) {
  executor::MemoryPlanInput input;
  STET_ASSIGN_OR_RETURN(input.limit, executor::read_memory_limit());
  input.budget_bytes = config.memory().budget_bytes();
  input.weight_bytes = summary.weight_bytes;
  input.kv_bytes_per_token = summary.kv_bytes_per_token;
  input.block_tokens = config.kv().block_tokens();
  input.kv_mapping_bytes_per_block = executor::kv_mapping_bytes(
      kv_mode_of(config), summary.kv_bytes_per_token * config.kv().block_tokens());
  input.context_tokens = summary.hyper.context_len;
  input.kv_tokens = config.kv().tokens();
  const auto& scheduler = config.scheduler();
  input.reserves = {
      {"activations",
       executor::CpuBackend::scratch_bytes(summary.hyper, num_threads, scheduler.max_step_tokens(),
                                           scheduler.max_running())},
      {"tokenizer", kTokenBytes * summary.hyper.vocab_size},
      {"connections", kConnectionBytes * config.limits().max_connections()},
      {"queue", kQueuedRequestBytes * scheduler.max_queued_requests()},
      {"process", kProcessBytes},
  };
  return executor::plan_memory(input);
}

}  // namespace stet::daemon
