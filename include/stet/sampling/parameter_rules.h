// The one table of ranges and defaults of every numeric request parameter (api.md sec. 2.1). Server
// validation, its tests and docs/parameters.md read this table; nobody writes a range a second
// time.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace stet::sampling {

enum class ParameterKind : uint8_t {
  kFloat,  // finite
  kUint,   // unsigned integer
  kCount,  // number of entries of a list or map
  kBytes,  // bytes of a string
};

// Where the upper bound comes from when it is no constant: the caller resolves it.
enum class ParameterMax : uint8_t {
  kFixed,  // ParameterRule::max
  kCap,  // ParameterRule::max is the default of a configured cap, `cap` names it; `hard_max` bounds
         // the cap itself
  kVocab,      // vocabulary size
  kVocabId,    // vocabulary size - 1 (a token id)
  kRoom,       // model length - prompt tokens
  kMaxTokens,  // the request's own effective max_tokens
};

struct ParameterRule {
  const char* field;  // proto path: "sampling.temperature"; "[]" = each element
  ParameterKind kind;
  double min;
  double max;
  bool min_exclusive;
  ParameterMax max_from;
  const char* cap;           // configuration field for kCap: "limits.max_n"; else null
  double hard_max;           // for kCap: what the cap may be raised to; else 0
  const char* default_text;  // as docs/parameters.md prints it
  const char* notes;
};

std::span<const ParameterRule> parameter_rules();                  // in the order of api.md
const ParameterRule* find_parameter_rule(std::string_view field);  // null if unknown

// False for NaN, infinities and values outside. `max` replaces rule.max where the rule's bound is
// not fixed.
bool in_range(const ParameterRule& rule, double value);
bool in_range(const ParameterRule& rule, double value, double max);
// "0..2", "> 0, <= 10", "0..20": for error messages.
std::string range_text(const ParameterRule& rule);
std::string range_text(const ParameterRule& rule, double max);

std::string parameters_markdown();  // the whole of docs/parameters.md

}  // namespace stet::sampling
