#include "stet/sampling/parameter_rules.h"

#include <array>
#include <cmath>
#include <cstdio>

namespace stet::sampling {
namespace {

using Kind = ParameterKind;
using Max = ParameterMax;

// api.md sec. 2.1, in its order.
constexpr std::array kRules = {
    ParameterRule{"sampling.temperature", Kind::kFloat, 0, 2, false, Max::kFixed, nullptr, 0, "1",
                  "0 = greedy, ties to the lowest id"},
    ParameterRule{"sampling.top_p", Kind::kFloat, 0, 1, false, Max::kFixed, nullptr, 0, "1",
                  "0 keeps the most likely token"},
    ParameterRule{"sampling.top_k", Kind::kUint, 0, 0, false, Max::kVocab, nullptr, 0, "0",
                  "0 = off; HTTP also -1"},
    ParameterRule{"sampling.min_p", Kind::kFloat, 0, 1, false, Max::kFixed, nullptr, 0, "0",
                  "share of the most likely token's probability"},
    ParameterRule{"sampling.presence_penalty", Kind::kFloat, -2, 2, false, Max::kFixed, nullptr, 0,
                  "0", "over completion tokens"},
    ParameterRule{"sampling.frequency_penalty", Kind::kFloat, -2, 2, false, Max::kFixed, nullptr, 0,
                  "0", "over completion tokens"},
    ParameterRule{"sampling.repetition_penalty", Kind::kFloat, 0, 10, true, Max::kFixed, nullptr, 0,
                  "1", "over prompt and completion tokens"},
    ParameterRule{"sampling.logit_bias", Kind::kCount, 0, 1024, false, Max::kCap,
                  "limits.max_logit_bias", 1024, "none", "token id -> bias"},
    ParameterRule{"sampling.logit_bias[].key", Kind::kUint, 0, 0, false, Max::kVocabId, nullptr, 0,
                  "", "a token id"},
    ParameterRule{"sampling.logit_bias[].value", Kind::kFloat, -100, 100, false, Max::kFixed,
                  nullptr, 0, "", "added to the logit"},
    ParameterRule{"sampling.allowed_token_ids", Kind::kCount, 0, 0, false, Max::kVocab, nullptr, 0,
                  "none", "empty = every token"},
    ParameterRule{"sampling.allowed_token_ids[]", Kind::kUint, 0, 0, false, Max::kVocabId, nullptr,
                  0, "", "a token id"},
    ParameterRule{"sampling.max_tokens", Kind::kUint, 1, 0, false, Max::kRoom, nullptr, 0,
                  "what is left of the model length",
                  "at most limits.max_output_tokens; HTTP /v1/completions: 16"},
    ParameterRule{"sampling.min_tokens", Kind::kUint, 0, 0, false, Max::kMaxTokens, nullptr, 0, "0",
                  "bars end-of-text and stop ids until reached"},
    ParameterRule{"sampling.n", Kind::kUint, 1, 8, false, Max::kCap, "limits.max_n", 128, "1",
                  "choices; n x prompts within the queue bounds"},
    ParameterRule{"stop.strings", Kind::kCount, 0, 16, false, Max::kCap, "limits.max_stop_strings",
                  16, "none", ""},
    ParameterRule{"stop.strings[]", Kind::kBytes, 1, 256, false, Max::kCap, "limits.max_stop_bytes",
                  256, "", "none empty"},
    ParameterRule{"stop.token_ids", Kind::kCount, 0, 64, false, Max::kFixed, nullptr, 0, "none",
                  "on top of the model's end-of-text ids unless ignore_eos"},
    ParameterRule{"stop.token_ids[]", Kind::kUint, 0, 0, false, Max::kVocabId, nullptr, 0, "",
                  "a token id"},
    ParameterRule{"output.logprobs", Kind::kUint, 0, 20, false, Max::kCap, "limits.max_logprobs",
                  20, "off", "set = on; value = number of alternatives"},
    ParameterRule{"output.prompt_logprobs", Kind::kUint, 0, 20, false, Max::kCap,
                  "limits.max_logprobs", 20, "off", "value = number of alternatives"},
    ParameterRule{"output.logprob_token_ids", Kind::kCount, 0, 1024, false, Max::kFixed, nullptr, 0,
                  "none", "excludes a non-zero logprobs"},
    ParameterRule{"output.logprob_token_ids[]", Kind::kUint, 0, 0, false, Max::kVocabId, nullptr, 0,
                  "", "a token id"},
    ParameterRule{"output.stream_interval", Kind::kUint, 1, 1024, false, Max::kFixed, nullptr, 0,
                  "1", "tokens per Delta"},
    ParameterRule{"scheduling.priority_class", Kind::kUint, 0, 7, false, Max::kFixed, nullptr, 0,
                  "4", "7 first; HTTP: clamp(4 - priority, 0, 7)"},
    ParameterRule{"scheduling.ttft_target_ms", Kind::kUint, 0, 3'600'000, false, Max::kFixed,
                  nullptr, 0, "0", "first token after so long; 0 = scheduler.ttft_target_ms"},
    ParameterRule{"scheduling.itl_target_ms", Kind::kUint, 0, 3'600'000, false, Max::kFixed,
                  nullptr, 0, "0", "longest gap between two tokens; 0 = scheduler.itl_target_ms"},
    ParameterRule{"scheduling.cache_salt", Kind::kBytes, 0, 128, false, Max::kFixed, nullptr, 0,
                  "\"\"", "narrows prefix sharing inside the tenant, never widens it"},
    ParameterRule{"scheduling.program_id", Kind::kBytes, 0, 128, false, Max::kFixed, nullptr, 0,
                  "\"\"", "of [A-Za-z0-9._:-]; empty = none"},
    ParameterRule{"scheduling.turn", Kind::kUint, 0, 1'000'000, false, Max::kFixed, nullptr, 0, "0",
                  "of the program; 0 = not said"},
    ParameterRule{"scheduling.expect_followup.tool_name", Kind::kBytes, 0, 128, false, Max::kFixed,
                  nullptr, 0, "\"\"", "gaps are learned per name"},
    ParameterRule{"scheduling.expect_followup.expected_ms", Kind::kUint, 0, 3'600'000, false,
                  Max::kFixed, nullptr, 0, "0", "until the follow-up comes; 0 = as learned"},
    ParameterRule{"request_id", Kind::kBytes, 0, 128, false, Max::kFixed, nullptr, 0,
                  "32 random hex digits", "of [A-Za-z0-9._:-], not in flight; empty = drawn"},
    ParameterRule{"truncate_prompt_tokens", Kind::kUint, 1, 0, false, Max::kRoom, nullptr, 0, "off",
                  "keeps the last tokens of the prompt"},
};

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.10g", value);
  return text;
}

std::string symbolic_max(const ParameterRule& rule) {
  switch (rule.max_from) {
    case Max::kFixed:
    case Max::kCap: return number(rule.max);
    case Max::kVocab: return "vocabulary";
    case Max::kVocabId: return "vocabulary - 1";
    case Max::kRoom: return "model length - prompt";
    case Max::kMaxTokens: return "max_tokens";
  }
  return "";
}

std::string range(const ParameterRule& rule, const std::string& max) {
  return rule.min_exclusive ? "> " + number(rule.min) + ", <= " + max
                            : number(rule.min) + ".." + max;
}

const char* kind_text(Kind kind) {
  switch (kind) {
    case Kind::kFloat: return "number";
    case Kind::kUint: return "integer";
    case Kind::kCount: return "entries";
    case Kind::kBytes: return "bytes";
  }
  return "";
}

}  // namespace

