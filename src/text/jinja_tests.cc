// The tests behind `is`.
#include <algorithm>

#include "src/text/jinja_case.h"
#include "src/text/jinja_filters.h"
#include "src/text/jinja_interpreter.h"

namespace stet::text {
namespace {

bool is_defined(Interpreter&, const Value& v, Args&) { return !v.is_undefined(); }
bool is_undefined(Interpreter&, const Value& v, Args&) { return v.is_undefined(); }
bool is_none(Interpreter&, const Value& v, Args&) { return v.is_none(); }
bool is_boolean(Interpreter&, const Value& v, Args&) { return v.is_bool(); }
bool is_true(Interpreter&, const Value& v, Args&) { return v.is_bool() && *v.get<bool>(); }
bool is_false(Interpreter&, const Value& v, Args&) { return v.is_bool() && !*v.get<bool>(); }
bool is_integer(Interpreter&, const Value& v, Args&) { return v.is_int(); }
bool is_float(Interpreter&, const Value& v, Args&) { return v.is_float(); }
bool is_number(Interpreter&, const Value& v, Args&) { return v.is_number(); }
bool is_string(Interpreter&, const Value& v, Args&) { return v.text() != nullptr; }
bool is_mapping(Interpreter&, const Value& v, Args&) { return v.as_dict() != nullptr; }
bool is_callable(Interpreter&, const Value& v, Args&) { return v.is_callable(); }

bool is_iterable(Interpreter&, const Value& v, Args&) {
  return v.text() != nullptr || v.as_list() != nullptr || v.as_dict() != nullptr || v.as_loop() != nullptr || v.is_undefined();
}

// What has a length and items by index or key.
bool is_sequence(Interpreter&, const Value& v, Args&) {
  const List* list = v.as_list();
  return v.text() != nullptr || v.as_dict() != nullptr || v.is_undefined() ||
         (list != nullptr && list->kind != ListKind::kIterator);
}

int64_t integer_of(const Value& value) {
  if (value.is_bool()) {
    return *value.get<bool>() ? 1 : 0;
  }
  if (!value.is_int()) {
    throw JinjaError(value.is_undefined() ? value.get<Undefined>()->what
                                          : "the test needs an integer, not '" + value.type_name() + "'");
  }
  return *value.get<int64_t>();
}

bool is_odd(Interpreter&, const Value& v, Args&) { return integer_of(v) % 2 != 0; }
bool is_even(Interpreter&, const Value& v, Args&) { return integer_of(v) % 2 == 0; }
bool divisible_by(Interpreter&, const Value& v, Args& args) {
  const int64_t by = integer_of(args.required("num"));
  if (by == 0) {
    throw JinjaError("division by zero");
  }
  return by == -1 || integer_of(v) % by == 0;
}

bool has_case(const Value& v, Case how) {  // str.islower, str.isupper: some cased character, all of that case
  const OriginText text = to_text(v);
  const std::string changed = change_case(text, how).str();
  const std::string other = change_case(text, how == Case::kUpper ? Case::kLower : Case::kUpper).str();
  return changed == text.str() && other != text.str();
}
bool is_lower(Interpreter&, const Value& v, Args&) { return has_case(v, Case::kLower); }
bool is_upper(Interpreter&, const Value& v, Args&) { return has_case(v, Case::kUpper); }

bool eq(Interpreter& run, const Value& v, Args& args) { return run.equal(v, args.required("other")); }
bool ne(Interpreter& run, const Value& v, Args& args) { return !run.equal(v, args.required("other")); }
bool lt(Interpreter& run, const Value& v, Args& args) { return run.less(v, args.required("other")); }
bool gt(Interpreter& run, const Value& v, Args& args) { return run.less(args.required("other"), v); }
bool le(Interpreter& run, const Value& v, Args& args) {
  const Value other = args.required("other");
  return run.less(v, other) || run.equal(v, other);
}
bool ge(Interpreter& run, const Value& v, Args& args) {
  const Value other = args.required("other");
  return run.less(other, v) || run.equal(v, other);
}
bool in(Interpreter& run, const Value& v, Args& args) { return run.contains(args.required("seq"), v); }

// Identity: of scalars, the same type and value.
bool same_as(Interpreter& run, const Value& v, Args& args) {
  const Value other = args.required("other");
  return v.type_name() == other.type_name() && run.equal(v, other);
}

bool is_filter(Interpreter&, const Value& v, Args&) { return v.text() != nullptr && find_filter(v.text()->str()) != nullptr; }
bool is_test(Interpreter&, const Value& v, Args&) { return v.text() != nullptr && find_test(v.text()->str()) != nullptr; }

constexpr ValueTest kTests[] = {
    {"defined", is_defined},   {"undefined", is_undefined}, {"none", is_none},         {"boolean", is_boolean},
    {"true", is_true},         {"false", is_false},         {"integer", is_integer},   {"float", is_float},
    {"number", is_number},     {"string", is_string},       {"mapping", is_mapping},   {"callable", is_callable},
    {"iterable", is_iterable}, {"sequence", is_sequence},   {"odd", is_odd},           {"even", is_even},
    {"lower", is_lower},       {"upper", is_upper},         {"divisibleby", divisible_by},
    {"eq", eq},                {"equalto", eq},             {"==", eq},                {"ne", ne},
    {"!=", ne},                {"lt", lt},                  {"lessthan", lt},          {"<", lt},
    {"gt", gt},                {"greaterthan", gt},         {">", gt},                 {"le", le},
    {"<=", le},                {"ge", ge},                  {">=", ge},                {"in", in},
    {"sameas", same_as},       {"filter", is_filter},       {"test", is_test},
};

}  // namespace

const ValueTest* find_test(std::string_view name) {
  const auto* found = std::find_if(std::begin(kTests), std::end(kTests), [name](const ValueTest& one) { return one.name == name; });
  return found == std::end(kTests) ? nullptr : found;
}

}  // namespace stet::text
