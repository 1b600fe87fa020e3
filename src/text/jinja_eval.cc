#include <algorithm>
#include <cmath>

#include "src/text/jinja_interpreter.h"
#include "src/text/jinja_strings.h"

namespace stet::text {
namespace {

std::optional<int64_t> as_index(const Value& value) {
  return value.is_bool() || value.is_int() ? std::optional(as_int(value)) : std::nullopt;
}

[[noreturn]] void fail_undefined(const Value& value) {
  throw JinjaError(value.get<Undefined>()->what);
}

Value loop_attribute(const LoopState& loop, std::string_view name) {
  const auto index = static_cast<int64_t>(loop.index);
  const auto size = static_cast<int64_t>(loop.items->items.size());
  const std::pair<std::string_view, int64_t> counts[] = {{"index", index + 1},
                                                         {"index0", index},
                                                         {"revindex", size - index},
                                                         {"revindex0", size - index - 1},
                                                         {"length", size},
                                                         {"depth", 1},
                                                         {"depth0", 0}};
  for (const auto& [known, count] : counts) {
    if (name == known) {
      return count;
    }
  }
  if (name == "first" || name == "last") {
    return index == (name == "first" ? 0 : size - 1);
  }
  if (name == "previtem") {
    return index == 0 ? Value(Undefined{"there is no previous item"})
                      : loop.items->items[loop.index - 1];
  }
  if (name == "nextitem") {
    return index + 1 == size ? Value(Undefined{"there is no next item"})
                             : loop.items->items[loop.index + 1];
  }
  return Undefined{"'loop' has no attribute '" + std::string(name) + "'"};
}

Value missing(const Value& object, const std::string& name) {
  return Undefined{"'" + object.type_name() + " object' has no attribute '" + name + "'"};
}

}  // namespace

Value Interpreter::attribute(const Value& object, const std::string& name) {
  if (object.is_undefined()) {
    fail_undefined(object);
  }
  if (object.as_macro() != nullptr) {  // Jinja's have some; nothing a template needs
    throw JinjaError("a macro has no attribute '" + name + "'");
  }
  if (has_method(object, name)) {  // shadows a key of that name, as in Python
    return BoundMethod{std::make_shared<const Value>(object), name};
  }
  const Dict* dict =
      object.as_namespace() != nullptr ? &object.as_namespace()->attributes : object.as_dict();
  if (dict != nullptr) {
    const Value* found = dict->find(OriginText(name, Origin::kTemplate));
    return found != nullptr ? *found : missing(object, name);
  }
  if (const LoopState* loop = object.as_loop()) {
    return loop_attribute(*loop, name);
  }
  return missing(object, name);
}

Value Interpreter::item(const Value& object, const Value& key) {
  if (object.is_undefined()) {
    fail_undefined(object);
  }
  if (const Dict* dict = object.as_dict()) {
    charge_lookup(*dict, key);
    if (const Value* found = dict->find(key)) {
      return *found;
    }
  } else if (const auto at = as_index(key)) {
    const List* list = object.as_list();
    if (object.text() != nullptr) {
      charge(object.text()->size() / 1024);
      const auto offsets = code_point_offsets(object.text()->str());
      const auto size = static_cast<int64_t>(offsets.size()) - 1;
      const int64_t index = *at < 0 ? *at + size : *at;
      if (index >= 0 && index < size) {
        return object.text()->slice(offsets[static_cast<size_t>(index)],
                                    offsets[static_cast<size_t>(index) + 1]);
      }
    } else if (list != nullptr && list->kind != ListKind::kIterator &&
               list->kind != ListKind::kView) {
      const auto size = static_cast<int64_t>(list->items.size());
      const int64_t index = *at < 0 ? *at + size : *at;
      if (index >= 0 && index < size) {
        return list->items[static_cast<size_t>(index)];
      }
    }
  }
  return key.text() != nullptr ? attribute(object, key.text()->str())
                               : missing(object, text::repr(key));
}

Value Interpreter::call(const Value& callee, Args args) {
  if (const Macro* macro = callee.as_macro()) {
    return call_macro(*macro, std::move(args), nullptr);
  }
  if (const auto* method = callee.get<BoundMethod>()) {
    return call_method(*this, *method->self, method->name, std::move(args));
  }
  if (const auto* builtin = callee.get<Builtin>()) {
    return find_function(builtin->name)->apply(*this, args);
  }
  if (callee.is_undefined()) {
    fail_undefined(callee);
  }
  throw JinjaError("'" + callee.type_name() + "' object is not callable");
}

bool Interpreter::contains(const Value& container, const Value& item) {
  if (const OriginText* text = container.text()) {
    if (item.text() == nullptr) {
      throw JinjaError("'in <string>' needs a string, not '" + item.type_name() + "'");
    }
    charge(text->size() / 1024);
    return find_bytes(text->str(), item.text()->str()) != std::string::npos;
  }
  if (const Dict* dict = container.as_dict()) {
    if (!item.is_undefined()) {
      check_key(item);
    }
    charge_lookup(*dict, item);
    return dict->find(item) != nullptr;
  }
  const auto list = iterate(container);
  charge(list->items.size() / 16);
  return std::any_of(list->items.begin(), list->items.end(),
                     [&](const Value& one) { return equal(one, item); });
}

namespace {

// Recursion is counted in eval(): every level of an expression passes here once.
bool is_leaf(const Expr& expr) {
  return expr.kind == Expr::Kind::kConst || expr.kind == Expr::Kind::kName;
}

}  // namespace

Value Interpreter::eval(const Expr& expr) {
  if (expr.kind == Expr::Kind::kConst) {
    return expr.value;
  }
  if (is_leaf(expr)) {
    return lookup(expr.name);
  }
  const bool access = expr.kind == Expr::Kind::kAttribute || expr.kind == Expr::Kind::kItem;
  charge((access ? 0 : 1) +
         (expr.parts.size() + expr.arguments.positional.size() + expr.arguments.named.size()) / 16);
  if (++recursion_ > kMaxRecursion) {
    throw JinjaError(expr.line, expr.column, "the template nests too deeply");
  }
  Value value = eval_kind(expr);  // an error ends the render: the count is not used again
  --recursion_;
  return value;
}

Value Interpreter::eval_kind(const Expr& expr) {
  switch (expr.kind) {
    case Expr::Kind::kConst: return expr.value;
    case Expr::Kind::kName: return lookup(expr.name);
    case Expr::Kind::kList:
    case Expr::Kind::kTuple: return eval_list(expr);
    case Expr::Kind::kDict: return eval_dict(expr);
    case Expr::Kind::kNot: return !eval(*expr.parts[0]).truth();
    case Expr::Kind::kNegate:
    case Expr::Kind::kPlus: return negate(eval(*expr.parts[0]), expr.kind == Expr::Kind::kPlus);
    case Expr::Kind::kAnd:
    case Expr::Kind::kOr: {
      Value left = eval(*expr.parts[0]);
      return left.truth() == (expr.kind == Expr::Kind::kAnd) ? eval(*expr.parts[1]) : left;
    }
    case Expr::Kind::kBinary: return eval_binary(expr);
    case Expr::Kind::kConcat: return eval_concat(expr);
    case Expr::Kind::kCompare: return eval_compare(expr);
    case Expr::Kind::kCondition:
      if (eval(*expr.parts[1]).truth()) {
        return eval(*expr.parts[0]);
      }
      return expr.parts[2] != nullptr
                 ? eval(*expr.parts[2])
                 : Value(Undefined{"the inline if has no else and its condition is false"});
    case Expr::Kind::kAttribute: return attribute(eval(*expr.parts[0]), expr.name);
    case Expr::Kind::kItem: {
      const Value object = eval(*expr.parts[0]);
      return item(object, eval(*expr.parts[1]));
    }
    case Expr::Kind::kSlice: return eval_slice(expr);
    case Expr::Kind::kCall: return eval_call(expr, nullptr);
    case Expr::Kind::kFilter: return eval_filter(expr);
    case Expr::Kind::kTest: return eval_test(expr);
  }
  return Undefined{};
}

Value Interpreter::eval_list(const Expr& expr) {
  std::vector<Value> items;
  items.reserve(expr.parts.size());
  for (const auto& part : expr.parts) {
    items.push_back(eval(*part));
  }
  return list(std::move(items),
              expr.kind == Expr::Kind::kTuple ? ListKind::kTuple : ListKind::kList);
}

Value Interpreter::eval_dict(const Expr& expr) {
  auto dict = std::make_shared<Dict>();
  for (size_t i = 0; i < expr.parts.size(); i += 2) {
    const Value key = eval(*expr.parts[i]);
    charge_lookup(*dict, key);
    dict->set(key, eval(*expr.parts[i + 1]));
  }
  return std::shared_ptr<const Dict>(std::move(dict));
}

Value Interpreter::eval_binary(const Expr& expr) {
  const Value left = eval(*expr.parts[0]);
  const Value right = eval(*expr.parts[1]);
  return arithmetic(*this, expr.name, left, right);
}

Value Interpreter::eval_concat(const Expr& expr) {
  OriginText joined;
  for (const auto& part : expr.parts) {
    const Value value = eval(*part);
    joined.append(value.text() != nullptr ? *value.text() : to_text(value));
    if (joined.size() > limits_.max_output_bytes) {
      break;  // text() refuses it
    }
  }
  return text(std::move(joined));
}

Value Interpreter::eval_compare(const Expr& expr) {
  Value left = eval(*expr.parts[0]);
  for (size_t i = 0; i < expr.operators.size(); ++i) {
    Value right = eval(*expr.parts[i + 1]);
    if (!compare(expr.operators[i], left, right)) {
      return false;
    }
    left = std::move(right);
  }
  return true;
}

bool Interpreter::compare(const std::string& op, const Value& a, const Value& b) {
  if (op == "==" || op == "!=") {
    return equal(a, b) == (op == "==");
  }
  if (op == "in" || op == "not in") {
    return contains(b, a) == (op == "in");
  }
  if (op == "<" || op == ">") {
    return op == "<" ? less(a, b) : less(b, a);
  }
  // Not "not greater": nan is neither.
  return (op == "<=" ? less(a, b) : less(b, a)) || equal(a, b);
}

Value Interpreter::eval_slice(const Expr& expr) {
  const Value object = eval(*expr.parts[0]);
  std::optional<int64_t> bounds[3];
  for (size_t i = 0; i < 3; ++i) {
    const Value bound = expr.parts[i + 1] != nullptr ? eval(*expr.parts[i + 1]) : Value(None{});
    bounds[i] = as_index(bound);
    if (!bounds[i] && !bound.is_none()) {
      throw JinjaError("slice indices must be integers or none, not '" + bound.type_name() + "'");
    }
  }
  if (object.is_undefined()) {
    fail_undefined(object);
  }
  const List* list = object.as_list();
  if (const OriginText* text = object.text()) {
    charge(text->size() / 256);
    const auto offsets = code_point_offsets(text->str());
    const SliceRange range =
        slice_range(bounds[0], bounds[1], bounds[2], static_cast<int64_t>(offsets.size()) - 1);
    if (range.step == 1) {
      return text->slice(offsets[static_cast<size_t>(range.begin)],
                         offsets[static_cast<size_t>(std::max(range.begin, range.end))]);
    }
    OriginText picked;
    for (size_t i = 0, at = static_cast<size_t>(range.begin); i < range.count();
         ++i, at += static_cast<size_t>(range.step)) {
      picked.append(*text, offsets[at], offsets[at + 1]);
    }
    return picked;
  }
  if (list == nullptr || list->kind == ListKind::kIterator || list->kind == ListKind::kView) {
    return missing(object, "[:]");
  }
  const SliceRange range =
      slice_range(bounds[0], bounds[1], bounds[2], static_cast<int64_t>(list->items.size()));
  std::vector<Value> picked;
  picked.reserve(range.count());
  for (size_t i = 0, at = static_cast<size_t>(range.begin); i < range.count();
       ++i, at += static_cast<size_t>(range.step)) {
    picked.push_back(list->items[at]);
  }
  return this->list(std::move(picked), list->kind);
}

Args Interpreter::eval_arguments(const Arguments& arguments) {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
  positional.reserve(arguments.positional.size());
  for (const auto& argument : arguments.positional) {
    positional.push_back(eval(*argument));
  }
  named.reserve(arguments.named.size());
  for (const auto& [name, argument] : arguments.named) {
    named.emplace_back(name, eval(*argument));
  }
  return {std::move(positional), std::move(named)};
}

Value Interpreter::eval_call(const Expr& expr, const Macro* caller) {
  const Expr& callee = *expr.parts[0];
  if (callee.kind == Expr::Kind::kAttribute) {  // a method: without the detour of a bound one
    const Value object = eval(*callee.parts[0]);
    if (!object.is_undefined() && has_method(object, callee.name)) {
      return call_method(*this, object, callee.name, eval_arguments(expr.arguments));
    }
    const Value function = attribute(object, callee.name);
    return call(function, eval_arguments(expr.arguments));
  }
  const Value function = eval(callee);
  Args args = eval_arguments(expr.arguments);
  if (caller != nullptr) {
    if (function.as_macro() == nullptr) {
      throw JinjaError("a call block needs a macro, not '" + function.type_name() + "'");
    }
    return call_macro(*function.as_macro(), std::move(args), caller);
  }
  return call(function, std::move(args));
}

Value Interpreter::eval_filter(const Expr& expr) {
  const Value input = expr.parts[0] != nullptr ? eval(*expr.parts[0]) : block_input_;
  Args args = eval_arguments(expr.arguments);
  Value made = expr.filter->apply(*this, input, args);
  args.done("filter '" + expr.name + "'");
  return made.text() != nullptr && made.text()->size() > 1024 ? text(*made.text()) : made;
}

Value Interpreter::eval_test(const Expr& expr) {
  const Value input = eval(*expr.parts[0]);
  Args args = eval_arguments(expr.arguments);
  const bool holds = expr.test->holds(*this, input, args);
  args.done("test '" + expr.name + "'");
  return holds != expr.negated;
}

// ---- arithmetic ----

namespace {

[[noreturn]] void fail_operands(const std::string& op, const Value& a, const Value& b) {
  if (a.is_undefined() || b.is_undefined()) {
    fail_undefined(a.is_undefined() ? a : b);
  }
  throw JinjaError("unsupported operand types for " + op + ": '" + a.type_name() + "' and '" +
                   b.type_name() + "'");
}

[[noreturn]] void fail_overflow() {
  throw JinjaError("an integer has more than 64 bits");
}

void check_divisor(bool zero) {
  if (zero) {
    throw JinjaError("division by zero");
  }
}

double float_power(double base, double exponent) {
  check_divisor(base == 0.0 && exponent < 0.0);
  const double power = std::pow(base, exponent);
  if (std::isnan(power) && !std::isnan(base) && !std::isnan(exponent)) {
    throw JinjaError("a power of a negative number is no real number");
  }
  if (std::isinf(power) && std::isfinite(base) && std::isfinite(exponent)) {
    throw JinjaError("a power is out of range");
  }
  return power;
}

Value integer_power(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    return float_power(static_cast<double>(base), static_cast<double>(exponent));
  }
  int64_t result = 1;
  for (int64_t i = 0; i < exponent; ++i) {
    if (base == 1 || base == 0 || base == -1) {  // no overflow ends such a loop
      return base == -1 ? (exponent % 2 == 0 ? int64_t{1} : int64_t{-1}) : base;
    }
    if (__builtin_mul_overflow(result, base, &result)) {
      fail_overflow();
    }
  }
  return result;
}

// Python rounds the exact quotient; a double would not even hold the operands.
double divide_integers(int64_t a, int64_t b) {
  return static_cast<double>(static_cast<long double>(a) / static_cast<long double>(b));
}

Value integer_arithmetic(const std::string& op, int64_t a, int64_t b) {
  int64_t result = 0;
  if (op == "+" || op == "-" || op == "*") {
    const bool overflow = op == "+"   ? __builtin_add_overflow(a, b, &result)
                          : op == "-" ? __builtin_sub_overflow(a, b, &result)
                                      : __builtin_mul_overflow(a, b, &result);
    if (overflow) {
      fail_overflow();
    }
    return result;
  }
  if (op == "**") {
    return integer_power(a, b);
  }
  check_divisor(b == 0);
  if (op == "/") {
    return divide_integers(a, b);
  }
  if (b == -1) {  // INT64_MIN / -1 traps
    if (op == "//" && __builtin_sub_overflow(int64_t{0}, a, &result)) {
      fail_overflow();
    }
    return result;
  }
  const int64_t remainder = a % b;
  const bool adjust =
      remainder != 0 && (remainder < 0) != (b < 0);  // Python rounds towards minus infinity
  return op == "//" ? a / b - (adjust ? 1 : 0) : remainder + (adjust ? b : 0);
}

Value float_arithmetic(const std::string& op, double a, double b) {
  if (op == "+" || op == "-") {
    return op == "+" ? a + b : a - b;
  }
  if (op == "*" || op == "**") {
    return op == "*" ? a * b : float_power(a, b);
  }
  check_divisor(b == 0.0);
  if (op == "/") {
    return a / b;
  }
  // float_divmod of CPython, signs of zeros included.
  double remainder = std::fmod(a, b);
  double quotient = (a - remainder) / b;
  if (remainder == 0.0) {
    remainder = std::copysign(0.0, b);
  } else if ((remainder < 0.0) != (b < 0.0)) {
    remainder += b;
    quotient -= 1.0;
  }
  if (op == "%") {
    return remainder;
  }
  if (quotient == 0.0) {
    return std::copysign(0.0, a / b);
  }
  const double whole = std::floor(quotient);
  return quotient - whole > 0.5 ? whole + 1.0 : whole;
}

Value repeat(Interpreter& run, const Value& sequence, int64_t times) {
  const auto count = static_cast<uint64_t>(std::max<int64_t>(times, 0));
  if (const OriginText* text = sequence.text()) {
    if (!text->empty() && count > run.max_text_bytes() / text->size()) {
      throw JinjaError("a string has more than " + std::to_string(run.max_text_bytes()) + " bytes");
    }
    run.charge(count * text->size() / 1024 + (text->empty() ? 0 : count / 16));
    OriginText out;
    for (uint64_t i = 0; i < (text->empty() ? 0 : count); ++i) {
      out.append(*text);
    }
    return out;
  }
  const List& list = *sequence.as_list();
  const uint64_t size = list.items.size();
  if (size != 0 && count > kMaxWeight / size) {
    throw JinjaError("a list has more than " + std::to_string(kMaxWeight) + " items");
  }
  run.charge(count * size);
  std::vector<Value> items;
  for (uint64_t i = 0; i < (size == 0 ? 0 : count); ++i) {
    items.insert(items.end(), list.items.begin(), list.items.end());
  }
  return run.list(std::move(items), list.kind);
}

bool is_sequence(const Value& value) {
  const List* list = value.as_list();
  return value.text() != nullptr ||
         (list != nullptr && (list->kind == ListKind::kList || list->kind == ListKind::kTuple));
}

}  // namespace

