// The tests behind `is`.
#include <algorithm>

#include "src/text/jinja_case.h"
#include "src/text/jinja_filters.h"
#include "src/text/jinja_interpreter.h"

namespace stet::text {
namespace {

bool is_defined(Interpreter&, const Value& v, Args&) {
  return !v.is_undefined();
}
bool is_undefined(Interpreter&, const Value& v, Args&) {
  return v.is_undefined();
}
bool is_none(Interpreter&, const Value& v, Args&) {
  return v.is_none();
}
bool is_boolean(Interpreter&, const Value& v, Args&) {
  return v.is_bool();
}
bool is_true(Interpreter&, const Value& v, Args&) {
  return v.is_bool() && *v.get<bool>();
}
bool is_false(Interpreter&, const Value& v, Args&) {
  return v.is_bool() && !*v.get<bool>();
}
bool is_integer(Interpreter&, const Value& v, Args&) {
  return v.is_int();
}
bool is_float(Interpreter&, const Value& v, Args&) {
  return v.is_float();
}
bool is_number(Interpreter&, const Value& v, Args&) {
  return v.is_number();
}
bool is_string(Interpreter&, const Value& v, Args&) {
  return v.text() != nullptr;
}
bool is_mapping(Interpreter&, const Value& v, Args&) {
  return v.as_dict() != nullptr;
}
bool is_callable(Interpreter&, const Value& v, Args&) {
  return v.is_callable() || v.is_undefined();
}  // as Python sees it

bool is_iterable(Interpreter&, const Value& v, Args&) {
  return v.text() != nullptr || v.as_list() != nullptr || v.as_dict() != nullptr ||
         v.as_loop() != nullptr || v.is_undefined();
}

// What has a length and items by index or key.
bool is_sequence_value(Interpreter&, const Value& v, Args&) {
  const List* list = v.as_list();
  return v.text() != nullptr || v.as_dict() != nullptr || v.is_undefined() ||
         (list != nullptr && list->kind != ListKind::kIterator && list->kind != ListKind::kView);
}

bool leaves(Interpreter& run, const Value& v, const Value& divisor, int64_t remainder) {
  return run.equal(arithmetic(run, "%", v, divisor), remainder);
}
bool is_odd(Interpreter& run, const Value& v, Args&) {
  return leaves(run, v, int64_t{2}, 1);
}
bool is_even(Interpreter& run, const Value& v, Args&) {
  return leaves(run, v, int64_t{2}, 0);
}
bool divisible_by(Interpreter& run, const Value& v, Args& args) {
  return leaves(run, v, args.required("num"), 0);
}

bool is_lower(Interpreter& run, const Value& v, Args&) {
  return has_case(run.to_text(v), Case::kLower);
}
bool is_upper(Interpreter& run, const Value& v, Args&) {
  return has_case(run.to_text(v), Case::kUpper);
}

bool eq(Interpreter& run, const Value& v, Args& args) {
  return run.equal(v, args.required("other"));
}
bool ne(Interpreter& run, const Value& v, Args& args) {
  return !run.equal(v, args.required("other"));
}
bool lt(Interpreter& run, const Value& v, Args& args) {
  return run.less(v, args.required("other"));
}
bool gt(Interpreter& run, const Value& v, Args& args) {
  return run.less(args.required("other"), v);
}
bool le(Interpreter& run, const Value& v, Args& args) {
  const Value other = args.required("other");
  return run.less(v, other) || run.equal(v, other);
}
bool ge(Interpreter& run, const Value& v, Args& args) {
  const Value other = args.required("other");
  return run.less(other, v) || run.equal(v, other);
}
bool in(Interpreter& run, const Value& v, Args& args) {
  return run.contains(args.required("seq"), v);
}

// Identity: of scalars, the same type and value.
bool same_as(Interpreter& run, const Value& v, Args& args) {
  const Value other = args.required("other");
  return v.type_name() == other.type_name() && run.equal(v, other);
}

// A look-up in a dict: lists and dicts are no keys.
bool is_name(const Value& v) {
  const List* list = v.as_list();
  if (v.as_dict() != nullptr ||
      (list != nullptr && list->kind != ListKind::kIterator && list->kind != ListKind::kRange)) {
    check_key(v);
  }
  return v.text() != nullptr;
}
bool is_filter(Interpreter&, const Value& v, Args&) {
  return is_name(v) && find_filter(v.text()->str()) != nullptr;
}
bool is_test(Interpreter&, const Value& v, Args&) {
  return is_name(v) && find_test(v.text()->str()) != nullptr;
}

constexpr ValueTest kTests[] = {
    {"defined", is_defined},
    {"undefined", is_undefined},
    {"none", is_none},
    {"boolean", is_boolean},
    {"true", is_true},
    {"false", is_false},
    {"integer", is_integer},
    {"float", is_float},
    {"number", is_number},
    {"string", is_string},
    {"mapping", is_mapping},
    {"callable", is_callable},
    {"iterable", is_iterable},
    {"sequence", is_sequence_value},
    {"odd", is_odd},
    {"even", is_even},
    {"lower", is_lower},
    {"upper", is_upper},
    {"divisibleby", divisible_by},
    {"eq", eq},
    {"equalto", eq},
    {"==", eq},
    {"ne", ne},
    {"!=", ne},
    {"lt", lt},
    {"lessthan", lt},
    {"<", lt},
    {"gt", gt},
    {"greaterthan", gt},
    {">", gt},
    {"le", le},
    {"<=", le},
    {"ge", ge},
    {">=", ge},
    {"in", in},
    {"sameas", same_as},
    {"filter", is_filter},
    {"test", is_test},
};

}  // namespace

const ValueTest* find_test(std::string_view name) {
  const auto* found = std::find_if(std::begin(kTests), std::end(kTests),
                                   [name](const ValueTest& one) { return one.name == name; });
  return found == std::end(kTests) ? nullptr : found;
}

}  // namespace stet::text
