#include "src/text/protocol_mark.h"

#include <algorithm>

namespace stet::text {
namespace {

// The tags that Gemma's vocabularies have as user-defined tokens, for opening and closing ("bbox"
// is no HTML, but stands among them). Tags that agents use as marks ("think", "tool_call") do not
// belong here.
constexpr std::string_view kTags[] = {
    "a",      "b",   "bbox",  "blockquote", "body",  "caption", "code", "div",  "em",
    "footer", "h1",  "h2",    "h3",         "h4",    "h5",      "h6",   "html", "i",
    "iframe", "img", "li",    "s",          "span",  "strong",  "sub",  "sup",  "table",
    "tbody",  "td",  "tfoot", "th",         "thead", "tr",      "u",    "ul"};

bool is_tag(std::string_view inside) {
  if (inside.starts_with('/')) {
    inside.remove_prefix(1);
  }
  return std::find(std::begin(kTags), std::end(kTags), inside) != std::end(kTags);
}

bool is_letter_or_digit(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
         static_cast<unsigned char>(c) >= 0x80;
}

}  // namespace

bool is_protocol_mark(std::string_view name) {
  constexpr std::string_view kOpening = "<[{(", kClosing = ">]})";
  const size_t begin = name.find_first_not_of(" \t\n\r");
  if (begin == std::string_view::npos) {
    return false;
  }
  name = name.substr(begin, name.find_last_not_of(" \t\n\r") + 1 - begin);
  const size_t bracket = kOpening.find(name.front());
  if (name.size() < 3 || bracket == std::string_view::npos || name.back() != kClosing[bracket]) {
    return false;
  }
  const std::string_view inside = name.substr(1, name.size() - 2);
  return std::any_of(inside.begin(), inside.end(), is_letter_or_digit) &&
         !(name.front() == '<' && is_tag(inside));
}

}  // namespace stet::text
