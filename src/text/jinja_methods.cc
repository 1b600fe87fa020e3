// Methods of strings, lists, dicts and `loop`. What changes its object (append, pop, update) is
// absent: transformers runs templates in an immutable sandbox.
#include <algorithm>

#include "src/text/jinja_case.h"
#include "src/text/jinja_filters.h"
#include "src/text/jinja_interpreter.h"
#include "src/text/jinja_strings.h"
#include "src/text/utf8.h"

namespace stet::text {
namespace {

OriginText required_text(Args& args, std::string_view name) {
  const Value value = args.required(name);
  if (value.text() == nullptr) {
    throw JinjaError("argument '" + std::string(name) + "' must be a string, not '" +
                     value.type_name() + "'");
  }
  return *value.text();
}

using TextMethod = Value (*)(Interpreter& run, const OriginText& self, Args& args);

template <bool kLeft, bool kRight>
Value stripped(Interpreter&, const OriginText& self, Args& args) {
  const auto chars = args.next_text("chars");
  return strip(self, chars ? &*chars : nullptr, kLeft, kRight);
}

template <Case kHow>
Value cased_self(Interpreter& run, const OriginText& self, Args&) {
  run.charge(self.size() / kCaseBytesPerStep);
  return change_case(self, kHow);
}

Value list_of(Interpreter& run, std::vector<OriginText> parts, ListKind kind = ListKind::kList) {
  run.charge(parts.size() / 4);
  std::vector<Value> items;
  items.reserve(parts.size());
  for (OriginText& part : parts) {
    items.emplace_back(std::move(part));
  }
  return run.list(std::move(items), kind);
}

template <bool kFromRight>
Value split_method(Interpreter& run, const OriginText& self, Args& args) {
  const auto separator = args.next_text("sep");
  const int64_t most = args.next_int("maxsplit", -1);
  const OriginText* by = separator ? &*separator : nullptr;
  return list_of(run, kFromRight ? split_from_right(self, by, most) : split(self, by, most));
}

template <bool kFromRight>
Value partition(Interpreter& run, const OriginText& self, Args& args) {
  const auto separator = args.next_text("sep");
  if (!separator || separator->empty()) {
    throw JinjaError("partition needs a separator");
  }
  const size_t at = kFromRight ? rfind_bytes(self.str(), separator->str())
                               : find_bytes(self.str(), separator->str());
  if (at == std::string::npos) {
    return kFromRight ? list_of(run, {{}, {}, self}, ListKind::kTuple)
                      : list_of(run, {self, {}, {}}, ListKind::kTuple);
  }
  const size_t end = at + separator->size();
  return list_of(run, {self.slice(0, at), self.slice(at, end), self.slice(end, self.size())},
                 ListKind::kTuple);
}

Value splitlines(Interpreter& run, const OriginText& self, Args& args) {
  return list_of(run, split_lines(self, args.next_bool("keepends", false)));
}

template <bool kEnd>
Value affix(Interpreter&, const OriginText& self, Args& args) {
  const Value wanted = args.required(kEnd ? "suffix" : "prefix");
  auto matches = [&self](const Value& one) {
    if (one.text() == nullptr) {
      throw JinjaError("startswith and endswith need a string or a tuple of strings, not '" +
                       one.type_name() + "'");
    }
    const std::string& text = one.text()->str();
    return kEnd ? self.str().ends_with(text) : self.str().starts_with(text);
  };
  const List* several = wanted.as_list();
  return several != nullptr && several->kind == ListKind::kTuple
             ? std::any_of(several->items.begin(), several->items.end(), matches)
             : matches(wanted);
}

template <bool kEnd>
Value remove_affix(Interpreter&, const OriginText& self, Args& args) {
  const OriginText affix = required_text(args, kEnd ? "suffix" : "prefix");
  if (kEnd ? !self.str().ends_with(affix.str()) : !self.str().starts_with(affix.str())) {
    return self;
  }
  return kEnd ? self.slice(0, self.size() - affix.size()) : self.slice(affix.size(), self.size());
}

Value replace_method(Interpreter& run, const OriginText& self, Args& args) {
  const OriginText from = required_text(args, "old");
  const OriginText to = required_text(args, "new");
  Args forwarded({from, to, Value(args.next_int("count", -1))}, {});
  return find_filter("replace")->apply(run, self, forwarded);
}

// Where `sub` is, as a code point index; -1 if nowhere.
template <bool kFromRight, bool kMustFind>
Value find_method(Interpreter&, const OriginText& self, Args& args) {
  const OriginText sub = required_text(args, "sub");
  const auto offsets = code_point_offsets(self.str());
  const auto size = static_cast<int64_t>(offsets.size()) - 1;
  const auto begin = args.next("start");
  const auto end = args.next("end");
  auto bound = [](const std::optional<Value>& value) {
    return !value || value->is_none()
               ? std::nullopt
               : std::optional<int64_t>(integer_argument(*value, "start or end"));
  };
  const SliceRange range = slice_range(bound(begin), bound(end), 1, size);
  const size_t from = offsets[static_cast<size_t>(range.begin)];
  const size_t to = offsets[static_cast<size_t>(std::max(range.begin, range.end))];
  const std::string_view window = std::string_view(self.str()).substr(from, to - from);
  const size_t at = kFromRight ? rfind_bytes(window, sub.str()) : find_bytes(window, sub.str());
  const bool outside = range.begin > range.end ||
                       bound(begin).value_or(0) > size;  // not even an empty string is there
  if (at == std::string_view::npos || outside) {
    if (kMustFind) {
      throw JinjaError("substring not found");
    }
    return int64_t{-1};
  }
  return static_cast<int64_t>(count_code_points(std::string_view(self.str()).substr(0, from + at)));
}

Value count_method(Interpreter&, const OriginText& self, Args& args) {
  const OriginText sub = required_text(args, "sub");
  if (sub.empty()) {
    return static_cast<int64_t>(count_code_points(self.str())) + 1;
  }
  int64_t count = 0;
  for (size_t at = find_bytes(self.str(), sub.str()); at != std::string::npos;
       at = find_bytes(self.str(), sub.str(), at + sub.size())) {
    ++count;
  }
  return count;
}

Value join_method(Interpreter& run, const OriginText& self, Args& args) {
  const auto items = run.iterate(args.required("iterable"));
  for (const Value& item : items->items) {
    if (item.text() == nullptr) {
      throw JinjaError("join: expected strings, found '" + item.type_name() + "'");
    }
  }
  Args forwarded({self}, {});
  return find_filter("join")->apply(run, Value::list(items->items), forwarded);
}

template <class Holds>
Value all_characters(const OriginText& self, Holds holds) {
  std::string_view rest = self.str();
  while (!rest.empty()) {
    const Utf8Unit unit = decode_utf8(rest);
    if (!holds(unit.code_point)) {
      return false;
    }
    rest.remove_prefix(unit.num_bytes);
  }
  return !self.empty();
}

Value is_digits(Interpreter&, const OriginText& self, Args&) {
  return all_characters(self, is_python_digit);
}
Value is_space(Interpreter&, const OriginText& self, Args&) {
  return all_characters(self, is_python_space);
}

template <Case kHow>
Value is_cased_self(Interpreter& run, const OriginText& self, Args& args) {
  return find_test(kHow == Case::kUpper ? "upper" : "lower")->holds(run, self, args);
}

// "{} {0} {name}": plain fields only.
Value format(Interpreter& run, const OriginText& self, Args& args) {
  const std::vector<Value> positional = args.rest();
  const auto named = args.rest_named();
  const std::string& text = self.str();
  OriginText out;
  size_t automatic = 0;
  bool numbered = false;
  for (size_t at = 0; at < text.size();) {
    const size_t brace = text.find_first_of("{}", at);
    out.append(self, at, std::min(brace, text.size()));
    if (brace == std::string::npos) {
      break;
    }
    if (brace + 1 < text.size() && text[brace + 1] == text[brace]) {  // "{{" is a brace
      out.append(self, brace, brace + 1);
      at = brace + 2;
      continue;
    }
    const size_t close = text.find('}', brace);
    const std::string field =
        close == std::string::npos ? "?" : text.substr(brace + 1, close - brace - 1);
    const bool digits =
        field.size() < 6 && field.find_first_not_of("0123456789") == std::string::npos;
    const auto by_name = std::find_if(named.begin(), named.end(),
                                      [&field](const auto& one) { return one.first == field; });
    const size_t index = !digits         ? positional.size()
                         : field.empty() ? automatic++
                                         : std::stoul(field);
    if (text[brace] == '}' || (index >= positional.size() && by_name == named.end())) {
      throw JinjaError("format: field '{" + field + "}' is not supported or has no argument");
    }
    numbered = numbered || (digits && !field.empty());
    if (numbered && automatic > 0) {
      throw JinjaError("format: fields with and without numbers cannot be mixed");
    }
    out.append(run.to_text(index < positional.size() ? positional[index] : by_name->second));
    if (out.size() > run.max_text_bytes()) {
      break;  // text() refuses it
    }
    at = close + 1;
  }
  return run.text(std::move(out));
}

constexpr std::pair<std::string_view, TextMethod> kTextMethods[] = {
    {"strip", stripped<true, true>},
    {"lstrip", stripped<true, false>},
    {"rstrip", stripped<false, true>},
    {"split", split_method<false>},
    {"rsplit", split_method<true>},
    {"splitlines", splitlines},
    {"partition", partition<false>},
    {"rpartition", partition<true>},
    {"startswith", affix<false>},
    {"endswith", affix<true>},
    {"removeprefix", remove_affix<false>},
    {"removesuffix", remove_affix<true>},
    {"upper", cased_self<Case::kUpper>},
    {"lower", cased_self<Case::kLower>},
    {"title", cased_self<Case::kPythonTitle>},
    {"capitalize", cased_self<Case::kCapitalize>},
    {"swapcase", cased_self<Case::kSwap>},
    {"replace", replace_method},
    {"find", find_method<false, false>},
    {"rfind", find_method<true, false>},
    {"index", find_method<false, true>},
    {"rindex", find_method<true, true>},
    {"count", count_method},
    {"join", join_method},
    {"format", format},
    {"isdigit", is_digits},
    {"isspace", is_space},
    {"isupper", is_cased_self<Case::kUpper>},
    {"islower", is_cased_self<Case::kLower>},
};

TextMethod find_text_method(std::string_view name) {
  const auto* found = std::find_if(std::begin(kTextMethods), std::end(kTextMethods),
                                   [name](const auto& one) { return one.first == name; });
  return found == std::end(kTextMethods) ? nullptr : found->second;
}

Value dict_method(Interpreter& run, const Value& self, std::string_view name, Args& args) {
  const Dict& dict = *self.as_dict();
  if (name == "get") {
    const Value key = args.required("key");
    const auto otherwise = args.next("");  // by position only
    if (!key.is_undefined()) {
      check_key(key);
    }
    run.charge_lookup(dict, key);
    const Value* found = dict.find(key);
    return found != nullptr ? *found : otherwise.value_or(Value(None{}));
  }
  if (name == "copy") {
    return self;
  }
  std::vector<Value> out;
  out.reserve(dict.items.size());
  for (const auto& [key, value] : dict.items) {
    out.push_back(name == "items"  ? Value::list({key, value}, ListKind::kTuple)
                  : name == "keys" ? key
                                   : value);
  }
  run.charge(out.size() / 4);
  return run.list(std::move(out), ListKind::kView);
}

Value list_method(Interpreter& run, const List& self, std::string_view name, Args& args) {
  const Value wanted = args.required("value");
  int64_t count = 0;
  run.charge(self.items.size() / 16);
  for (size_t i = 0; i < self.items.size(); ++i) {
    if (run.equal(self.items[i], wanted)) {
      if (name == "index") {
        return static_cast<int64_t>(i);
      }
      ++count;
    }
  }
  if (name == "index") {
    throw JinjaError("index: the value is not in the list");
  }
  return count;
}

bool is_one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

bool has_method(const Value& self, std::string_view name) {
  if (self.text() != nullptr) {
    return find_text_method(name) != nullptr;
  }
  if (self.as_dict() != nullptr) {
    return is_one_of(name, {"get", "items", "keys", "values", "copy"});
  }
  if (const List* list = self.as_list()) {
    return list->kind != ListKind::kIterator && is_one_of(name, {"index", "count"});
  }
  return self.as_loop() != nullptr && name == "cycle";
}

Value call_method(Interpreter& run, const Value& self, std::string_view name, Args args) {
  run.charge_walk(self);
  Value result;
  if (const OriginText* text = self.text()) {
    result = find_text_method(name)(run, *text, args);
    if (result.text() != nullptr) {
      result = run.text(*result.text());
    }
  } else if (self.as_dict() != nullptr) {
    result = dict_method(run, self, name, args);
  } else if (self.as_list() != nullptr) {
    result = list_method(run, *self.as_list(), name, args);
  } else {
    const std::vector<Value> values = args.rest();
    if (values.empty()) {
      throw JinjaError("loop.cycle needs values");
    }
    result = values[self.as_loop()->index % values.size()];
  }
  args.done("method '" + std::string(name) + "'");
  return result;
}

}  // namespace stet::text
