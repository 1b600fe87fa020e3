#include "src/text/jinja_case.h"

#include <utf8proc.h>

#include <algorithm>
#include <string>
#include <utility>

#include "src/text/utf8.h"

namespace stet::text {
namespace {

char32_t upper(char32_t c) {
  if (c < 0x80) {
    return c >= 'a' && c <= 'z' ? c - 0x20 : c;
  }
  return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c)));
}
char32_t lower(char32_t c) {
  if (c < 0x80) {
    return c >= 'A' && c <= 'Z' ? c + 0x20 : c;
  }
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
}
char32_t title(char32_t c) {
  return static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c)));
}
bool is_cased(char32_t c) {
  return upper(c) != c || lower(c) != c;
}

constexpr Case kCaseless = Case::kSwap;

// kLower, kUpper, kPythonTitle (a digraph like U+01C5) or kCaseless.
Case case_of(char32_t c) {
  const bool lowers = lower(c) != c;
  const bool raises = upper(c) != c;
  if (c < 0x80) {
    return lowers ? Case::kUpper : raises ? Case::kLower : kCaseless;
  }
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LL: return Case::kLower;
    case UTF8PROC_CATEGORY_LU: return Case::kUpper;
    case UTF8PROC_CATEGORY_LT: return Case::kPythonTitle;
    default:
      return lowers   ? Case::kUpper
             : raises ? Case::kLower
                      : kCaseless;  // numerals, circled letters
  }
}

bool begins_word(char32_t previous) {
  return is_python_space(previous) || previous == '-' || previous == '(' || previous == '{' ||
         previous == '[' || previous == '<';
}

constexpr char32_t kSharpS = 0xDF;  // upper case "SS": the one common character that grows

}  // namespace

bool has_case(const OriginText& text, Case how) {
  bool found = false;
  for (std::string_view rest = text.str(); !rest.empty();) {
    const Utf8Unit unit = decode_utf8(rest);
    const Case is = case_of(unit.code_point);
    if (is == how) {
      found = true;
    } else if (is != kCaseless) {
      return false;
    }
    rest.remove_prefix(unit.num_bytes);
  }
  return found;
}

bool is_python_digit(char32_t code_point) {
  // Numeric_Type=Digit, which utf8proc does not tell (Unicode 14: python3 -c with str.isdigit and
  // category != "Nd").
  static constexpr std::pair<char32_t, char32_t> kOthers[] = {
      {0xB2, 0xB3},       {0xB9, 0xB9},       {0x1369, 0x1371},   {0x19DA, 0x19DA},
      {0x2070, 0x2070},   {0x2074, 0x2079},   {0x2080, 0x2089},   {0x2460, 0x2468},
      {0x2474, 0x247C},   {0x2488, 0x2490},   {0x24EA, 0x24EA},   {0x24F5, 0x24FD},
      {0x24FF, 0x24FF},   {0x2776, 0x277E},   {0x2780, 0x2788},   {0x278A, 0x2792},
      {0x10A40, 0x10A43}, {0x10E60, 0x10E68}, {0x11052, 0x1105A}, {0x1F100, 0x1F10A}};
  return utf8proc_category(static_cast<utf8proc_int32_t>(code_point)) == UTF8PROC_CATEGORY_ND ||
         std::any_of(std::begin(kOthers), std::end(kOthers), [code_point](const auto& range) {
           return range.first <= code_point && code_point <= range.second;
         });
}

OriginText change_case(const OriginText& text, Case how) {
  OriginText out;
  std::string changed;
  const bool titles =
      how == Case::kCapitalize || how == Case::kPythonTitle;  // Jinja's title takes upper case
  char32_t previous = 0;
  for (size_t at = 0; at < text.size();) {
    const Utf8Unit unit = decode_utf8(std::string_view(text.str()).substr(at));
    const char32_t c = unit.code_point;
    const bool first = at == 0;
    bool raise = how == Case::kUpper;
    if (how == Case::kCapitalize) {
      raise = first;
    } else if (how == Case::kPythonTitle) {
      raise = first || !is_cased(previous);
    } else if (how == Case::kJinjaTitle) {
      raise = first || begins_word(previous);
    } else if (how == Case::kSwap) {
      raise = lower(c) == c;
    }
    changed.clear();
    if (raise && c == kSharpS) {
      changed = titles ? "Ss" : "SS";
    } else {
      append_code_point(!raise ? lower(c) : titles ? title(c) : upper(c), &changed);
    }
    out.append(changed, text.origin_at(at));
    previous = c;
    at += unit.num_bytes;
  }
  return out;
}

}  // namespace stet::text
