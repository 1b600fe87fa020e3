#include "src/text/jinja_value.h"

#include <utf8proc.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <compare>
#include <utility>

#include "src/text/jinja_case.h"
#include "src/text/utf8.h"

namespace stet::text {

double as_double(const Value& value) {
  if (const auto* b = value.get<bool>()) {
    return *b ? 1.0 : 0.0;
  }
  if (const auto* i = value.get<int64_t>()) {
    return static_cast<double>(*i);
  }
  return *value.get<double>();
}

int64_t as_int(const Value& value) {
  const auto* b = value.get<bool>();
  return b != nullptr ? (*b ? 1 : 0) : *value.get<int64_t>();
}

namespace {

void add_extent(const Value& part, Extent* whole) {
  const Extent extent = extent_of(part);
  whole->nesting = std::max(whole->nesting, extent.nesting + 1);
  whole->weight += extent.weight;
  if (whole->nesting > kMaxNesting) {
    throw JinjaError("a value is nested more than " + std::to_string(kMaxNesting) + " deep");
  }
  if (whole->weight > kMaxWeight) {
    throw JinjaError("a value has more than " + std::to_string(kMaxWeight) + " parts");
  }
}

// Kinds that compare with each other: list with list, tuple with tuple; an iterator only with
// itself.
bool same_kind(const List& a, const List& b) {
  return a.kind == b.kind && a.kind != ListKind::kIterator;
}
bool has_order(const List& list) {
  return list.kind == ListKind::kList || list.kind == ListKind::kTuple;
}

// Exact, as in Python: converting the integer would round it.
std::strong_ordering compare_integers(int64_t a, int64_t b) {
  return a <=> b;
}
std::partial_ordering compare_mixed(int64_t a, double b) {
  if (std::isnan(b)) {
    return std::partial_ordering::unordered;
  }
  constexpr double kTwo63 = 9223372036854775808.0;
  if (b >= kTwo63 || b < -kTwo63) {
    return b > 0 ? std::partial_ordering::less : std::partial_ordering::greater;
  }
  const double whole = std::trunc(b);  // in range of int64_t, and exact there
  const auto by_whole = compare_integers(a, static_cast<int64_t>(whole));
  return std::is_neq(by_whole) ? std::partial_ordering(by_whole) : whole <=> b;
}
std::partial_ordering compare_numbers(const Value& a, const Value& b) {
  if (a.is_float() && b.is_float()) {
    return *a.get<double>() <=> *b.get<double>();
  }
  if (a.is_float()) {
    return 0 <=> compare_mixed(as_int(b), *a.get<double>());  // NOLINT(modernize-use-nullptr)
  }
  return b.is_float() ? compare_mixed(as_int(a), *b.get<double>())
                      : compare_integers(as_int(a), as_int(b));
}

bool equal_dicts(const Dict& a, const Dict& b) {
  return a.items.size() == b.items.size() &&
         std::all_of(a.items.begin(), a.items.end(), [&](const auto& item) {
           const Value* other = b.find(item.first);
           return other != nullptr && equal(item.second, *other);
         });
}

// str.isprintable: neither separator (but for the space) nor "other".
bool is_printable(char32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return false;
    case UTF8PROC_CATEGORY_ZS: return c == ' ';
    default: return true;
  }
}

std::string text_repr(std::string_view text) {
  const bool use_double =
      text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char quote = use_double ? '"' : '\'';
  std::string out(1, quote);
  while (!text.empty()) {
    const Utf8Unit unit = decode_utf8(text);
    const char32_t c = unit.code_point;
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out.push_back('\\');
      out.push_back(text[0]);
    } else if (c == '\n' || c == '\r' || c == '\t') {
      out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else if (is_printable(c)) {
      out.append(text.substr(0, unit.num_bytes));
    } else {
      char buffer[16];
      const char* format = c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x";
      std::snprintf(buffer, sizeof buffer, format, static_cast<unsigned>(c));
      out += buffer;
    }
    text.remove_prefix(unit.num_bytes);
  }
  out.push_back(quote);
  return out;
}

// Python shows an address or a name of its own here, which no template can want.
std::string no_text(const std::string& type) {
  throw JinjaError("a value of type '" + type + "' has no text (a list has: |list)");
}

std::string list_repr(const List& list) {
  if (!has_order(list)) {
    return no_text(list.kind == ListKind::kIterator ? "generator"
                   : list.kind == ListKind::kRange  ? "range"
                                                    : "dict view");
  }
  const bool tuple = list.kind == ListKind::kTuple;
  std::string out(1, tuple ? '(' : '[');
  for (size_t i = 0; i < list.items.size(); ++i) {
    out += (i == 0 ? "" : ", ") + repr(list.items[i]);
  }
  out += tuple ? (list.items.size() == 1 ? ",)" : ")") : "]";
  return out;
}

std::string dict_repr(const Dict& dict) {
  std::string out = "{";
  for (const auto& [key, value] : dict.items) {
    out += (out.size() == 1 ? "" : ", ") + repr(key) + ": " + repr(value);
  }
  return out + "}";
}

}  // namespace

