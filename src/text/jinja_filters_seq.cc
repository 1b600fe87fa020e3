// Filters that read or make sequences.
#include <algorithm>

#include "src/text/jinja_case.h"
#include "src/text/jinja_filters.h"
#include "src/text/jinja_interpreter.h"
#include "src/text/jinja_strings.h"

namespace stet::text {

Value read_path(Interpreter& run, const Value& item, const Value& path, const Value& otherwise) {
  const auto step = [&](const Value& from, const Value& key) {
    Value found = run.item(from, key);
    return found.is_undefined() && !otherwise.is_none() ? otherwise : found;
  };
  if (path.is_int()) {
    return step(item, path);
  }
  if (path.text() == nullptr) {
    throw JinjaError("an attribute must be a string or an integer, not '" + path.type_name() + "'");
  }
  run.charge(path.text()->size() / 16);
  const OriginText dot(".", Origin::kTemplate);
  Value value = item;
  for (const OriginText& part : split(*path.text(), &dot, -1)) {
    const std::string& name = part.str();
    const bool digits = !name.empty() && name.size() < 10 &&
                        name.find_first_not_of("0123456789") == std::string::npos;
    value = step(value, digits ? Value(static_cast<int64_t>(std::stoll(name))) : Value(part));
  }
  return value;
}

namespace {

Value length(Interpreter& run, const Value& input, Args&) {
  if (input.text() != nullptr) {
    run.charge(input.text()->size() / 1024);
  }
  return length_of(input);
}

Value first(Interpreter& run, const Value& input, Args&) {
  if (input.text() != nullptr && !input.text()->empty()) {
    return run.item(input, int64_t{0});
  }
  const List* list = input.as_list();
  if (list != nullptr && list->kind == ListKind::kIterator && list->consumed < list->items.size()) {
    return list->items[list->consumed++];  // the others stay for the next reader
  }
  const auto items = run.iterate(input);
  return items->items.empty() ? Value(Undefined{"no first item: the sequence is empty"})
                              : items->items.front();
}

Value last(Interpreter& run, const Value& input, Args&) {
  if (input.text() != nullptr && !input.text()->empty()) {
    return run.item(input, int64_t{-1});
  }
  if (input.as_list() != nullptr && input.as_list()->kind == ListKind::kIterator) {
    throw JinjaError("'generator' object is not reversible");
  }
  const auto items = run.iterate(input);
  return items->items.empty() ? Value(Undefined{"no last item: the sequence is empty"})
                              : items->items.back();
}

Value join_filter(Interpreter& run, const Value& input, Args& args) {
  const OriginText separator = run.to_text(args.next("d").value_or(Value(OriginText())));
  const auto path = args.next("attribute");
  const auto items = run.iterate(input);
  run.charge(items->items.size() * (separator.size() / 1024 + 1) / 4);
  OriginText out;
  for (size_t i = 0; i < items->items.size(); ++i) {
    if (i != 0) {
      out.append(separator);
    }
    const Value& item = items->items[i];
    out.append(run.to_text(path && !path->is_none() ? read_path(run, item, *path) : item));
    if (out.size() > run.max_text_bytes()) {
      break;  // text() refuses it
    }
  }
  return run.text(std::move(out));
}

Value default_filter(Interpreter&, const Value& input, Args& args) {
  const Value otherwise = args.next("default_value").value_or(Value(OriginText()));
  const bool boolean = args.next_bool("boolean", false);
  return input.is_undefined() || (boolean && !input.truth()) ? otherwise : input;
}

Value list_filter(Interpreter& run, const Value& input, Args&) {
  return run.list(std::vector<Value>(run.iterate(input)->items));
}

Value items_filter(Interpreter& run, const Value& input, Args&) {
  if (input.is_undefined()) {
    return run.list({}, ListKind::kIterator);
  }
  if (input.as_dict() == nullptr) {
    throw JinjaError("items needs a mapping, not '" + input.type_name() + "'");
  }
  std::vector<Value> pairs;
  for (const auto& [key, value] : input.as_dict()->items) {
    pairs.push_back(Value::list({key, value}, ListKind::kTuple));
  }
  run.charge(pairs.size() / 4);
  return run.list(std::move(pairs), ListKind::kIterator);
}

// What sort, unique, min and max compare: the item or its attribute, strings in lower case unless
// case_sensitive.
Value sort_key(Interpreter& run, const Value& item, const std::optional<Value>& path,
               bool case_sensitive) {
  const Value key = path && !path->is_none() ? read_path(run, item, *path) : item;
  if (key.text() != nullptr) {
    run.charge(key.text()->size() / kCaseBytesPerStep);  // a lowered copy
  }
  return compare_key(key, case_sensitive);
}

// Sorts by key(item), stably; a reversed sort keeps the order of equals, as Python's does.
template <class Key>
std::vector<Value> sorted(Interpreter& run, const std::vector<Value>& items, bool reverse,
                          Key key) {
  std::vector<std::pair<Value, Value>> keyed;
  keyed.reserve(items.size());
  for (const Value& item : items) {
    keyed.emplace_back(key(item), item);
  }
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    run.charge(1);
    return reverse ? run.less(b.first, a.first) : run.less(a.first, b.first);
  });
  std::vector<Value> out;
  out.reserve(keyed.size());
  for (auto& one : keyed) {
    out.push_back(std::move(one.second));
  }
  return out;
}

