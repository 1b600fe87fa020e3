// Splits a template into tokens, as Jinja 3 does with trim_blocks and lstrip_blocks (what
// transformers sets): whitespace control, comments and raw blocks are gone afterwards.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace stet::text {

struct Token {
  enum class Kind : uint8_t {
    kData,
    kPrintBegin,
    kPrintEnd,
    kBlockBegin,
    kBlockEnd,
    kName,
    kString,
    kInteger,
    kFloat,
    kOperator,
    kEnd,
  };
  Kind kind = Kind::kEnd;
  std::string text;  // data; name; decoded string; digits; operator
  int line = 1, column = 1;

  bool is(Kind k) const { return kind == k; }
  bool is_op(std::string_view op) const { return kind == Kind::kOperator && text == op; }
  bool is_name(std::string_view name) const { return kind == Kind::kName && text == name; }
};

// Throws JinjaError. The last token is kEnd. `source` is valid UTF-8.
std::vector<Token> tokenize_template(std::string_view source);

}  // namespace stet::text
