#include "src/server/prompt.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "src/server/api_error.h"
#include "stet/base/clock.h"

namespace stet::server {
namespace {

using Ids = std::vector<uint32_t>;
using MaybeError = std::optional<google::rpc::Status>;

ApiError context_length(const CallSpec& spec, uint64_t prompt_tokens, uint32_t max_model_len,
                        bool at_least) {
  const std::string count = (at_least ? "more than " : "") + std::to_string(prompt_tokens);
  std::string message =
      std::string(prompt_field(spec.prompt)) + ": the prompt has " + count + " tokens";
  if (spec.max_tokens) {
    message += " and sampling.max_tokens asks for " + std::to_string(*spec.max_tokens);
  }
  message += ": together at most " + std::to_string(max_model_len) +
             " (the model length), at least one of them to generate";
  ApiError error(StatusCode::kInvalidArgument, reason::kContextLength, std::move(message));
  error.metadata("prompt_tokens", count).metadata("max_model_len", std::to_string(max_model_len));
  // The client's own max_tokens is the culprit only if a smaller one would do.
  const bool fits_alone = prompt_tokens < max_model_len && !at_least;
  if (spec.max_tokens) {
    error.metadata("max_tokens", std::to_string(*spec.max_tokens));
  }
  if (spec.max_tokens && fits_alone) {
    error.violation("sampling.max_tokens", std::to_string(*spec.max_tokens) + ": must be in 1.." +
                                               std::to_string(max_model_len - prompt_tokens));
  } else {
    error.violation(prompt_field(spec.prompt),
                    count + " tokens: must be in 1.." + std::to_string(max_model_len - 1));
  }
  return error;
}

std::string token_name(const text::Tokenizer& tokenizer, int64_t id) {
  return id < 0 ? std::string() : std::string(tokenizer.token_bytes(static_cast<uint32_t>(id)));
}

// Text segments of a text or chat prompt.
std::variant<std::vector<text::TextSegment>, google::rpc::Status> segments_of(
    const ServedModel& model, const Limits& limits, CallSpec* spec) {
  if (auto* plain = std::get_if<TextPrompt>(&spec->prompt)) {
    return std::vector<text::TextSegment>{{std::move(plain->text), /*is_template=*/false}};
  }
  auto& chat = std::get<text::ChatInput>(spec->prompt);
  chat.bos_token = token_name(*model.tokenizer, model.tokenizer->bos_id());
  chat.eos_token = token_name(*model.tokenizer, model.tokenizer->eos_id());
  chat.now_unix_s = wall_clock_unix_ms() / 1000;
  text::TemplateLimits caps;
  caps.max_output_bytes = 4 * limits.max_request_bytes;
  auto rendered = model.chat_template->render(chat, caps);
  if (!rendered.ok()) {
    return ApiError(StatusCode::kInvalidArgument, reason::kTemplate,
                    "messages: " + rendered.status().message())
        .build();
  }
  return std::move(rendered).value();
}

MaybeError encode(const ServedModel& model, const Limits& limits, uint32_t max_model_len,
                  CallSpec* spec, Ids* ids) {
  bool add_special = true;
  if (const auto* plain = std::get_if<TextPrompt>(&spec->prompt)) {
    add_special = plain->add_special_tokens;
  }
  auto segments = segments_of(model, limits, spec);
  if (auto* error = std::get_if<google::rpc::Status>(&segments)) {
    return std::move(*error);
  }
  // Some way above the model length the exact count still helps the client; far above it is wasted
  // work. A token is at least one byte, so a truncated prompt needs no bound of its own.
  const size_t cap = spec->truncate_prompt_tokens ? std::numeric_limits<size_t>::max()
                                                  : std::max<size_t>(4ull * max_model_len, 65'536);
  const Status encoded = model.tokenizer->encode(std::get<0>(segments), add_special, cap, ids);
  if (encoded.ok()) {
    return std::nullopt;
  }
  if (encoded.code() == StatusCode::kResourceExhausted) {
    return context_length(*spec, cap, max_model_len, /*at_least=*/true).build();
  }
  if (encoded.code() == StatusCode::kInvalidArgument) {
    return ApiError({{reason::kMalformed, prompt_field(spec->prompt), encoded.message()}}).build();
  }
  return ApiError(StatusCode::kInternal, reason::kInternal, "the prompt could not be tokenised")
      .build();
}

// The request's own ids and, unless ignore_eos, the model's; ascending, unique.
void merge_stop_ids(const text::Tokenizer& tokenizer, CallSpec* spec) {
  Ids& ids = spec->sampling.stop_token_ids;
  if (!spec->ignore_eos) {
    const auto eos = tokenizer.end_of_generation_ids();
    ids.insert(ids.end(), eos.begin(), eos.end());
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
}

MaybeError settle_sampling(const ServedModel& model, const Limits& limits, uint32_t max_model_len,
                           size_t prompt_tokens, CallSpec* spec) {
  SamplingParams& s = spec->sampling;
  const uint32_t room = max_model_len - static_cast<uint32_t>(prompt_tokens);
  uint32_t default_max = room;
  if (limits.max_output_tokens != 0) {
    default_max = std::min(default_max, limits.max_output_tokens);
  }
  s.max_tokens = spec->max_tokens.value_or(default_max);
  s.seed = spec->seed ? *spec->seed : draw_seed();
  merge_stop_ids(*model.tokenizer, spec);
  std::vector<Violation> wrong;
  if (s.min_tokens > s.max_tokens) {
    wrong.push_back({reason::kOutOfRange, "sampling.min_tokens",
                     std::to_string(s.min_tokens) + ": must be in 0.." +
                         std::to_string(s.max_tokens) + " (max_tokens)"});
  }
  // While min_tokens bars the stop ids, something must be left to sample.
  if (s.min_tokens > 0 && !s.allowed_token_ids.empty() &&
      std::includes(s.stop_token_ids.begin(), s.stop_token_ids.end(), s.allowed_token_ids.begin(),
                    s.allowed_token_ids.end())) {
    wrong.push_back({reason::kOutOfRange, "sampling.allowed_token_ids",
                     "all are stop ids, which min_tokens bars: at least one must be none"});
  }
  if (!wrong.empty()) {
    return ApiError(std::move(wrong)).build();
  }
  return std::nullopt;
}

}  // namespace

PromptTokens prepare_prompt(const ServedModel& model, const Limits& limits, uint32_t max_model_len,
                            CallSpec* spec) {
  Ids ids;
  if (auto* tokens = std::get_if<TokenPrompt>(&spec->prompt)) {
    ids = std::move(tokens->ids);
  } else if (MaybeError error = encode(model, limits, max_model_len, spec, &ids)) {
    return std::move(*error);
  }
  if (spec->truncate_prompt_tokens && ids.size() > *spec->truncate_prompt_tokens) {
    ids.erase(ids.begin(), ids.end() - *spec->truncate_prompt_tokens);
  }
  if (ids.empty()) {
    return ApiError({{reason::kOutOfRange, prompt_field(spec->prompt),
                      "the prompt has 0 tokens: must be at least 1"}})
        .build();
  }
  const uint64_t wanted = spec->max_tokens.value_or(1);
  if (ids.size() + wanted > max_model_len) {
    return context_length(*spec, ids.size(), max_model_len, /*at_least=*/false).build();
  }
  if (MaybeError error = settle_sampling(model, limits, max_model_len, ids.size(), spec)) {
    return std::move(*error);
  }
  return ids;
}

Sha256Digest cache_namespace(const ServedModel& model, const std::string& cache_salt) {
  Sha256 hash;
  hash.update_field("numerics", std::string_view(model.fingerprint));
  hash.update_field("adapter", std::string_view());
  hash.update_field("tenant", std::string_view(model.tenant_salt));
  hash.update_field("cache_salt", std::string_view(cache_salt));
  return hash.finish();
}

}  // namespace stet::server
