// From a wire request to what the rest of the server works with: every rule of api.md 2.1 and 2.3
// that can be known before the prompt is tokenised. Ranges come from the one table
// (sampling/parameter_rules.h) and the configured caps.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "google/rpc/status.pb.h"
#include "stet/engine_types/request.h"
#include "stet/server/service.h"
#include "stet/text/chat_template.h"

namespace stet::server {

struct TextPrompt {
  std::string text;
  bool add_special_tokens = true;
};
struct TokenPrompt {
  std::vector<uint32_t> ids;
};
using Prompt = std::variant<TextPrompt, TokenPrompt, text::ChatInput>;
const char* prompt_field(const Prompt& prompt);  // "text", "tokens.ids", "messages"

struct OutputSpec {
  bool final_mode = false;
  bool skip_special_tokens = true;
  bool want_prompt_ids = false;
  bool want_prompt_text = false;
  bool want_logprobs = false;
  uint32_t stream_interval = 1;
  std::vector<std::string> stop_strings;
  bool include_stop_in_output = false;
};

// A request whose fields are all in range. A value.
struct CallSpec {
  std::string request_id;
  Prompt prompt;
  std::optional<uint32_t> truncate_prompt_tokens;
  // max_tokens and seed stand beside it until they are resolved; stop_token_ids holds the client's
  // own.
  SamplingParams sampling;
  std::optional<uint32_t> max_tokens;
  std::optional<uint64_t> seed;
  bool ignore_eos = false;
  uint32_t num_choices = 1;
  OutputSpec output;
  uint8_t priority_class = 4;
  uint32_t expected_output_tokens = 0;             // a hint; 0 = none
  uint64_t ttft_target_us = 0, itl_target_us = 0;  // 0 = the engine's
  ServiceClass service_class = ServiceClass::kInteractive;
  std::string cache_salt;
  ProgramHints program;
};

// What validation needs to know of the model.
struct ModelFacts {
  uint32_t vocab_size = 0;
  uint32_t max_model_len = 0;
  const text::ChatTemplate* chat_template = nullptr;
};

// The spec, or the INVALID_ARGUMENT status that names all violations (without RequestInfo).
using Validated = std::variant<CallSpec, google::rpc::Status>;
Validated validate(const v1::GenerateRequest& request, const Limits& limits,
                   const ModelFacts& model);
Validated validate(const v1::ChatRequest& request, const Limits& limits, const ModelFacts& model);

bool is_request_id(std::string_view id);  // 1..128 of [A-Za-z0-9._:-]
std::string draw_request_id();            // 32 random hex digits
uint64_t draw_seed();

}  // namespace stet::server