Value arithmetic(Interpreter& run, const std::string& op, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    return a.is_float() || b.is_float() ? float_arithmetic(op, as_double(a), as_double(b))
                                        : integer_arithmetic(op, as_int(a), as_int(b));
  }
  if (op == "+" && a.text() != nullptr && b.text() != nullptr) {
    OriginText joined = *a.text();
    joined.append(*b.text());
    return run.text(std::move(joined));
  }
  if (op == "+" && is_sequence(a) && is_sequence(b) && a.as_list() != nullptr &&
      b.as_list() != nullptr && a.as_list()->kind == b.as_list()->kind) {
    std::vector<Value> items = a.as_list()->items;
    items.insert(items.end(), b.as_list()->items.begin(), b.as_list()->items.end());
    return run.list(std::move(items), a.as_list()->kind);
  }
  if (op == "*") {
    if (const auto times = as_index(b); times && is_sequence(a)) {
      return repeat(run, a, *times);
    }
    if (const auto times = as_index(a); times && is_sequence(b)) {
      return repeat(run, b, *times);
    }
  }
  fail_operands(op, a, b);
}

Value negate(const Value& value, bool plus) {
  if (value.is_float()) {
    return plus ? *value.get<double>() : -*value.get<double>();
  }
  if (const auto integer = as_index(value)) {
    return plus ? Value(*integer) : integer_arithmetic("-", 0, *integer);
  }
  if (value.is_undefined()) {
    fail_undefined(value);
  }
  throw JinjaError("bad operand type for unary " + std::string(plus ? "+" : "-") + ": '" +
                   value.type_name() + "'");
}

}  // namespace stet::text
