#include "src/proxy/fields.h"

#include <algorithm>

#include "src/proxy/field_handlers.h"

namespace stet::proxy {
namespace {

constexpr uint8_t kChat = static_cast<uint8_t>(ApiRoute::kChat);
constexpr uint8_t kCompl = static_cast<uint8_t>(ApiRoute::kCompletions);
constexpr uint8_t kBoth = kChat | kCompl;

constexpr FieldUse kApplied = FieldUse::kApplied;
constexpr FieldUse kIgnored = FieldUse::kIgnored;
constexpr FieldUse kRefused = FieldUse::kRefused;
using K = FieldKind;

constexpr Field kFields[] = {
    // What is asked.
    {"model", kBoth, K::kString, kApplied, "model", apply_plain},
    {"messages", kChat, K::kMessages, kApplied, "messages", apply_messages},
    {"prompt", kCompl, K::kPrompt, kApplied, "text", apply_prompt},
    {"add_generation_prompt", kChat, K::kBool, kApplied, "add_generation_prompt", apply_plain},
    {"continue_final_message", kChat, K::kBool, kApplied, "continue_final_message", apply_plain},
    {"chat_template_kwargs", kChat, K::kObject, kApplied, "template_kwargs_json",
     apply_template_kwargs},
    {"truncate_prompt_tokens", kBoth, K::kInteger, kApplied, "truncate_prompt_tokens", apply_plain},
    {"add_special_tokens", kCompl, K::kBool, kApplied, "add_special_tokens", apply_plain},
    // A chat template writes its special tokens itself.
    {"add_special_tokens", kChat, K::kBool, kApplied, "", apply_only_false},
    // Sampling.
    {"max_tokens", kBoth, K::kInteger, kApplied, "sampling.max_tokens", apply_max_tokens},
    {"max_completion_tokens", kChat, K::kInteger, kApplied, "sampling.max_tokens",
     apply_max_completion_tokens},
    {"min_tokens", kBoth, K::kInteger, kApplied, "sampling.min_tokens", apply_plain},
    {"temperature", kBoth, K::kNumber, kApplied, "sampling.temperature", apply_plain},
    {"top_p", kBoth, K::kNumber, kApplied, "sampling.top_p", apply_plain},
    {"top_k", kBoth, K::kInteger, kApplied, "sampling.top_k", apply_top_k},
    {"min_p", kBoth, K::kNumber, kApplied, "sampling.min_p", apply_plain},
    {"presence_penalty", kBoth, K::kNumber, kApplied, "sampling.presence_penalty", apply_plain},
    {"frequency_penalty", kBoth, K::kNumber, kApplied, "sampling.frequency_penalty", apply_plain},
    {"repetition_penalty", kBoth, K::kNumber, kApplied, "sampling.repetition_penalty", apply_plain},
    {"seed", kBoth, K::kInteger, kApplied, "sampling.seed", apply_seed},
    {"logit_bias", kBoth, K::kObject, kApplied, "sampling.logit_bias", apply_logit_bias},
    {"allowed_token_ids", kBoth, K::kIntegers, kApplied, "sampling.allowed_token_ids", apply_plain},
    {"ignore_eos", kBoth, K::kBool, kApplied, "sampling.ignore_eos", apply_plain},
    {"n", kBoth, K::kInteger, kApplied, "sampling.n", apply_plain},
    // Stops.
    {"stop", kBoth, K::kStringOrStrings, kApplied, "stop.strings", apply_stop},
    {"stop_token_ids", kBoth, K::kIntegers, kApplied, "stop.token_ids", apply_plain},
    {"include_stop_str_in_output", kBoth, K::kBool, kApplied, "stop.include_in_output",
     apply_plain},
    // Form of the answer.
    {"stream", kBoth, K::kBool, kApplied, "output.mode", apply_stream},
    {"stream_options", kBoth, K::kObject, kApplied, "", apply_stream_options},
    {"logprobs", kChat, K::kBool, kApplied, "output.logprobs", apply_chat_logprobs},
    {"top_logprobs", kChat, K::kInteger, kApplied, "output.logprobs", apply_top_logprobs},
    {"logprobs", kCompl, K::kInteger, kApplied, "output.logprobs", apply_completion_logprobs},
    {"skip_special_tokens", kBoth, K::kBool, kApplied, "output.skip_special_tokens", apply_plain},
    {"return_token_ids", kBoth, K::kBool, kApplied, "output.prompt_token_ids",
     apply_return_token_ids},
    {"return_tokens_as_token_ids", kBoth, K::kBool, kApplied, "", apply_tokens_as_ids},
    // Scheduling and identity.
    {"priority", kBoth, K::kInteger, kApplied, "scheduling.priority_class", apply_priority},
    {"cache_salt", kBoth, K::kString, kApplied, "scheduling.cache_salt", apply_plain},
    {"request_id", kBoth, K::kString, kApplied, "request_id", apply_request_id},
    // One value only, until their stage comes.
    {"echo", kCompl, K::kBool, kApplied, "", apply_only_false},
    {"tools", kChat, K::kAny, kApplied, "tools_json", apply_only_empty},
    {"tool_choice", kChat, K::kAny, kApplied, "tool_choice_json", apply_tool_choice},
    {"response_format", kBoth, K::kObject, kApplied, "", apply_response_format},
    {"logprob_token_ids", kBoth, K::kAny, kApplied, "output.logprob_token_ids", apply_only_empty},
    {"parallel_tool_calls", kChat, K::kAny, kRefused, "", apply_refused},
    {"prompt_logprobs", kBoth, K::kAny, kRefused, "", apply_refused},
    {"structured_outputs", kBoth, K::kAny, kRefused, "", apply_refused},
    {"suffix", kCompl, K::kAny, kRefused, "", apply_refused},
    // Without effect (5.3).
    {"user", kBoth, K::kAny, kIgnored, "", apply_ignored},
    {"metadata", kBoth, K::kAny, kIgnored, "", apply_ignored},
    {"store", kBoth, K::kBool, kApplied, "", apply_only_false},
    {"service_tier", kBoth, K::kAny, kIgnored, "", apply_ignored},
    {"safety_identifier", kBoth, K::kAny, kIgnored, "", apply_ignored},
    {"prompt_cache_key", kBoth, K::kAny, kIgnored, "", apply_ignored},
    {"prompt_cache_retention", kBoth, K::kAny, kIgnored, "", apply_ignored},
    {"prompt_cache_options", kBoth, K::kAny, kIgnored, "", apply_ignored},
    {"verbosity", kBoth, K::kAny, kIgnored, "", apply_ignored},
    {"reasoning_effort", kBoth, K::kAny, kIgnored, "", apply_ignored},
    {"modalities", kBoth, K::kAny, kApplied, "", apply_modalities},
    {"spaces_between_special_tokens", kBoth, K::kAny, kIgnored, "", apply_ignored},
    {"best_of", kBoth, K::kInteger, kApplied, "", apply_best_of},
    {"session_id", kBoth, K::kAny, kIgnored, "", apply_ignored},
    // Refused by name (5.3).
    {"functions", kBoth, K::kAny, kRefused, "", apply_refused},
    {"function_call", kBoth, K::kAny, kRefused, "", apply_refused},
    {"audio", kBoth, K::kAny, kRefused, "", apply_refused},
    {"prediction", kBoth, K::kAny, kRefused, "", apply_refused},
    {"web_search_options", kBoth, K::kAny, kRefused, "", apply_refused},
    {"use_beam_search", kBoth, K::kAny, kRefused, "", apply_refused},
    {"prompt_embeds", kBoth, K::kAny, kRefused, "", apply_refused},
    {"chat_template", kBoth, K::kAny, kRefused, "", apply_refused},
    {"guided_*", kBoth, K::kAny, kRefused, "", apply_refused},
};

// `path` is `prefix`, or lies under it.
bool lies_under(std::string_view path, std::string_view prefix) {
  return path.starts_with(prefix) &&
         (path.size() == prefix.size() || path[prefix.size()] == '.' || path[prefix.size()] == '[');
}

}  // namespace

std::span<const Field> field_table() {
  return kFields;
}

const Field* find_field(ApiRoute route, std::string_view name) {
  for (const Field& field : kFields) {
    if ((field.routes & static_cast<uint8_t>(route)) == 0) {
      continue;
    }
    if (field.name == name || (field.name.ends_with('*') && name.size() >= field.name.size() &&
                               name.starts_with(field.name.substr(0, field.name.size() - 1)))) {
      return &field;
    }
  }
  return nullptr;
}

std::string param_of_proto_path(const ApiCall& call, const std::string& path) {
  if (call.route == ApiRoute::kCompletions && lies_under(path, "tokens")) {
    const size_t at = path.find('[');
    return at == std::string::npos ? "prompt" : "prompt" + path.substr(at);
  }
  const Field* best = nullptr;
  bool best_present = false;
  for (const Field& field : kFields) {
    if ((field.routes & static_cast<uint8_t>(call.route)) == 0 || field.proto_path.empty() ||
        !lies_under(path, field.proto_path)) {
      continue;
    }
    const bool present =
        std::find(call.present.begin(), call.present.end(), field.name) != call.present.end();
    // `top_logprobs` and `max_completion_tokens` stand below their alias and win when both were
    // sent.
    if (best == nullptr || present || !best_present) {
      best = best == nullptr || present ? &field : best;
      best_present = best_present || present;
    }
  }
  return best == nullptr ? path : std::string(best->name) + path.substr(best->proto_path.size());
}

}  // namespace stet::proxy