Value sort_filter(Interpreter& run, const Value& input, Args& args) {
  const bool reverse = args.next_bool("reverse", false);
  const bool case_sensitive = args.next_bool("case_sensitive", false);
  const auto path = args.next("attribute");
  return run.list(sorted(run, run.iterate(input)->items, reverse, [&](const Value& item) {
    return sort_key(run, item, path, case_sensitive);
  }));
}

Value dictsort(Interpreter& run, const Value& input, Args& args) {
  const bool case_sensitive = args.next_bool("case_sensitive", false);
  const auto by = args.next_text("by").value_or(OriginText("key", Origin::kTemplate));
  const bool reverse = args.next_bool("reverse", false);
  if (by.str() != "key" && by.str() != "value") {
    throw JinjaError("dictsort: by must be key or value");
  }
  Args none;
  if (input.as_dict() == nullptr) {
    throw JinjaError("dictsort needs a mapping, not '" + input.type_name() + "'");
  }
  const Value pairs = items_filter(run, input, none);
  const size_t place = by.str() == "key" ? 0 : 1;
  return run.list(sorted(run, pairs.as_list()->items, reverse, [&](const Value& pair) {
    return sort_key(run, pair.as_list()->items[place], std::nullopt, case_sensitive);
  }));
}

Value reverse_filter(Interpreter& run, const Value& input, Args&) {
  auto items = run.iterate(input)->items;
  std::reverse(items.begin(), items.end());
  if (input.text() == nullptr) {
    return run.list(std::move(items), ListKind::kIterator);
  }
  OriginText out;
  for (const Value& character : items) {
    out.append(*character.text());
  }
  return out;
}

Value unique(Interpreter& run, const Value& input, Args& args) {
  const bool case_sensitive = args.next_bool("case_sensitive", false);
  const auto path = args.next("attribute");
  std::vector<Value> seen;
  std::vector<Value> out;
  const auto items = run.iterate(input);
  for (const Value& item : items->items) {
    const Value key = sort_key(run, item, path, case_sensitive);
    check_key(key);
    run.charge(1 + seen.size() / 4);
    if (std::none_of(seen.begin(), seen.end(),
                     [&](const Value& one) { return run.equal(one, key); })) {
      seen.push_back(key);
      out.push_back(item);
    }
  }
  return run.list(std::move(out), ListKind::kIterator);
}

template <bool kMax>
Value extreme(Interpreter& run, const Value& input, Args& args) {
  const bool case_sensitive = args.next_bool("case_sensitive", false);
  const auto path = args.next("attribute");
  const auto items = run.iterate(input);
  if (items->items.empty()) {
    return Undefined{"no extreme item: the sequence is empty"};
  }
  auto key = [&](const Value& item) { return sort_key(run, item, path, case_sensitive); };
  const Value* best = &items->items.front();
  for (const Value& item : items->items) {
    run.charge(1);
    if (kMax ? run.less(key(*best), key(item)) : run.less(key(item), key(*best))) {
      best = &item;
    }
  }
  return *best;
}

