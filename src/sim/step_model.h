// The machine that is simulated: how long a step takes, and how much fits. configs/sim/*.json.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "stet/base/status.h"
#include "stet/engine_types/step_batch.h"

namespace stet::sim {

// t = a + max(w, c*tokens) + r*sum(decode context) + q*sum(chunk * context)   (scheduler.md sec. 2)
// The context of a row is what stands in the cache before its first position; a row of one position
// decodes, longer ones are chunks.
struct StepTime {
  double a_us = 0.0;  // fixed
  double w_us = 0.0;  // reading the weights: what a small batch costs
  double c_us = 0.0;  // per position
  double r_us = 0.0;  // per position of a decoding row's context
  double q_us = 0.0;  // per position of a chunk and position of its context
  uint64_t step_us(const StepBatch& batch) const;  // rounded to a microsecond; 0 without rows
};

struct MachineModel {
  std::string name;
  std::string source;  // where the figures come from, or that they are assumed
  uint32_t pool_tokens = 0;
  uint32_t block_tokens = 64;
  uint32_t max_step_tokens = 0;
  StepTime step;
  uint32_t num_blocks() const { return pool_tokens / block_tokens; }
};

// Every field is needed and no other is known: a misspelt coefficient must not become 0.
Result<MachineModel> parse_machine(std::string_view json, const std::string& file_name);
Result<MachineModel> load_machine(const std::string& path);

}  // namespace stet::sim
