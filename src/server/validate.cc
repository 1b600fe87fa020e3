#include "src/server/validate.h"

#include <sys/random.h>

#include <array>
#include <limits>
#include <span>
#include <utility>

#include "src/server/message_checks.h"
#include "src/server/validate_parts.h"
#include "stet/base/check.h"
#include "stet/base/sha256.h"
#include "stet/sampling/parameter_rules.h"

namespace stet::server {
namespace {

using sampling::ParameterMax;
using sampling::ParameterRule;

double cap_of(const ParameterRule& rule, const Limits& limits) {
  const std::string_view cap = rule.cap;
  if (cap == "limits.max_n") {
    return limits.max_n;
  }
  if (cap == "limits.max_logprobs") {
    return limits.max_logprobs;
  }
  if (cap == "limits.max_stop_strings") {
    return limits.max_stop_strings;
  }
  if (cap == "limits.max_stop_bytes") {
    return limits.max_stop_bytes;
  }
  if (cap == "limits.max_logit_bias") {
    return limits.max_logit_bias;
  }
  STET_CHECK(false, rule.cap);
}

double max_of(const ParameterRule& rule, const ValidationContext& context) {
  switch (rule.max_from) {
    case ParameterMax::kFixed: return rule.max;
    case ParameterMax::kCap: return cap_of(rule, context.limits);
    case ParameterMax::kVocab: return context.model.vocab_size;
    case ParameterMax::kVocabId: return context.model.vocab_size - 1.0;
    // The prompt's length is not known yet: prompt.cc checks the exact bound and names both counts.
    case ParameterMax::kRoom:
    case ParameterMax::kMaxTokens: return std::numeric_limits<uint32_t>::max();
  }
  return rule.max;
}

// Fields both requests share.
template <class Request>
void validate_common(ValidationContext& context, const Request& in, CallSpec* out) {
  if (!in.request_id().empty() && !is_request_id(in.request_id())) {
    context.violations->add(reason::kOutOfRange, "request_id",
                            "'" + clipped(in.request_id(), 40) + "' (" +
                                std::to_string(in.request_id().size()) +
                                " bytes): must be at most 128 of A-Z a-z 0-9 . _ : -");
  }
  out->request_id = in.request_id();
  if (in.has_truncate_prompt_tokens() &&
      check_range(context, "truncate_prompt_tokens", in.truncate_prompt_tokens())) {
    out->truncate_prompt_tokens = in.truncate_prompt_tokens();
    if (in.truncate_prompt_tokens() >= context.model.max_model_len) {
      context.violations->add(reason::kOutOfRange, "truncate_prompt_tokens",
                              std::to_string(in.truncate_prompt_tokens()) + ": must be in 1.." +
                                  std::to_string(context.model.max_model_len - 1) +
                                  " (the model length less one token to generate)");
    }
  }
  validate_sampling(context, in.sampling(), out);
  validate_stop(context, in.stop(), out);
  validate_output(context, in.output(), out);
  validate_scheduling(context, in.scheduling(), out);

  const auto refuse = [&](bool present, const char* field) {
    if (present) {
      context.violations->add(reason::kUnsupported, field, "this server does not serve it");
    }
  };
  refuse(in.has_constraint(), "constraint");
  refuse(!in.adapter().empty(), "adapter");
  refuse(in.has_resume(), "resume");
}

void validate_prompt(ValidationContext& context, const v1::GenerateRequest& in, CallSpec* out) {
  switch (in.prompt_case()) {
    case v1::GenerateRequest::kText:
      out->prompt =
          TextPrompt{in.text(), in.has_add_special_tokens() ? in.add_special_tokens() : true};
      return;
    case v1::GenerateRequest::kTokens: break;
    case v1::GenerateRequest::PROMPT_NOT_SET:
      context.violations->add(reason::kMalformed, "prompt", "one of text and tokens must be set");
      return;
  }
  if (in.has_add_special_tokens()) {
    context.violations->add(reason::kMalformed, "add_special_tokens",
                            "must be unset when the prompt is tokens: they are taken as they are");
  }
  const auto& ids = in.tokens().ids();
  if (ids.empty()) {
    context.violations->add(reason::kOutOfRange, "tokens.ids", "0 tokens: must be at least 1");
  }
  for (int i = 0; i < ids.size() && !context.violations->full(); ++i) {
    if (ids[i] >= context.model.vocab_size) {
      context.violations->add(reason::kOutOfRange, "tokens.ids[" + std::to_string(i) + "]",
                              std::to_string(ids[i]) + ": must be in 0.." +
                                  std::to_string(context.model.vocab_size - 1));
    }
  }
  out->prompt = TokenPrompt{{ids.begin(), ids.end()}};
}

Validated result_of(Violations* violations, CallSpec* spec) {
  if (!violations->empty()) {
    return ApiError(violations->take()).build();
  }
  return std::move(*spec);
}

template <class T>
T random_value() {
  T value{};
  // For up to 256 bytes getrandom neither fails nor returns less once the kernel's pool is
  // initialised.
  STET_CHECK(getrandom(&value, sizeof value, 0) == static_cast<ssize_t>(sizeof value),
             "the kernel gives random bytes");
  return value;
}

}  // namespace

const char* prompt_field(const Prompt& prompt) {
  constexpr std::array kFields = {"text", "tokens.ids", "messages"};
  return kFields[prompt.index()];
}

bool check_range(ValidationContext& context, const char* rule_name, const std::string& field,
                 double value, const std::string& shown) {
  const ParameterRule* rule = sampling::find_parameter_rule(rule_name);
  STET_CHECK(rule != nullptr, rule_name);
  const double max = max_of(*rule, context);
  if (sampling::in_range(*rule, value, max)) {
    return true;
  }
  const bool symbolic =
      rule->max_from == ParameterMax::kRoom || rule->max_from == ParameterMax::kMaxTokens;
  context.violations->add(
      reason::kOutOfRange, field,
      shown + ": must be in " +
          (symbolic ? sampling::range_text(*rule) : sampling::range_text(*rule, max)));
  return false;
}

bool check_range(ValidationContext& context, const char* rule, float value) {
  return check_range(context, rule, rule, static_cast<double>(value), number_text(value));
}

bool check_range(ValidationContext& context, const char* rule, uint32_t value) {
  return check_range(context, rule, rule, value, std::to_string(value));
}

bool check_size(ValidationContext& context, const char* rule, size_t size) {
  const bool bytes = sampling::find_parameter_rule(rule)->kind == sampling::ParameterKind::kBytes;
  return check_range(context, rule, rule, static_cast<double>(size),
                     std::to_string(size) + (bytes ? " bytes" : " entries"));
}

Validated validate(const v1::GenerateRequest& request, const Limits& limits,
                   const ModelFacts& model) {
  Violations violations;
  ValidationContext context{limits, model, &violations};
  CallSpec spec;
  check_message(request, &violations);
  validate_prompt(context, request, &spec);
  validate_common(context, request, &spec);
  return result_of(&violations, &spec);
}

Validated validate(const v1::ChatRequest& request, const Limits& limits, const ModelFacts& model) {
  Violations violations;
  ValidationContext context{limits, model, &violations};
  CallSpec spec;
  check_message(request, &violations);
  validate_messages(context, request, &spec);
  validate_common(context, request, &spec);
  return result_of(&violations, &spec);
}

bool is_request_id(std::string_view id) {
  if (id.empty() || id.size() > 128) {
    return false;
  }
  for (const char c : id) {
    const bool allowed = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                         (c >= '0' && c <= '9') || c == '.' || c == '_' || c == ':' || c == '-';
    if (!allowed) {
      return false;
    }
  }
  return true;
}

std::string draw_request_id() {
  const auto bytes = random_value<std::array<uint8_t, 16>>();
  return to_hex(bytes);
}

uint64_t draw_seed() {
  return random_value<uint64_t>();
}

}  // namespace stet::server
