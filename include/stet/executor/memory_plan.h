// Memory is planned before anything is allocated (architecture.md sec. 5, operations.md sec. 5): a
// table of rows against the limit of the machine or its cgroup, or a refusal with the numbers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "stet/base/status.h"

namespace stet::executor {

struct MemoryLimit {
  uint64_t bytes = 0;
  std::string source;  // the file that set it: "/proc/meminfo", "/sys/fs/cgroup/a/memory.max"
};

// min(physical, memory.max and memory.high of every ancestor (v2), memory.limit_in_bytes of every
// ancestor (v1)). Numbers near 2^63 are "no limit". `root` stands in front of /proc and /sys: tests
// give a folder, the product "".
Result<MemoryLimit> read_memory_limit(const std::string& root = "");

struct MemoryRow {
  std::string name;  // "weights"
  uint64_t bytes = 0;
};

struct MemoryPlanInput {
  MemoryLimit limit;
  uint64_t budget_bytes = 0;  // configured memory.budget; 0 = none
  uint64_t weight_bytes = 0;  // packed
  std::vector<MemoryRow>
      reserves;  // scratch, text, I/O ...: everything that is neither weights nor KV
  uint64_t kv_bytes_per_token = 0;
  uint32_t block_tokens = 64;
  uint64_t kv_mapping_bytes_per_block = 0;  // kv_mapping_bytes(): 0 when paged
  uint32_t context_tokens = 0;              // the model's own context
  uint32_t max_model_len =
      0;  // configured; 0 = the model's context, shrunk if the pool cannot hold one sequence of it
  uint64_t kv_tokens = 0;  // configured pool, in tokens; 0 = auto
};

struct MemoryPlan {
  std::vector<MemoryRow> rows;  // weights, KV pool, reserves
  uint64_t total_bytes = 0;
  uint64_t usable_bytes = 0;  // 0.95 of the limit
  MemoryLimit limit;
  uint32_t num_blocks = 0;
  uint32_t block_tokens = 64;
  uint32_t max_model_len = 0;  // what one sequence may hold
  bool max_model_len_shrunk = false;

  std::string table() const;  // one line per row, then the sum and the limit
};

// KV auto = min(4 x context tokens, half of what is left beside weights and reserves). Refusals:
// RESOURCE_EXHAUSTED with the table and the largest pool and model length that would fit.
Result<MemoryPlan> plan_memory(const MemoryPlanInput& input);

std::string format_bytes(uint64_t bytes);  // "96.4 MiB"

}  // namespace stet::executor