std::span<const ParameterRule> parameter_rules() {
  return kRules;
}

const ParameterRule* find_parameter_rule(std::string_view field) {
  for (const ParameterRule& rule : kRules) {
    if (field == rule.field) {
      return &rule;
    }
  }
  return nullptr;
}

bool in_range(const ParameterRule& rule, double value, double max) {
  if (!std::isfinite(value)) {
    return false;
  }
  return (rule.min_exclusive ? value > rule.min : value >= rule.min) && value <= max;
}

bool in_range(const ParameterRule& rule, double value) {
  return in_range(rule, value, rule.max);
}

std::string range_text(const ParameterRule& rule) {
  return range(rule, symbolic_max(rule));
}

std::string range_text(const ParameterRule& rule, double max) {
  return range(rule, number(max));
}

std::string parameters_markdown() {
  std::string text =
      "# Request parameters\n\n"
      "Generated from the table in `src/sampling/parameter_rules.cc`; a test compares the two. "
      "Both APIs hold these\n"
      "ranges; a value outside is refused with the field, the value and the range. `cap` names the "
      "configuration field\n"
      "that sets the upper bound, with the value it may be raised to. `seed` takes any 64 bits "
      "(HTTP int64, negative by\n"
      "two's complement) and is drawn and reported when absent.\n\n"
      "| field | kind | range | default | cap | notes |\n| --- | --- | --- | --- | --- | --- |\n";
  for (const ParameterRule& rule : kRules) {
    text += std::string("| `") + rule.field + "` | " + kind_text(rule.kind) + " | " +
            range_text(rule) + " | " + rule.default_text + " | ";
    if (rule.cap != nullptr) {
      text += std::string("`") + rule.cap + "`, up to " + number(rule.hard_max);
    }
    text += std::string(" | ") + rule.notes + " |\n";
  }
  return text;
}

}  // namespace stet::sampling