Extent extent_of(const Value& value) {
  if (const OriginText* text = value.text()) {
    return {0, 1 + text->size() / 64};
  }
  if (const List* list = value.as_list()) {
    return list->extent;
  }
  if (const Dict* dict = value.as_dict()) {
    return dict->extent;
  }
  if (const LoopState* loop = value.as_loop()) {
    return {loop->items->extent.nesting + 1, loop->items->extent.weight + 1};
  }
  if (const auto* method = value.get<BoundMethod>()) {
    const Extent self = extent_of(*method->self);
    return {self.nesting + 1, self.weight + 1};
  }
  return {};
}

Value Value::list(std::vector<Value> items, ListKind kind) {
  auto made = std::make_shared<List>();
  for (const Value& item : items) {
    add_extent(item, &made->extent);
  }
  made->items = std::move(items);
  made->kind = kind;
  return std::shared_ptr<const List>(std::move(made));
}

bool Value::truth() const {
  if (const auto* b = get<bool>()) {
    return *b;
  }
  if (is_int() || is_float()) {
    return as_double(*this) != 0.0;
  }
  if (const OriginText* t = text()) {
    return !t->empty();
  }
  if (const List* l = as_list()) {
    return l->kind == ListKind::kIterator || !l->items.empty();
  }
  if (const Dict* d = as_dict()) {
    return !d->items.empty();
  }
  return !is_undefined() && !is_none();
}

std::string Value::type_name() const {
  static constexpr const char* kNames[] = {
      "Undefined", "NoneType",    "bool",      "int",   "float",  "str",     "list",
      "dict",      "LoopContext", "Namespace", "Macro", "method", "function"};
  if (const List* l = as_list()) {
    switch (l->kind) {
      case ListKind::kList: return "list";
      case ListKind::kTuple: return "tuple";
      case ListKind::kIterator: return "generator";
      case ListKind::kRange: return "range";
      case ListKind::kView: return "dict view";
    }
  }
  return kNames[v_.index()];
}

size_t Dict::index_of(const Value& key) const {
  if (const OriginText* text = key.text()) {
    const auto found = by_text_.find(text->str());
    return found == by_text_.end() ? items.size() : found->second;
  }
  const auto found = std::find_if(items.begin(), items.end(), [&key](const auto& item) {
    return item.first.text() == nullptr && equal(item.first, key);
  });
  return static_cast<size_t>(found - items.begin());
}

const Value* Dict::find(const Value& key) const {
  const size_t index = index_of(key);
  return index == items.size() ? nullptr : &items[index].second;
}

void check_key(const Value& key) {
  const List* tuple = key.as_list();
  if (tuple != nullptr && tuple->kind == ListKind::kTuple) {
    std::for_each(tuple->items.begin(), tuple->items.end(), check_key);
  } else if (key.text() == nullptr && !key.is_number() && !key.is_none()) {
    throw JinjaError("a dict key must be a string, a number or none, not '" + key.type_name() +
                     "'");
  }
}

void Dict::set(const Value& key, Value value) {
  check_key(key);
  const size_t index = index_of(key);
  if (index < items.size()) {
    extent.weight -= extent_of(items[index].second).weight;
    add_extent(value, &extent);
    items[index].second = std::move(value);
    return;
  }
  add_extent(key, &extent);
  add_extent(value, &extent);
  if (const OriginText* text = key.text()) {
    by_text_.emplace(text->str(), index);
  }
  items.emplace_back(key, std::move(value));
}

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    return std::is_eq(compare_numbers(a, b));
  }
  if (a.text() != nullptr && b.text() != nullptr) {
    return a.text()->str() == b.text()->str();
  }
  if (a.as_list() != nullptr && b.as_list() != nullptr) {
    const List& x = *a.as_list();
    const List& y = *b.as_list();
    return &x == &y || (same_kind(x, y) &&
                        std::equal(x.items.begin(), x.items.end(), y.items.begin(), y.items.end(),
                                   [&](const Value& p, const Value& q) { return equal(p, q); }));
  }
  if (a.as_dict() != nullptr && b.as_dict() != nullptr) {
    return equal_dicts(*a.as_dict(), *b.as_dict());
  }
  if (a.as_namespace() != nullptr || a.as_macro() != nullptr || a.as_loop() != nullptr) {
    return a.as_namespace() == b.as_namespace() && a.as_macro() == b.as_macro() &&
           a.as_loop() == b.as_loop();
  }
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

