// Runs the same requests on the real engine and CPU backend under different settings. A setting
// says how something is computed; exactness.md promises that it never shows, so answers are
// compared with ==, bit by bit.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "stet/engine_types/request.h"
#include "stet/executor/kv_memory.h"
#include "stet/kernels/kernel_table.h"
#include "stet/kv/kv_cache.h"
#include "stet/model/model.h"

namespace stet::exactness {

struct Setting {
  std::string name;
  const kernels::KernelTable* table = nullptr;
  uint32_t num_threads = 1;
  uint32_t chunk_cap = 0;  // 0 = the step's budget
  uint32_t max_step_tokens = 256;
  uint32_t block_tokens = 64;
  uint32_t pool_tokens = 64 * 1024;
  bool prefix_cache = false;
  bool together = false;  // all requests at once, else one after another on an idle engine
  bool twice =
      false;  // the same requests a second time; the second answers count (warm prefix cache)
  std::string policy = "fcfs_conservative";
  kv::Eviction eviction = kv::Eviction::kLru;
  uint64_t ttft_target_us = 0;  // 1: every request is late, so the order is another one
  uint64_t itl_target_us = 0;   // 1: every step is cut to the least of prefill
  executor::KvMode kv_mode = executor::KvMode::kPaged;
  bool guard_kv = false;     // virtual: addresses that were given up fault
  uint64_t kv_max_maps = 0;  // virtual: so few that paged and virtual sequences share batches
  bool misleading_hints =
      false;  // every request claims to end after one token: prediction fails and must preempt
};

// One choice of one request, floats as bits.
struct Answer {
  std::vector<uint32_t> token_ids;
  std::vector<uint32_t> logprob_bits;              // of the sampled token
  std::vector<std::pair<uint32_t, uint32_t>> top;  // id, bits: num_logprobs per token
  std::string end;                                 // "stop", "length" or the status
  friend bool operator==(const Answer&, const Answer&) = default;
};

struct RunResult {
  std::vector<Answer> answers;  // request-major, then choices
  uint64_t preemptions = 0;
  uint64_t cached_prompt_tokens = 0;
  executor::KvMemoryStats kv;
  uint64_t grouped_rows = 0;  // rows that attended over a shared prefix together
};

RunResult run(const std::shared_ptr<const model::Model>& model,
              const std::vector<Request>& requests, const Setting& setting);

// Mixed lengths around tile (64) and segment (512) borders, shared prefixes, greedy and sampled,
// one with n = 3.
std::vector<Request> mixed_requests(uint32_t vocab_size, uint64_t seed, uint32_t num_requests);

// Prompts over one document of 600 tokens that leave it at different places; choices; a system
// prompt of 4 tiles under all of them. Outputs long enough to decode side by side.
std::vector<Request> shared_prefix_requests(uint32_t vocab_size, uint64_t seed);

// How groups can come about: the prefix cache, choices, threads (one item per segment), preemption.
std::vector<Setting> group_settings(const kernels::KernelTable* table);

// Everything that must not show, on one kernel table: company, chunks, threads, cache, preemption,
// block size.
std::vector<Setting> all_settings(const kernels::KernelTable* table);
// Alone, one thread, scalar table, no cache: what all others are compared with.
Setting reference_setting();

// "" when equal, else which answer differs first and how.
std::string first_difference(const std::vector<Answer>& expected, const std::vector<Answer>& found);

}  // namespace stet::exactness
