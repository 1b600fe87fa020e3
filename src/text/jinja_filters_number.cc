// Filters that make numbers.
#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>

#include "src/text/jinja_filters.h"
#include "src/text/jinja_interpreter.h"
#include "src/text/jinja_strings.h"

namespace stet::text {
namespace {

constexpr size_t kMaxNumberBytes =
    400;  // a longer text is no number here: no float has more digits that matter

// What Python's float() reads, for strtod: digits with single underscores between, spaces around;
// inf and nan.
std::optional<std::string> number_text(const std::string& stripped) {
  std::string word =
      stripped.substr(!stripped.empty() && (stripped[0] == '-' || stripped[0] == '+') ? 1 : 0);
  std::transform(word.begin(), word.end(), word.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (word == "inf" || word == "infinity" || word == "nan") {
    return stripped;
  }
  std::string out;
  for (size_t i = 0; i < stripped.size(); ++i) {
    const char c = stripped[i];
    const bool between = i > 0 && i + 1 < stripped.size() &&
                         std::isdigit(static_cast<unsigned char>(stripped[i - 1])) != 0 &&
                         std::isdigit(static_cast<unsigned char>(stripped[i + 1])) != 0;
    if (c == '_' && between) {
      continue;
    }
    if (std::string_view("0123456789+-.eE").find(c) == std::string_view::npos) {
      return std::nullopt;
    }
    out.push_back(c);
  }
  return out.empty() ? std::nullopt : std::optional<std::string>(out);
}

// What Python's int(text, base) reads, of text without spaces around; nullopt if it is none.
std::optional<int64_t> read_int(std::string_view text, int64_t base) {
  const bool negative = text.starts_with('-');
  text.remove_prefix(negative || text.starts_with('+') ? 1 : 0);
  const auto prefix = [&](char letter) {
    return text.size() > 2 && text[0] == '0' &&
           std::tolower(static_cast<unsigned char>(text[1])) == letter;
  };
  bool after_digit = false;  // an underscore may follow
  for (const auto& [letter, radix] : {std::pair{'x', 16}, std::pair{'o', 8}, std::pair{'b', 2}}) {
    if (prefix(letter) && (base == 0 || base == radix)) {
      base = radix;
      text.remove_prefix(2);
      after_digit = true;
      break;
    }
  }
  if (base == 0 && text.size() > 1 && text[0] == '0' &&
      text.find_first_not_of("0_") != std::string_view::npos) {
    return std::nullopt;  // 012: neither octal nor decimal
  }
  base = base == 0 ? 10 : base;
  int64_t value = 0;  // negative, whose range is the larger one
  bool overflow = false;
  for (const char c : text) {
    if (c == '_' && after_digit) {
      after_digit = false;
      continue;
    }
    const int lower = std::tolower(static_cast<unsigned char>(c));
    const int digit = lower >= '0' && lower <= '9'   ? lower - '0'
                      : lower >= 'a' && lower <= 'z' ? lower - 'a' + 10
                                                     : 99;
    if (digit >= base) {
      return std::nullopt;
    }
    overflow = overflow || __builtin_mul_overflow(value, base, &value) ||
               __builtin_sub_overflow(value, digit, &value);
    after_digit = true;
  }
  if (!after_digit) {
    return std::nullopt;  // empty, or an underscore at the end
  }
  if (overflow || (!negative && __builtin_sub_overflow(int64_t{0}, value, &value))) {
    throw JinjaError("an integer has more than 64 bits");
  }
  return value;
}

// Empty, which is no number, if it is too long for one.
std::string stripped_text(const OriginText& text) {
  const std::string stripped = strip(text, nullptr, true, true).str();
  return stripped.size() > kMaxNumberBytes ? std::string() : stripped;
}

std::optional<double> read_float(const Value& value) {
  if (const auto* d = value.get<double>()) {
    return *d;
  }
  if (value.is_int() || value.is_bool()) {
    return value.is_int() ? static_cast<double>(*value.get<int64_t>())
                          : (*value.get<bool>() ? 1.0 : 0.0);
  }
  const auto digits =
      value.text() != nullptr ? number_text(stripped_text(*value.text())) : std::nullopt;
  if (!digits) {
    return std::nullopt;
  }
  char* end = nullptr;
  const double number = std::strtod(digits->c_str(), &end);
  return *end == '\0' ? std::optional<double>(number) : std::nullopt;
}

void refuse_undefined(const Value& value) {
  if (value.is_undefined()) {
    throw JinjaError(value.get<Undefined>()->what);
  }
}

Value to_int(Interpreter& run, const Value& input, Args& args) {
  Value otherwise = args.next("default").value_or(Value(int64_t{0}));
  const int64_t base = args.next_int("base", 10);
  refuse_undefined(input);
  if (input.is_int()) {
    return input;
  }
  if (input.text() != nullptr) {
    run.charge_walk(input);
    const bool valid_base =
        base == 0 || (base >= 2 && base <= 36);  // another: only the way over float is left
    if (const auto number =
            valid_base ? read_int(stripped_text(*input.text()), base) : std::nullopt) {
      return *number;
    }
  }
  const auto number = read_float(input);
  if (!number || std::isnan(*number) || (input.text() != nullptr && std::isinf(*number))) {
    return otherwise;
  }
  if (std::fabs(*number) >= 9.2e18) {
    throw JinjaError("an integer has more than 64 bits");
  }
  return static_cast<int64_t>(*number);
}

Value to_float(Interpreter& run, const Value& input, Args& args) {
  const Value otherwise = args.next("default").value_or(Value(0.0));
  refuse_undefined(input);
  run.charge_walk(input);
  const auto number = read_float(input);
  return number ? Value(*number) : otherwise;
}

Value absolute(Interpreter&, const Value& input, Args&) {
  refuse_undefined(input);
  if (const auto* d = input.get<double>()) {
    return std::fabs(*d);
  }
  if (!input.is_number()) {
    throw JinjaError("bad operand type for abs(): '" + input.type_name() + "'");
  }
  const int64_t integer = input.is_int() ? *input.get<int64_t>() : (*input.get<bool>() ? 1 : 0);
  return integer < 0 ? negate(integer, false) : Value(integer);
}

// round(int, precision) of Python: an integer, half to even.
Value round_integer(int64_t value, int64_t precision) {
  if (precision >= 0) {
    return value;
  }
  if (precision < -19) {
    return int64_t{0};
  }
  __int128 unit = 1;
  for (int64_t i = precision; i < 0; ++i) {
    unit *= 10;
  }
  __int128 down = value / unit;
  const __int128 rest = value % unit;  // of the sign of value
  const __int128 twice = (rest < 0 ? -rest : rest) * 2;
  if (twice > unit || (twice == unit && down % 2 != 0)) {
    down += value < 0 ? -1 : 1;
  }
  const __int128 rounded = down * unit;
  if (rounded > INT64_MAX || rounded < INT64_MIN) {
    throw JinjaError("an integer has more than 64 bits");
  }
  return static_cast<int64_t>(rounded);
}

Value round_filter(Interpreter&, const Value& input, Args& args) {
  const int64_t precision = args.next_int("precision", 0);
  const auto method = args.next_text("method").value_or(OriginText("common", Origin::kTemplate));
  refuse_undefined(input);
  const auto number = input.is_number() ? read_float(input) : std::nullopt;
  if (!number) {
    throw JinjaError("round needs a number, not '" + input.type_name() + "'");
  }
  if (precision < -300 || precision > 300) {
    throw JinjaError("round: precision must be -300 to 300");
  }
  if (method.str() == "common" && !input.is_float()) {
    return round_integer(integer_argument(input, "value"), precision);
  }
  if (method.str() == "ceil" || method.str() == "floor") {
    const double scale = std::pow(10.0, static_cast<double>(precision));
    return (method.str() == "ceil" ? std::ceil(*number * scale) : std::floor(*number * scale)) /
           scale;
  }
  if (method.str() != "common") {
    throw JinjaError("round: method must be common, ceil or floor");
  }
  if (precision < 0) {
    const double scale = std::pow(10.0, static_cast<double>(-precision));
    return std::nearbyint(*number / scale) * scale;
  }
  if (!std::isfinite(*number)) {
    return *number;
  }
  char buffer[700];  // printf rounds the exact decimal value half to even, as Python's round does
  std::snprintf(buffer, sizeof buffer, "%.*f", static_cast<int>(precision), *number);
  return std::strtod(buffer, nullptr);
}

constexpr Filter kNumberFilters[] = {
    {"int", to_int},
    {"float", to_float},
    {"abs", absolute},
    {"round", round_filter},
};

}  // namespace

std::span<const Filter> number_filters() {
  return kNumberFilters;
}

}  // namespace stet::text
