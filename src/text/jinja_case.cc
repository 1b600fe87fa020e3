#include "src/text/jinja_case.h"

#include <utf8proc.h>

#include <string>

#include "src/text/utf8.h"

namespace stet::text {
namespace {

char32_t upper(char32_t c) { return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))); }
char32_t lower(char32_t c) { return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))); }
char32_t title(char32_t c) { return static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))); }
bool is_cased(char32_t c) { return upper(c) != c || lower(c) != c; }

bool begins_word(char32_t previous) {
  return is_python_space(previous) || previous == '-' || previous == '(' || previous == '{' || previous == '[' ||
         previous == '<';
}

constexpr char32_t kSharpS = 0xDF;  // upper case "SS": the one common character that grows

}  // namespace

OriginText change_case(const OriginText& text, Case how) {
  OriginText out;
  std::string changed;
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
      changed = how == Case::kUpper || how == Case::kSwap ? "SS" : "Ss";
    } else {
      append_code_point(!raise ? lower(c) : how == Case::kUpper || how == Case::kSwap ? upper(c) : title(c), &changed);
    }
    out.append(changed, text.origin_at(at));
    previous = c;
    at += unit.num_bytes;
  }
  return out;
}

}  // namespace stet::text