Value sum(Interpreter& run, const Value& input, Args& args) {
  const auto path = args.next("attribute");
  Value total = args.next("start").value_or(Value(int64_t{0}));
  if (total.text() != nullptr) {
    throw JinjaError("sum does not join strings (filter join does)");
  }
  const auto items = run.iterate(input);
  for (const Value& item : items->items) {
    run.charge(1);
    total =
        arithmetic(run, "+", total, path && !path->is_none() ? read_path(run, item, *path) : item);
  }
  return total;
}

std::string name_of(const Value& value, const char* what) {
  if (value.text() == nullptr) {
    throw JinjaError(std::string(what) + " must be a string, not '" + value.type_name() + "'");
  }
  return value.text()->str();
}

// map, select and reject take whatever is false for an empty sequence.
std::shared_ptr<const List> iterate_if_any(Interpreter& run, const Value& input) {
  return input.truth() ? run.iterate(input) : std::make_shared<const List>();
}

Value map_filter(Interpreter& run, const Value& input, Args& args) {
  std::vector<Value> positional = args.rest();
  auto named = args.rest_named();
  std::vector<Value> out;
  const auto items = iterate_if_any(run, input);
  if (positional.empty()) {
    Args by_name({}, std::move(named));
    const Value path = by_name.required("attribute");
    const Value otherwise = by_name.next("default").value_or(Value(None{}));
    by_name.done("filter 'map'");
    for (const Value& item : items->items) {
      run.charge(1);
      out.push_back(read_path(run, item, path, otherwise));
    }
    return run.list(std::move(out), ListKind::kIterator);
  }
  const std::string name = name_of(positional.front(), "the filter's name");
  const Filter* filter = find_filter(name);
  if (filter == nullptr) {
    throw JinjaError("filter '" + name + "' is not supported");
  }
  positional.erase(positional.begin());
  for (const Value& item : items->items) {
    run.charge(1);
    Args one(positional, named);
    out.push_back(filter->apply(run, item, one));
    one.done("filter '" + name + "'");
  }
  return run.list(std::move(out), ListKind::kIterator);
}

// select, reject: items that pass a test (or are true); selectattr, rejectattr: items whose
// attribute does.
template <bool kAttribute, bool kKeep>
Value choose(Interpreter& run, const Value& input, Args& args) {
  const Value path = kAttribute ? args.required("attribute") : Value();
  std::vector<Value> positional = args.rest();
  const auto named = args.rest_named();
  const ValueTest* test = nullptr;
  std::string name = "true";
  if (!positional.empty()) {
    name = name_of(positional.front(), "the test's name");
    test = find_test(name);
    if (test == nullptr) {
      throw JinjaError("test '" + name + "' is not supported");
    }
    positional.erase(positional.begin());
  }
  std::vector<Value> out;
  const auto items = iterate_if_any(run, input);
  for (const Value& item : items->items) {
    run.charge(1);
    const Value value = kAttribute ? read_path(run, item, path) : item;
    Args one(positional, named);
    const bool holds = test != nullptr ? test->holds(run, value, one) : value.truth();
    one.done("test '" + name + "'");
    if (holds == kKeep) {
      out.push_back(item);
    }
  }
  return run.list(std::move(out), ListKind::kIterator);
}

constexpr Filter kSequenceFilters[] = {
    {"length", length},
    {"count", length},
    {"first", first},
    {"last", last},
    {"join", join_filter},
    {"default", default_filter},
    {"d", default_filter},
    {"list", list_filter},
    {"items", items_filter},
    {"sort", sort_filter},
    {"dictsort", dictsort},
    {"reverse", reverse_filter},
    {"unique", unique},
    {"min", extreme<false>},
    {"max", extreme<true>},
    {"sum", sum},
    {"map", map_filter},
    {"select", choose<false, true>},
    {"reject", choose<false, false>},
    {"selectattr", choose<true, true>},
    {"rejectattr", choose<true, false>},
};

}  // namespace

std::span<const Filter> sequence_filters() {
  return kSequenceFilters;
}

}  // namespace stet::text
