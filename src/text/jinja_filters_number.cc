// Filters that make numbers.
#include <cmath>
#include <cstdlib>

#include "src/text/jinja_filters.h"
#include "src/text/jinja_interpreter.h"
#include "src/text/jinja_strings.h"

namespace stet::text {
namespace {

// What Python's float() and int() read: digits with single underscores between, spaces around.
std::optional<std::string> number_text(const OriginText& text) {
  const std::string stripped = strip(text, nullptr, true, true).str();
  std::string out;
  for (size_t i = 0; i < stripped.size(); ++i) {
    const char c = stripped[i];
    const bool between = i > 0 && i + 1 < stripped.size() && std::isdigit(static_cast<unsigned char>(stripped[i - 1])) != 0 &&
                         std::isdigit(static_cast<unsigned char>(stripped[i + 1])) != 0;
    if (c == '_' && between) {
      continue;
    }
    if (std::string_view("0123456789+-.eE").find(c) == std::string_view::npos) {
      return std::nullopt;
    }
    out.push_back(c);
  }
  return out.empty() || out.size() > 400 ? std::nullopt : std::optional<std::string>(out);
}

std::optional<double> read_float(const Value& value) {
  if (const auto* d = value.get<double>()) {
    return *d;
  }
  if (value.is_int() || value.is_bool()) {
    return value.is_int() ? static_cast<double>(*value.get<int64_t>()) : (*value.get<bool>() ? 1.0 : 0.0);
  }
  const auto digits = value.text() != nullptr ? number_text(*value.text()) : std::nullopt;
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

Value to_int(Interpreter&, const Value& input, Args& args) {
  const Value otherwise = args.next("default").value_or(Value(int64_t{0}));
  const int64_t base = args.next_int("base", 10);
  refuse_undefined(input);
  if (input.is_int()) {
    return input;
  }
  if (input.text() != nullptr) {
    if (base != 0 && (base < 2 || base > 36)) {
      throw JinjaError("int: base must be 0 or 2 to 36");
    }
    const std::string stripped = strip(*input.text(), nullptr, true, true).str();
    const std::string text = base == 10 ? number_text(*input.text()).value_or("") : stripped;
    char* end = nullptr;
    errno = 0;
    const int64_t number = std::strtoll(text.c_str(), &end, static_cast<int>(base));
    if (!text.empty() && *end == '\0' && errno == 0) {
      return number;
    }
    if (errno == ERANGE && *end == '\0') {
      throw JinjaError("an integer has more than 64 bits");
    }
  }
  const auto number = read_float(input);
  if (!number || !std::isfinite(*number)) {
    return otherwise;
  }
  if (std::fabs(*number) >= 9.2e18) {
    throw JinjaError("an integer has more than 64 bits");
  }
  return static_cast<int64_t>(*number);
}

Value to_float(Interpreter&, const Value& input, Args& args) {
  const Value otherwise = args.next("default").value_or(Value(0.0));
  refuse_undefined(input);
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
  if (method.str() == "ceil" || method.str() == "floor") {
    const double scale = std::pow(10.0, static_cast<double>(precision));
    return (method.str() == "ceil" ? std::ceil(*number * scale) : std::floor(*number * scale)) / scale;
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

constexpr Filter kFilters[] = {
    {"int", to_int},
    {"float", to_float},
    {"abs", absolute},
    {"round", round_filter},
};

}  // namespace

std::span<const Filter> number_filters() { return kFilters; }

}  // namespace stet::text
