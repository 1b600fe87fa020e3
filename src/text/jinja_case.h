// Upper and lower case of origin strings: Unicode's simple mappings (one code point to one), and
// German sharp s.
#pragma once

#include "src/text/jinja_text.h"

namespace stet::text {

enum class Case : uint8_t {
  kUpper,
  kLower,
  kCapitalize,   // the first character upper, the others lower
  kPythonTitle,  // str.title: after each character that has no case
  kJinjaTitle,   // filter title: after white space and - ( { [ <
  kSwap,
};
OriginText change_case(const OriginText& text, Case how);
constexpr size_t kCaseBytesPerStep =
    256;  // of a template's budget: character by character is slower than copying

// str.islower, str.isupper: some cased character, and all cased ones of that case (kLower or
// kUpper).
bool has_case(const OriginText& text, Case how);

// str.isdigit of Python: decimal digits of every script, superscripts, circled digits ...
bool is_python_digit(char32_t code_point);

}  // namespace stet::text
