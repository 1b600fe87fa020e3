// The work of the prepare thread: render the template, tokenise, and settle what depends on the
// prompt's length.
#pragma once

#include <cstdint>
#include <variant>
#include <vector>

#include "src/server/validate.h"

namespace stet::server {

using PromptTokens = std::variant<std::vector<uint32_t>, google::rpc::Status>;

// The prompt's token ids (>= 1, prompt + max_tokens <= max_model_len), or why there are none. On
// success `spec->sampling` is final: max_tokens, seed and stop ids are set.
PromptTokens prepare_prompt(const ServedModel& model, const Limits& limits, uint32_t max_model_len,
                            CallSpec* spec);

// Root of the prefix-cache hash chain (C8): numerics, adapter, tenant salt, cache_salt.
Sha256Digest cache_namespace(const ServedModel& model, const std::string& cache_salt);

}  // namespace stet::server