bool less(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    return std::is_lt(compare_numbers(a, b));
  }
  if (a.text() != nullptr && b.text() != nullptr) {
    return a.text()->str() < b.text()->str();  // UTF-8 order is code point order
  }
  if (a.as_list() != nullptr && b.as_list() != nullptr && same_kind(*a.as_list(), *b.as_list()) &&
      has_order(*a.as_list())) {
    const auto& x = a.as_list()->items;
    const auto& y = b.as_list()->items;
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!equal(x[i], y[i])) {
        return less(x[i], y[i]);
      }
    }
    return x.size() < y.size();
  }
  if (a.is_undefined() || b.is_undefined()) {
    throw JinjaError((a.is_undefined() ? a : b).get<Undefined>()->what);
  }
  throw JinjaError("no order between '" + a.type_name() + "' and '" + b.type_name() + "'");
}

Value compare_key(const Value& value, bool case_sensitive) {
  return value.text() != nullptr && !case_sensitive
             ? Value(change_case(*value.text(), Case::kLower))
             : value;
}

std::shared_ptr<const List> iterate(const Value& value) {
  if (const auto* l = value.get<std::shared_ptr<const List>>()) {
    if ((*l)->kind != ListKind::kIterator) {
      return *l;
    }
    const size_t begin = std::exchange((*l)->consumed, (*l)->items.size());
    if (begin == 0) {
      return *l;
    }
    auto rest = std::make_shared<List>();
    rest->items.assign((*l)->items.begin() + static_cast<std::ptrdiff_t>(begin), (*l)->items.end());
    rest->extent = (*l)->extent;  // at most
    return rest;
  }
  auto made = std::make_shared<List>();
  if (const OriginText* text = value.text()) {
    for (size_t at = 0; at < text->size();) {
      const size_t end = at + decode_utf8(std::string_view(text->str()).substr(at)).num_bytes;
      made->items.emplace_back(text->slice(at, end));
      at = end;
    }
  } else if (const Dict* dict = value.as_dict()) {
    for (const auto& item : dict->items) {
      made->items.push_back(item.first);
    }
  } else if (const LoopState* loop = value.as_loop()) {
    made->items.assign(loop->items->items.begin() + static_cast<std::ptrdiff_t>(loop->index),
                       loop->items->items.end());
  } else if (!value.is_undefined()) {
    throw JinjaError("'" + value.type_name() + "' object is not iterable");
  }
  return made;
}

int64_t length_of(const Value& value) {
  if (const OriginText* text = value.text()) {
    return static_cast<int64_t>(count_code_points(text->str()));
  }
  if (const Dict* dict = value.as_dict()) {
    return static_cast<int64_t>(dict->items.size());
  }
  if (const List* list = value.as_list(); list != nullptr && list->kind != ListKind::kIterator) {
    return static_cast<int64_t>(list->items.size());
  }
  if (const LoopState* loop = value.as_loop()) {
    return static_cast<int64_t>(loop->items->items.size());
  }
  if (value.is_undefined()) {
    return 0;
  }
  throw JinjaError("object of type '" + value.type_name() + "' has no len()");
}

OriginText to_text(const Value& value) {
  if (const OriginText* text = value.text()) {
    return *text;
  }
  return {value.is_undefined() ? "" : repr(value), Origin::kData};
}

// repr(float): the shortest digits that give the same double; an exponent below 1e-4 and from 1e16
// on.
std::string float_repr(double value) {
  if (!std::isfinite(value)) {
    return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
  }
  char buffer[400];
  const double magnitude = std::fabs(value);
  const bool exponent = magnitude != 0.0 && (magnitude < 1e-4 || magnitude >= 1e16);
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, value,
                    exponent ? std::chars_format::scientific : std::chars_format::fixed)
          .ptr;
  std::string out(buffer, end);
  return exponent || out.find('.') != std::string::npos ? out : out + ".0";
}

std::string repr(const Value& value) {
  if (value.is_undefined()) {
    return "Undefined";
  }
  if (value.is_none()) {
    return "None";
  }
  if (const auto* b = value.get<bool>()) {
    return *b ? "True" : "False";
  }
  if (const auto* i = value.get<int64_t>()) {
    return std::to_string(*i);
  }
  if (const auto* d = value.get<double>()) {
    return float_repr(*d);
  }
  if (const OriginText* text = value.text()) {
    return text_repr(text->str());
  }
  if (const List* list = value.as_list()) {
    return list_repr(*list);
  }
  if (const Dict* dict = value.as_dict()) {
    return dict_repr(*dict);
  }
  return no_text(value.type_name());
}

}  // namespace stet::text
