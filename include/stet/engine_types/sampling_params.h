// What one choice is sampled with, after validation and defaults. Plain values; ranges and
// defaults: docs/parameters.md.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace stet {

struct SamplingParams {
  float temperature = 1.0f;  // 0 = greedy, ties to the lowest id
  float top_p = 1.0f;
  uint32_t top_k = 0;  // 0 = off
  float min_p = 0.0f;
  float presence_penalty = 0.0f;    // over output tokens
  float frequency_penalty = 0.0f;   // over output tokens
  float repetition_penalty = 1.0f;  // over prompt and output tokens
  uint64_t seed = 0;                // always set: drawn at submission when the client gave none
  std::vector<std::pair<uint32_t, float>> logit_bias;  // ascending ids, unique
  std::vector<uint32_t> allowed_token_ids;             // ascending, unique; empty = all
  uint32_t max_tokens = 16;                            // >= 1
  uint32_t min_tokens = 0;               // stop ids are barred before this many outputs
  std::vector<uint32_t> stop_token_ids;  // ascending, unique: the request's own ids and, unless
                                         // ignore_eos, the model's
  std::optional<uint32_t>
      num_logprobs;  // set = log-probability of the sampled token, value = number of alternatives

  friend bool operator==(const SamplingParams&, const SamplingParams&) = default;
};

}  // namespace stet
