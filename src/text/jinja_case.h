// Upper and lower case of origin strings: Unicode's simple mappings (one code point to one), and German sharp s.
#pragma once

#include "src/text/jinja_text.h"

namespace stet::text {

enum class Case : uint8_t {
  kUpper,
  kLower,
  kCapitalize,  // the first character upper, the others lower
  kPythonTitle, // str.title: after each character that has no case
  kJinjaTitle,  // filter title: after white space and - ( { [ <
  kSwap,
};
OriginText change_case(const OriginText& text, Case how);

}  // namespace stet::text
