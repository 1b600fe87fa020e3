#include "src/text/jinja_lexer.h"

#include <algorithm>
#include <cctype>

#include "src/text/jinja_value.h"
#include "src/text/utf8.h"

namespace stet::text {
namespace {

constexpr size_t kNotFound = std::string_view::npos;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_name_char(char c) {
  return is_name_start(c) || is_digit(c);
}

// Line ends become \n, one at the very end is dropped (keep_trailing_newline is off).
std::string normalise(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out.push_back('\n');
      i += i + 1 < source.size() && source[i + 1] == '\n' ? 1 : 0;
    } else {
      out.push_back(source[i]);
    }
  }
  if (!out.empty() && out.back() == '\n') {
    out.pop_back();
  }
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      const size_t tag = next_tag(at_);
      if (tag == kNotFound) {
        add(Token::Kind::kData, std::string(source_.substr(at_)), at_);
        at_ = source_.size();
        break;
      }
      text_before_tag(at_, tag);
      at_ = tag;
      read_tag();
    }
    add(Token::Kind::kEnd, "", at_);
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(size_t at, const std::string& message) {
    const auto [line, column] = place(at);
    throw JinjaError(line, column, message);
  }

  std::pair<int, int> place(size_t at) {
    for (; place_at_ < at; ++place_at_) {
      line_ += source_[place_at_] == '\n' ? 1 : 0;
      line_begin_ = source_[place_at_] == '\n' ? place_at_ + 1 : line_begin_;
    }
    return {line_, static_cast<int>(at - std::min(at, line_begin_)) + 1};
  }

  void add(Token::Kind kind, std::string text, size_t at) {
    const auto [line, column] = place(at);
    tokens_.push_back({kind, std::move(text), line, column});
  }

  size_t next_tag(size_t from) const {
    for (size_t at = source_.find('{', from); at != kNotFound; at = source_.find('{', at + 1)) {
      if (at + 1 < source_.size() &&
          (source_[at + 1] == '{' || source_[at + 1] == '%' || source_[at + 1] == '#')) {
        return at;
      }
    }
    return kNotFound;
  }

  char sign_at(size_t at) const {
    return at < source_.size() && (source_[at] == '-' || source_[at] == '+') ? source_[at] : '\0';
  }

  // The text in [begin, tag), less what the tag's sign or lstrip_blocks takes from its end.
  void text_before_tag(size_t begin, size_t tag) {
    std::string_view text = source_.substr(begin, tag - begin);
    const char sign = sign_at(tag + 2);
    if (sign == '-') {
      text = strip_end(text);
    } else if (sign != '+' && source_[tag + 1] != '{') {
      const size_t newline = text.rfind('\n');
      const size_t line_begin = newline == kNotFound ? 0 : newline + 1;
      if ((line_begin > 0 || line_starting_) && strip_end(text.substr(line_begin)).empty()) {
        text = text.substr(0, line_begin);
      }
    }
    if (!text.empty()) {
      add(Token::Kind::kData, std::string(text), begin);
    }
  }

  static std::string_view strip_end(std::string_view text) {
    while (!text.empty()) {
      size_t last = text.size() - 1;
      while (last > 0 && is_continuation_byte(text[last])) {
        --last;
      }
      if (!is_python_space(decode_utf8(text.substr(last)).code_point)) {
        break;
      }
      text.remove_suffix(text.size() - last);
    }
    return text;
  }

  size_t skip_space(size_t at) const {
    while (at < source_.size()) {
      const Utf8Unit unit = decode_utf8(source_.substr(at));
      if (!is_python_space(unit.code_point)) {
        break;
      }
      at += unit.num_bytes;
    }
    return at;
  }

  bool starts(size_t at, std::string_view what) const {
    return source_.substr(at, what.size()) == what;
  }

  // The end of a block or comment at `at`: "+%}", "-%}" and space, or "%}" and a newline. kNotFound
  // if it is none.
  size_t end_of_tag(size_t at, std::string_view closing) const {
    const char sign = sign_at(at);
    const size_t bracket = sign != '\0' ? at + 1 : at;
    if (!starts(bracket, closing)) {
      return kNotFound;
    }
    const size_t after = bracket + closing.size();
    if (sign == '-') {
      return skip_space(after);
    }
    const bool trims =
        sign == '\0' && closing != "}}" && after < source_.size() && source_[after] == '\n';
    return trims ? after + 1 : after;
  }

  void finish_tag(size_t end) {
    line_starting_ = end > 0 && source_[end - 1] == '\n';
    at_ = end;
  }

  void read_tag() {
    const size_t tag = at_;
    const char type = source_[tag + 1];
    const size_t inside = tag + 2 + (sign_at(tag + 2) != '\0' ? 1 : 0);
    if (type == '#') {
      size_t end = source_.find("#}", inside);
      if (end == kNotFound) {
        fail(tag, "comment is not closed");
      }
      if (end > inside && sign_at(end - 1) != '\0') {
        --end;
      }
      finish_tag(end_of_tag(end, "#}"));
    } else if (type == '%' && starts(skip_space(inside), "raw") &&
               raw_body(skip_space(inside) + 3) != kNotFound) {
      read_raw(raw_body(skip_space(inside) + 3));
    } else {
      add(type == '{' ? Token::Kind::kPrintBegin : Token::Kind::kBlockBegin, "", tag);
      read_expression(inside, tag, type == '{' ? "}}" : "%}",
                      type == '{' ? Token::Kind::kPrintEnd : Token::Kind::kBlockEnd);
    }
  }

  // After the word "raw": where the raw text begins, or kNotFound if this is no raw tag.
  size_t raw_body(size_t at) const {
    at = skip_space(at);
    if (starts(at, "-%}")) {
      return skip_space(at + 3);
    }
    return starts(at, "%}") ? at + 2 : kNotFound;
  }

  void read_raw(size_t begin) {
    line_starting_ = source_[begin - 1] == '\n';
    for (size_t tag = source_.find("{%", begin); tag != kNotFound;
         tag = source_.find("{%", tag + 1)) {
      const size_t word = skip_space(tag + 2 + (sign_at(tag + 2) != '\0' ? 1 : 0));
      const size_t end =
          starts(word, "endraw") ? end_of_tag(skip_space(word + 6), "%}") : kNotFound;
      if (end != kNotFound) {
        text_before_tag(begin, tag);
        finish_tag(end);
        return;
      }
    }
    fail(at_, "raw block is not closed");
  }

  void read_expression(size_t at, size_t tag, std::string_view closing, Token::Kind end_kind) {
    std::string open;  // brackets waiting for their partner: inside them "}}" does not end the tag
    while (true) {
      at = skip_space(at);
      if (at >= source_.size()) {
        fail(tag, "tag is not closed: expected '" + std::string(closing) + "'");
      }
      if (open.empty()) {
        if (const size_t end = end_of_tag_of(at, closing); end != kNotFound) {
          add(end_kind, "", at);
          finish_tag(end);
          return;
        }
      }
      at = read_token(at, &open);
    }
  }

  // "}}" takes no "+", so "{{ a +}}" is an error there and "-" strips.
  size_t end_of_tag_of(size_t at, std::string_view closing) const {
    return closing == "}}" && source_[at] == '+' ? kNotFound : end_of_tag(at, closing);
  }

  size_t read_token(size_t at, std::string* open) {
    const char c = source_[at];
    if (is_name_start(c)) {
      size_t end = at + 1;
      while (end < source_.size() && is_name_char(source_[end])) {
        ++end;
      }
      add(Token::Kind::kName, std::string(source_.substr(at, end - at)), at);
      return end;
    }
    if (is_digit(c)) {
      return read_number(at);
    }
    if (c == '\'' || c == '"') {
      return read_string(at);
    }
    return read_operator(at, open);
  }

  size_t skip_digits(size_t at) const {
    while (at < source_.size() &&
           (is_digit(source_[at]) ||
            (source_[at] == '_' && at + 1 < source_.size() && is_digit(source_[at + 1])))) {
      ++at;
    }
    return at;
  }

  size_t read_number(size_t at) {
    size_t end = skip_digits(at);
    const bool after_dot = at > 0 && source_[at - 1] == '.';  // x.0.1: indices, no float
    auto char_at = [this](size_t i) { return i < source_.size() ? source_[i] : '\0'; };
    bool is_float = false;
    if (!after_dot && char_at(end) == '.' && is_digit(char_at(end + 1))) {
      end = skip_digits(end + 1);
      is_float = true;
    }
    if (!after_dot && (char_at(end) == 'e' || char_at(end) == 'E')) {
      const size_t digits = end + 1 + (char_at(end + 1) == '+' || char_at(end + 1) == '-' ? 1 : 0);
      if (is_digit(char_at(digits))) {
        end = skip_digits(digits);
        is_float = true;
      }
    }
    std::string digits(source_.substr(at, end - at));
    std::erase(digits, '_');
    if (!is_float && digits.size() > 1 && digits[0] == '0' &&
        digits.find_first_not_of('0') != std::string::npos) {
      fail(at, "an integer may not begin with 0");
    }
    if (is_name_start(char_at(end))) {
      fail(end, std::string("unexpected '") + char_at(end) + "' after a number");
    }
    add(is_float ? Token::Kind::kFloat : Token::Kind::kInteger, digits, at);
    return end;
  }

  size_t read_string(size_t at) {
    const char quote = source_[at];
    std::string out;
    size_t i = at + 1;
    while (i < source_.size() && source_[i] != quote) {
      if (source_[i] == '\\' && i + 1 < source_.size()) {
        i = read_escape(i, &out);
      } else {
        out.push_back(source_[i++]);
      }
    }
    if (i >= source_.size()) {
      fail(at, "string is not closed");
    }
    add(Token::Kind::kString, std::move(out), at);
    return i + 1;
  }

  // Python's escapes; what is none keeps its backslash.
  size_t read_escape(size_t at, std::string* out) {
    const char c = source_[at + 1];
    static constexpr std::string_view kLetters = "\\'\"abfnrtv";
    static constexpr std::string_view kMeanings = "\\'\"\a\b\f\n\r\t\v";
    if (const size_t found = kLetters.find(c); found != kNotFound) {
      out->push_back(kMeanings[found]);
      return at + 2;
    }
    if (c == '\n') {
      return at + 2;
    }
    if (c >= '0' && c <= '7') {
      return read_code(at, at + 1, 3, 8, false, out);
    }
    if (c == 'x' || c == 'u' || c == 'U') {
      return read_code(at, at + 2, c == 'x' ? 2 : c == 'u' ? 4 : 8, 16, true, out);
    }
    if (c == 'N') {
      fail(at, "named characters (\\N) are not supported");
    }
    out->push_back('\\');
    return at + 1;
  }

  size_t read_code(size_t escape, size_t at, size_t max_digits, int base, bool exact,
                   std::string* out) {
    size_t end = at;
    auto valid = [&](char c) {
      return base == 8 ? c >= '0' && c <= '7' : std::isxdigit(static_cast<unsigned char>(c)) != 0;
    };
    while (end < source_.size() && end - at < max_digits && valid(source_[end])) {
      ++end;
    }
    if (exact && end - at != max_digits) {
      fail(escape, "escape needs " + std::to_string(max_digits) + " hexadecimal digits");
    }
    const auto code =
        static_cast<char32_t>(std::stoul(std::string(source_.substr(at, end - at)), nullptr, base));
    if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) {
      fail(escape, "escape is no character");
    }
    append_code_point(code, out);
    return end;
  }

  size_t read_operator(size_t at, std::string* open) {
    static constexpr std::string_view kPairs[] = {"//", "**", "==", "!=", ">=", "<="};
    for (const std::string_view pair : kPairs) {
      if (starts(at, pair)) {
        add(Token::Kind::kOperator, std::string(pair), at);
        return at + 2;
      }
    }
    const char c = source_[at];
    if (std::string_view("+-/*%~[](){}><=.:|,;").find(c) == kNotFound) {
      fail(at, "unexpected character '" +
                   std::string(source_.substr(at, decode_utf8(source_.substr(at)).num_bytes)) +
                   "'");
    }
    if (c == '(' || c == '[' || c == '{') {
      open->push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
    } else if (c == ')' || c == ']' || c == '}') {
      if (open->empty() || open->back() != c) {
        fail(at, std::string("unexpected '") + c + "'");
      }
      open->pop_back();
    }
    add(Token::Kind::kOperator, std::string(1, c), at);
    return at + 1;
  }

  std::string_view source_;
  size_t at_ = 0;
  bool line_starting_ = true;  // what was eaten last ended a line
  std::vector<Token> tokens_;
  size_t place_at_ = 0, line_begin_ = 0;  // place() walks forward only
  int line_ = 1;
};

}  // namespace

std::vector<Token> tokenize_template(std::string_view source) {
  const std::string text = normalise(source);
  return Lexer(text).run();
}

}  // namespace stet::text
